import { basename, dirname, resolve } from "node:path";
import { draftConfig } from "@blueflame/shared/config/load.ts";
import type { Machine } from "@blueflame/shared/config/machine.ts";
import { nearest } from "@blueflame/shared/config/problems.ts";
import { commandHint, programName, programWord } from "@blueflame/shared/config/quote.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import {
  AgentConfigSchema,
  RestartPolicy,
  type Workload,
} from "@blueflame/shared/gen/blueflame/config/v1/agent_config_pb.ts";
import { printDuration } from "@blueflame/shared/units/units.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import { boxPlaybooks, type Trigger } from "../triggers/trigger.ts";
import { checkOrder } from "./order.ts";
import { placesOf } from "./places.ts";
import { probesOf } from "./probes.ts";
import { type NodeSections, nodeSections } from "./sections.ts";
import { triggersOf } from "./triggers.ts";
import { type AgentDraft, checkEnv, millis, portProblem, programOf } from "./values.ts";
import { recoveryOf } from "./workload.ts";

/** The agent's config file, checked and with every default filled in. */
export interface AgentConfig extends NodeSections {
  /** Absent: the id in the certificate, else the host name. */
  readonly nodeId?: string;
  readonly site: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Absent: the node works alone. Paths are absolute; the files were not opened. */
  readonly hub?: {
    readonly addresses: readonly string[];
    readonly caPath: string;
    readonly certPath: string;
    readonly keyPath: string;
  };
  readonly sensors: { readonly everyMs: number; readonly historyEveryMs: number };
  readonly workloads: readonly WorkloadSpec[];
  /** Those of the box as the file changes them, then those that it adds. */
  readonly triggers: readonly Trigger[];
}

/** What the checks know besides the text. */
export interface Around {
  /** Absolute path of the config file: errors name it, and relative paths in it start from its folder. */
  readonly path: string;
  /** The agent's PATH. */
  readonly searchPath: string;
  readonly machine: Machine;
}

/** Reads the text of a config file. Throws CONFIG_INVALID with every problem; nothing of it may be used then. */
export function agentConfigOf(text: string, around: Around): AgentConfig {
  const draft = draftConfig(AgentConfigSchema, text, around.path);
  const { node, hub, sensors, workloads } = draft.message;
  const folder = dirname(around.path);
  const specs = workloads.map((workload, index) => specOf(workload, `workloads[${index}]`, draft, around));
  const sections = nodeSections(draft.message, around.path, draft, { ...around, cwd: folder });
  checkOrder(draft, workloads);
  const triggers = triggersOf(draft.message, draft, {
    workloads: new Set(workloads.map(({ name }) => name)),
    // A folder of the operator's adds names that only its reader knows.
    playbooks: draft.message.playbooks === "" ? new Set(boxPlaybooks) : undefined,
  });
  for (const [index, address] of (hub?.addresses ?? []).entries()) {
    const refused = portProblem(address);
    const path = `hub.addresses[${index}]`;
    if (refused && !draft.isBroken(path)) draft.add(path, refused, "allowed is a port from 1 to 65535");
  }
  draft.finish();
  return {
    ...(node?.id ? { nodeId: node.id } : {}),
    site: node?.site ?? "",
    labels: node?.labels ?? {},
    ...(hub && {
      hub: {
        addresses: hub.addresses,
        caPath: resolve(folder, hub.ca),
        certPath: resolve(folder, hub.cert),
        keyPath: resolve(folder, hub.key),
      },
    }),
    sensors: { everyMs: millis(sensors?.every), historyEveryMs: millis(sensors?.historyEvery) },
    workloads: specs,
    triggers,
    ...sections,
  };
}

/** What a node guards that was given nothing: itself, with every default. Workloads may come from the hub later. */
export function bareConfig(around: Omit<Around, "path">): AgentConfig {
  return agentConfigOf("{}", { ...around, path: "/the command line" });
}

/**
 * A workload for `up -- COMMAND …`: named after the command, every default, no beat. Throws USAGE without a command and
 * SPAWN_FAILED for one that is not there.
 */
