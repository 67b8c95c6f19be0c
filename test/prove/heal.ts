/**
 * Every way to die, on real programs: the sample, redis-server and nginx, killed, frozen, spinning, stuck. Measured is what the
 * node itself recorded: from the fault to the detection, and to the verified restart.
 */
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { allPids, procStat } from "@blueflame/agent/supervise/proc.driver.ts";
import { inRoot } from "../../deploy/root.ts";
import { signalIfThere } from "../../deploy/running.ts";
import { findTool } from "../tools.ts";
import { AgentRig, freePort, healed, type WorkloadConfig } from "./rig.ts";
import type { Row, Trial } from "./trial.ts";

const detectPromiseMs = 5000;
const healthyPromiseMs = 10_000;
/** What was up this long counts as stable again: trials follow each other closely. */
const pace = { backoff: { reset_after: "500ms" }, starts: { max: 1000, within: "60s" }, probation: "1s" };

/** One program under trial, on its own port. */
interface Subject {
  readonly kind: string;
  readonly config: (port: number, folder: string) => WorkloadConfig;
  readonly faults: readonly Fault[];
}

/** One way to die. `strike` returns when the fault is there. */
interface Fault {
  readonly name: string;
  readonly strike: (pid: number, port: number) => void;
}

const signal =
  (name: NodeJS.Signals): Fault["strike"] =>
  (pid) =>
    void process.kill(pid, name);

const sample: Subject = {
  kind: "risk-firewall",
  config: (port) => ({
    ...pace,
    name: `risk-firewall-${port}`,
    command: [process.execPath, inRoot("dist", "risk-firewall.mjs")],
    env: { RISK_FIREWALL_PORT: String(port), RISK_FIREWALL_STEP_MS: "200" },
    beat: { timeout: "3s" },
    probes: [
      { name: "live", http: { url: `http://127.0.0.1:${port}/live` } },
      {
        name: "ready",
        use: "readiness",
        every: "250ms",
        timeout: "250ms",
        http: { url: `http://127.0.0.1:${port}/ready` },
      },
    ],
  }),
  faults: [
    { name: "SIGKILL", strike: signal("SIGKILL") },
    { name: "SIGSTOP", strike: signal("SIGSTOP") },
    { name: "spinning", strike: signal("SIGUSR2") },
  ],
};

const redis: Subject = {
  kind: "redis-server",
  config: (port, folder) => ({
    ...pace,
    name: `redis-${port}`,
    command: [
      findTool("redis-server") ?? "redis-server",
      "--port",
      String(port),
      "--bind",
      "127.0.0.1",
      "--save",
      "",
      "--appendonly",
      "no",
      "--dir",
      folder,
    ],
    probes: [
      { name: "ping", tcp: { address: `127.0.0.1:${port}`, send: "PING\r\n", expect: "+PONG" } },
      {
        name: "up",
        use: "startup",
        every: "200ms",
        tcp: { address: `127.0.0.1:${port}`, send: "PING\r\n", expect: "+PONG" },
      },
    ],
    clean: { ports: [port] },
  }),
  faults: [
    { name: "SIGKILL", strike: signal("SIGKILL") },
    { name: "SIGSTOP", strike: signal("SIGSTOP") },
    {
      name: "endless Lua script",
      strike: (_pid, port) => {
        const script = spawn(
          findTool("redis-cli") ?? "redis-cli",
          ["-p", String(port), "EVAL", "while true do end", "0"],
          { stdio: "ignore" },
        );
        script.on("error", () => undefined);
      },
    },
  ],
};

