/**
 * A machine that strangers starve of CPU, memory and disk is no reason to start anything: twenty healthy workloads go on beside
 * them, and the agent blames none. ROUNDS are minutes.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { installTools } from "../install-tools.ts";
import { findTool } from "../tools.ts";
import { at, SystemRig, Ward } from "./systems-rig.ts";
import type { Row, Trial } from "./trial.ts";

const beating = 10;
const probed = 10;
/** Whoever still starts under load is not healthy yet. */
const startMs = 120_000;
const minuteMs = 60_000;
/** What would have been done to a workload, or by the agent to itself. */
const actions = /^(workload\.(?!spawn)|remedy\.|playbook\.|agent\.restart)/;
/** At three in the morning the node looks after itself: its daily and weekly checks are no recoveries. */
const isCheck = /\b(daily|weekly)-maintenance\b/;

export const stress: Trial = {
  name: "stress",
  about:
    "stress-ng on CPU, memory and disk beside twenty healthy workloads: no recovery is started (ROUNDS are minutes)",
  run: ({ rounds, say }) => {
    installTools(say, ["stress-ng"]);
    return beside(rounds * minuteMs, say, findTool("stress-ng"));
  },
};

/** With spinning processes only, and seconds instead of minutes. */
export const stressQuick: Trial = { ...stress, run: ({ rounds, say }) => beside(rounds * 1000, say, undefined) };

async function beside(forMs: number, say: (line: string) => void, program: string | undefined): Promise<Row[]> {
  const ward = new Ward();
  for (let n = 0; n < beating; n++) {
    const byApi = n % 2 === 0;
    const beat = { timeout: "3s", ...(!byApi && { file: join(ward.dir, `beating-${n}`, "beat") }) };
    await ward.admit(`beating-${n}`, { beat }, { SICK_PORT: "0", ...(byApi && { SICK_BEAT: "api" }) });
  }
  for (let n = 0; n < probed; n++) {
    const patient = await ward.admit(`probed-${n}`, { beat: undefined });
    Object.assign(patient.config, { probes: [{ name: "port", tcp: { address: `127.0.0.1:${patient.port}` } }] });
  }
  const names = ward.patients.map(({ name }) => name);
  const rig = new SystemRig({ workloads: ward.patients.map(({ config }) => config) });
  const strangers: ChildProcess[] = [];
  try {
    await rig.start();
    await Promise.all(names.map((name) => rig.calm(name, startMs)));
    const before = pidsOf(rig, names);
    const sinceMs = Date.now();
    const folder = join(ward.dir, "strangers");
    mkdirSync(folder);
    strangers.push(...strain(forMs, folder, program));
    say(`${strangers.length} strangers: ${program ? "stress-ng on CPU, memory and disk" : "processes that spin"}`);
    await pause(forMs);
    return await seen(rig, names, before, sinceMs, say);
  } finally {
    for (const stranger of strangers) endFamily(stranger);
    await rig.close();
    ward.remove();
  }
}

/** Twice as many spin as there are cores; with stress-ng memory and disk are eaten, too. */
function strain(forMs: number, folder: string, program: string | undefined): ChildProcess[] {
  const cores = availableParallelism();
  const run = (file: string, ...args: string[]) => {
    const child = spawn(file, args, { stdio: "ignore", detached: true, cwd: folder });
    child.on("error", () => undefined);
    return child;
  };
  if (!program) return Array.from({ length: 2 * cores }, () => run(process.execPath, "-e", "for (;;);"));
  const seconds = String(Math.ceil(forMs / 1000));
  const load = [
    "--cpu",
    String(2 * cores),
    "--vm",
    "2",
    "--vm-bytes",
    "20%",
    "--io",
    "2",
    "--hdd",
    "1",
    "--hdd-bytes",
    "256M",
  ];
  return [run(program, ...load, "--temp-path", folder, "--timeout", `${seconds}s`)];
}

/** stress-ng has children of its own. */
function endFamily({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, "SIGKILL");
  } catch {
    // it has ended
  }
}

function pidsOf(rig: SystemRig, names: readonly string[]): string {
  return names.map((name) => rig.seen(name)?.pid ?? 0).join();
}

async function seen(
  rig: SystemRig,
  names: readonly string[],
  before: string,
  sinceMs: number,
  say: (line: string) => void,
): Promise<Row[]> {
  await Promise.all(names.map((name) => rig.calm(name, startMs)));
  const opened = (await rig.everyIncident()).filter(({ detectedAt }) => at(detectedAt) >= sinceMs);
  for (const { workload, summary, symptom } of opened)
    say(`incident of ${workload || "the node"}: ${symptom}: ${summary}`);
  const done = (await rig.audit()).filter(
    ({ at: when, action, because }) =>
      at(when) >= sinceMs && actions.test(action) && !isCheck.test(`${action} ${because}`),
  );
  for (const { action, target, because } of done.slice(0, 20)) say(`${action} on ${target}: ${because}`);
  const row = (measure: string, value: number): Row => ({
    name: "stress healthy workloads",
    measure,
    promise: 0,
    unit: "count",
    values: [value],
  });
  return [
    row("incidents of workloads", opened.filter(({ workload }) => workload !== "").length),
    row("incidents of the node", opened.filter(({ workload }) => workload === "").length),
    row("recoveries that were started", done.length),
    row("workloads with another process than before", before === pidsOf(rig, names) ? 0 : 1),
  ];
}