export function commandSpecOf(argv: readonly string[], cwd: string, around: Omit<Around, "path">): WorkloadSpec {
  const [command, ...args] = argv;
  if (!command) throw new Fault("USAGE", "there is no command after --");
  const found = around.machine.findProgram(command, cwd, around.searchPath);
  if ("refused" in found) {
    const meant = nearest(programName(command), around.machine.programs(around.searchPath));
    const hint = meant === undefined ? "" : `; did you mean "${meant}"?`;
    const saw = `cannot start '${programWord(command)}': ${found.refused}${commandHint(command)}${hint}`;
    throw new Fault("SPAWN_FAILED", saw);
  }
  // JSON is YAML: the command line gets the defaults of the config file by going through it.
  const text = JSON.stringify({ workloads: [{ name: nameOf(command), command: [found.file, ...args], cwd }] });
  const config = agentConfigOf(text, { ...around, path: resolve(cwd, "the command line") });
  const [spec] = config.workloads;
  if (!spec) throw new Fault("USAGE", "there is no command after --");
  return spec;
}

/** The base name of a command in the letters that a workload's name may have. */
function nameOf(command: string): string {
  const name = basename(command)
    .toLowerCase()
    .replaceAll(/[^a-z0-9._-]/g, "-")
    .slice(0, 63)
    .replaceAll(/^[^a-z0-9]+|[^a-z0-9]+$/g, "");
  return name || "workload";
}

function specOf(workload: Workload, path: string, draft: AgentDraft, around: Around): WorkloadSpec {
  const folder = dirname(around.path);
  const cwd = resolve(folder, workload.cwd);
  if (!around.machine.isFolder(cwd))
    draft.add(`${path}.cwd`, `there is no folder ${cwd}`, "allowed is an existing folder");
  const programs = { cwd, searchPath: workload.env.PATH ?? around.searchPath, machine: around.machine };
  const { baseMs, capMs } = { baseMs: millis(workload.backoff?.base), capMs: millis(workload.backoff?.cap) };
  if (capMs < baseMs) {
    draft.add(
      `${path}.backoff.cap`,
      `the cap of ${printDuration(capMs)} is below the base of ${printDuration(baseMs)}`,
      "allowed is at least the base",
    );
  }
  checkEnv(workload.env, path, draft);
  const { beat, stop, clean, output, starts } = workload;
  return {
    name: workload.name,
    command: programOf(workload.command, `${path}.command`, draft, programs),
    cwd,
    env: workload.env,
    restart: restartWord(workload.restart),
    starts: { max: starts?.max ?? 0, withinMs: millis(starts?.within) },
    backoff: {
      baseMs,
      capMs,
      resetAfterMs: millis(workload.backoff?.resetAfter),
      delayMs: millis(workload.backoff?.delay),
    },
    startGraceMs: millis(workload.startGrace),
    ...(beat && { beat: { timeoutMs: millis(beat.timeout), ...(beat.file && { file: resolve(folder, beat.file) }) } }),
    probes: probesOf(workload, path, draft, programs),
    // The rule's pattern lets only names of signals through.
    stop: { signal: (stop?.signal ?? "SIGTERM") as NodeJS.Signals, graceMs: millis(stop?.grace) },
    clean: {
      files: placesOf(clean?.files ?? [], `${path}.clean.files`, folder, draft),
      sockets: placesOf(clean?.sockets ?? [], `${path}.clean.sockets`, folder, draft),
      ports: clean?.ports ?? [],
    },
    output: { maxBytes: Number(output?.maxSize ?? 0n), files: output?.files ?? 0 },
    dependsOn: workload.dependsOn,
    critical: workload.critical,
    probationMs: millis(workload.probation),
    ...recoveryOf(workload, path, draft.message, around.path, draft, programs),
  };
}

function restartWord(policy: RestartPolicy): WorkloadSpec["restart"] {
  if (policy === RestartPolicy.NEVER) return "never";
  return policy === RestartPolicy.ON_FAILURE ? "onFailure" : "always";
}
