/**
 * What guarding costs while nothing happens: 30 workloads that touch beat files and 20 with TCP probes every 10 s, default
 * sensors, agent and watchdog together. A round is a minute.
 */
import { execFileSync, spawn } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { ask, type Desk } from "@blueflame/agent/cli/ask.driver.ts";
import { markVariable } from "@blueflame/agent/supervise/family.driver.ts";
import { environOf } from "@blueflame/agent/supervise/proc.driver.ts";
import { inRoot } from "../../deploy/root.ts";
import { processesOf, sweep } from "../../deploy/running.ts";
import { agentV8Flags } from "../../deploy/v8-flags.ts";
import { cpuTicks, memoryOf } from "../bench/footprint.ts";
import { findTool } from "../tools.ts";
import type { WorkloadConfig } from "./rig.ts";
import type { Row, Trial } from "./trial.ts";

const settleMs = 30_000;
const minuteMs = 60_000;
/** In the suite: what has just started costs more than what rests. */
const shortMs = 5000;
const ticksPerSecond = 100; // USER_HZ, fixed on Linux
/** A process that does next to nothing: what is measured is who guards it. */
const source = `#include <fcntl.h>
#include <unistd.h>
int main(int c, char **v) {
  for (;;) {
    if (c > 1) { int f = open(v[1], O_WRONLY | O_CREAT | O_TRUNC, 0600); if (write(f, "x", 1) != 1) return 1; close(f); }
    sleep(2);
  }
}
`;

function trial(short: boolean): Trial {
  return {
    name: "rest",
    about: "50 workloads at rest: CPU of agent and watchdog over each minute, and their private memory",
    async run({ rounds, say }): Promise<Row[]> {
      const dir = mkdtempSync(join(tmpdir(), "bf-rest-"));
      const server = createServer((socket) => socket.end());
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      const address = server.address();
      const config = { workloads: workloads(dir, address && typeof address === "object" ? address.port : 0) };
      writeFileSync(join(dir, "agent.yaml"), JSON.stringify({ node: { id: "rest" }, ...config }));
      const dataDir = join(dir, "d");
      const log = openSync(join(dir, "agent.log"), "a");
      const command = [...agentV8Flags, inRoot("dist", "blueflame-agent.cjs"), "up"];
      const options = ["--config", join(dir, "agent.yaml"), "--data-dir", dataDir];
      const agent = spawn(process.execPath, [...command, ...options], { stdio: ["ignore", log, log], detached: true });
      try {
        await allRun(dataDir);
        await pause(short ? shortMs : settleMs);
        const guards = processesOf(dir).filter((pid) => environOf(pid, markVariable) === undefined);
        say(`agent and watchdog: PID ${guards.join(", ")}`);
        if (guards.length !== 2) throw new Error(`agent and watchdog are two processes, seen were ${guards.length}`);
        return await watch(guards, rounds, short, say);
      } finally {
        await ask(dataDir, (desk: Desk) => desk.down({ person: "prove" }, { timeoutMs: 60_000 })).catch(
          () => undefined,
        );
        agent.kill("SIGKILL");
        await sweep(dir, 5000);
        server.close();
        closeSync(log);
        rmSync(dir, { recursive: true, force: true });
      }
    },
  };
}

/** See the file's own words. */
export const rest = trial(false);
/** Rounds are of five seconds. Only the memory is promised, and only of the best round: what the start took is given back in its time. */
export const restQuick = trial(true);

async function allRun(dataDir: string): Promise<void> {
  for (const endMs = performance.now() + 60_000; performance.now() < endMs; await pause(200)) {
    const seen = await ask(dataDir, (desk: Desk) => desk.getStatus({}, { timeoutMs: 5000 })).catch(() => undefined);
    if (seen && seen.workloads.length > 0 && seen.workloads.every(({ pid }) => pid > 0)) return;
  }
  throw new Error("the workloads did not start within a minute");
}

async function watch(
  guards: readonly number[],
  minutes: number,
  short: boolean,
  say: (line: string) => void,
): Promise<Row[]> {
  const lastsMs = short ? shortMs : minuteMs;
  const cpu: number[] = [];
  const memory: number[] = [];
  for (let minute = 0; minute < minutes; minute++) {
    const before = guards.map(cpuTicks);
    await pause(lastsMs);
    const ticks = guards.reduce((sum, pid, at) => sum + cpuTicks(pid) - (before[at] ?? 0), 0);
    cpu.push((ticks * 1000) / ticksPerSecond);
    memory.push(Math.round(guards.reduce((sum, pid) => sum + memoryOf(pid).privateMb, 0) * 10) / 10);
    say(`${lastsMs / 1000} s, number ${minute + 1}: ${cpu.at(-1)} ms CPU, ${memory.at(-1)} MB private`);
  }
  const mean = Math.round(cpu.reduce((sum, ms) => sum + ms, 0) / Math.max(1, cpu.length));
  return [
    {
      name: "CPU",
      measure: "a minute, mean; 1 % of one core",
      promise: short ? undefined : 600,
      unit: "ms",
      values: [mean],
    },
    {
      name: "memory",
      measure: "private MB of both",
      promise: 60,
      unit: "count",
      values: short ? [Math.min(...memory)] : memory,
    },
  ];
}

function workloads(dir: string, port: number): WorkloadConfig[] {
  mkdirSync(join(dir, "beats"), { recursive: true });
  writeFileSync(join(dir, "beat.c"), source);
  const program = join(dir, "beat");
  execFileSync(findTool("cc") ?? "cc", ["-O1", "-o", program, join(dir, "beat.c")]);
  const beating = Array.from({ length: 30 }, (_, at) => {
    const file = join(dir, "beats", String(at));
    return { name: `beat-${at}`, command: [program, file], beat: { timeout: "30s", file } };
  });
  const probed = Array.from({ length: 20 }, (_, at) => ({
    name: `port-${at}`,
    command: [program],
    probes: [{ name: "up", every: "10s", tcp: { address: `127.0.0.1:${port}` } }],
  }));
  return [...beating, ...probed];
}
