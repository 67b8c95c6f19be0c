import { quoted } from "@blueflame/shared/config/quote.ts";
import { type Probe, ProbeUse, type Workload } from "@blueflame/shared/gen/blueflame/config/v1/agent_config_pb.ts";
import { printDuration } from "@blueflame/shared/units/units.ts";
import type { ProbeSpec } from "../supervise/spec.ts";
import { type AgentDraft, hostAndPort, millis, type Programs, portProblem, programOf } from "./values.ts";

/** The probes of a workload; what only a look at several keys or at the machine shows becomes a problem of the draft. */
export function probesOf(workload: Workload, path: string, draft: AgentDraft, programs: Programs): ProbeSpec[] {
  return workload.probes.flatMap((probe, index) => {
    const at = `${path}.probes[${index}]`;
    const ask = askOf(probe, at, draft, programs);
    const everyMs = millis(probe.every);
    let timeoutMs = millis(probe.timeout);
    if (timeoutMs > everyMs && !draft.isGiven(`${at}.timeout`)) timeoutMs = everyMs;
    if (timeoutMs > everyMs) {
      const allowed = `allowed is at most \`every\`, which is ${printDuration(everyMs)}`;
      draft.add(`${at}.timeout`, `${printDuration(timeoutMs)} would overlap the next question`, allowed);
    }
    return ask ? [{ name: probe.name, use: useOf(probe.use), everyMs, timeoutMs, failures: probe.failures, ask }] : [];
  });
}

function useOf(use: ProbeUse): ProbeSpec["use"] {
  if (use === ProbeUse.READINESS) return "readiness";
  return use === ProbeUse.STARTUP ? "startup" : "liveness";
}

function askOf(probe: Probe, at: string, draft: AgentDraft, programs: Programs): ProbeSpec["ask"] | undefined {
  const { ask } = probe;
  switch (ask.case) {
    case "exec":
      return {
        by: "exec",
        command: programOf(ask.value.command, `${at}.exec.command`, draft, programs),
        cwd: programs.cwd,
      };
    case "tcp": {
      const { address, send, expect } = ask.value;
      checkPort(address, `${at}.tcp.address`, draft);
      return { by: "tcp", ...hostAndPort(address), ...(send && { send }), ...(expect && { expect }) };
    }
    case "http":
      if (!URL.canParse(ask.value.url) && !draft.isBroken(`${at}.http.url`)) {
        draft.add(`${at}.http.url`, "not a URL", "allowed is an http:// or https:// URL");
      }
      return { by: "http", url: ask.value.url };
    case "grpc":
      checkGrpc(ask.value.address, `${at}.grpc.address`, draft);
      return { by: "grpc", address: ask.value.address, service: ask.value.service };
    case undefined:
      if (!draft.isBroken(at)) draft.add(at, "a probe that asks nothing", "allowed is one of exec, tcp, http, grpc");
      return undefined;
  }
}

function checkPort(address: string, path: string, draft: AgentDraft): void {
  const refused = portProblem(address);
  if (refused && !draft.isBroken(path)) draft.add(path, refused, "allowed is a port from 1 to 65535");
}

function checkGrpc(address: string, path: string, draft: AgentDraft): void {
  if (address.startsWith("unix:") && address.length > "unix:".length) return;
  if (/^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$/.test(address)) checkPort(address, path, draft);
  else if (!draft.isBroken(path)) draft.add(path, quoted(address) ?? "text", "allowed is HOST:PORT or unix:PATH");
}