const nginx: Subject = {
  kind: "nginx",
  config: (port, folder) => {
    const conf = `daemon off; worker_processes 1; pid nginx-run.pid; error_log /dev/null; events { worker_connections 64; }
      http { access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
      server { listen 127.0.0.1:${port}; location / { return 200 "well"; } } }`;
    return {
      ...pace,
      name: `nginx-${port}`,
      command: [
        findTool("nginx") ?? "nginx",
        "-p",
        folder,
        "-c",
        inFolder(folder, "nginx.conf", conf),
        "-e",
        "/dev/null",
      ],
      cwd: folder,
      probes: [
        { name: "page", http: { url: `http://127.0.0.1:${port}/` } },
        { name: "up", use: "startup", every: "200ms", http: { url: `http://127.0.0.1:${port}/` } },
      ],
      stop: { signal: "SIGQUIT", grace: "2s" },
      clean: { files: [join(folder, "nginx-run.pid")], ports: [port] },
    };
  },
  faults: [
    { name: "SIGKILL of its master", strike: signal("SIGKILL") },
    { name: "SIGSTOP of its worker", strike: (pid) => void process.kill(childOf(pid), "SIGSTOP") },
  ],
};

/** `rounds` trials of every fault of every program that this machine has; `lanes` instances of each at a time. */
export const heal: Trial = {
  name: "heal",
  about:
    "every way to die, on the sample, redis-server and nginx: detected in under 5 s, verified healthy in under 10 s",
  async run({ rounds, skip }) {
    const subjects = [sample, redis, nginx].filter((subject) => {
      const there = subject === sample || findTool(subject === redis ? "redis-server" : "nginx") !== undefined;
      if (!there) skip?.(`${subject.kind} is not installed`);
      return there;
    });
    const folder = mkdtempSync(join(tmpdir(), "bf-heal-"));
    const lanes = Math.min(4, rounds);
    const placed: { subject: Subject; port: number; config: WorkloadConfig }[] = [];
    for (const subject of subjects) {
      for (let lane = 0; lane < lanes; lane++) {
        const port = await freePort();
        const home = join(folder, String(port));
        mkdirSync(home);
        placed.push({ subject, port, config: subject.config(port, home) });
      }
    }
    const rig = new AgentRig({ workloads: placed.map(({ config }) => config) });
    let left: number[] = [];
    const measured = new Map<string, { detected: number[]; healthy: number[] }>();
    try {
      await rig.start();
      await Promise.all(
        placed.map(async ({ subject, port, config }) => {
          const share = Math.ceil(rounds / lanes);
          for (let round = 0; round < share; round++) {
            for (const fault of subject.faults) {
              const before = await rig.well(config.name);
              await pause(600);
              const faultMs = Date.now();
              fault.strike(before.pid, port);
              const result = await healed(rig, config.name, faultMs);
              const name = `${subject.kind}: ${fault.name}`;
              const row = measured.get(name) ?? { detected: [], healthy: [] };
              row.detected.push(result.detectedMs);
              row.healthy.push(result.healthyMs);
              measured.set(name, row);
            }
          }
          await rig.well(config.name);
        }),
      );
    } finally {
      await rig.close();
      left = allPids().filter((pid) => livesIn(pid, folder));
      for (const pid of left) signalIfThere(pid, "SIGKILL");
      rmSync(folder, { recursive: true, force: true });
    }
    if (left.length > 0) throw new Error(`left behind after the end: ${left.join(", ")}`);
    const rows: Row[] = [];
    for (const [name, { detected, healthy }] of [...measured].sort()) {
      rows.push({ name, measure: "detected", promise: detectPromiseMs, unit: "ms", values: detected });
      rows.push({ name, measure: "verified healthy", promise: healthyPromiseMs, unit: "ms", values: healthy });
    }
    return rows;
  },
};

/** redis and nginx overwrite their environment, but work in the folder they were given. */
function livesIn(pid: number, folder: string): boolean {
  try {
    return procStat(pid)?.state !== "Z" && readlinkSync(`/proc/${pid}/cwd`).startsWith(folder);
  } catch {
    return false;
  }
}

function childOf(parent: number): number {
  const child = allPids().find((pid) => procStat(pid)?.ppid === parent);
  if (child === undefined) throw new Error(`pid ${parent} has no child`);
  return child;
}

function inFolder(folder: string, name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}
