import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { inRoot } from "../../deploy/root.ts";
import { blueFlame, compile } from "./contenders.ts";
import { keep, round, table } from "./measure.ts";

const settleMs = 15_000;
const watchMs = 30_000;
const ticksPerSecond = 100; // USER_HZ, fixed on Linux

interface Rest {
  readonly what: string;
  /** Written by this process: nobody else can share it. */
  readonly dirtyMb: number;
  /** With file pages that happen to be mapped by nobody else: those of an executable that runs once, for one. */
  readonly privateMb: number;
  readonly rssMb: number;
  readonly cpuMsPerMinute: number;
}

/** What the agent costs while nothing happens, beside a Node process that does nothing at all. No hub is configured. */
export async function footprint(): Promise<void> {
  const rows: Rest[] = [await doNothing()];
  const programs: [string, string[]][] = [
    ["agent on Node", [process.execPath, inRoot("dist", "blueflame-agent.cjs")]],
    ["agent, one executable", [inRoot("dist", `blueflame-agent-linux-${process.arch}`)]],
  ];
  for (const [what, program] of programs) {
    if (!existsSync(program.at(-1) ?? "")) {
      console.log(`footprint: ${what} skipped: ${program.at(-1)} is not built`);
      continue;
    }
    for (const count of [1, 50])
      rows.push(await agentAtRest(`${what}, ${count} workload${count > 1 ? "s" : ""}`, program, count));
  }
  const floor = rows[0];
  table(
    `at rest, over ${watchMs / 1000} s`,
    ["", "private dirty MB", "× nothing", "private MB", "RSS MB", "CPU ms a minute"],
    rows.map((row) => [
      row.what,
      row.dirtyMb,
      round(row.dirtyMb / (floor?.dirtyMb ?? 1)),
      row.privateMb,
      row.rssMb,
      row.cpuMsPerMinute,
    ]),
  );
  console.log(keep("footprint", rows));
}

async function doNothing(): Promise<Rest> {
  const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1e9)"], { stdio: "ignore" });
  try {
    return await watch("Node that does nothing", child.pid ?? 0, 3_000);
  } finally {
    child.kill("SIGKILL");
  }
}

async function agentAtRest(what: string, program: readonly string[], count: number): Promise<Rest> {
  console.log(`footprint: ${what} …`);
  const dir = mkdtempSync(join(tmpdir(), "blueflame-bench-"));
  const file = join(dir, "starts");
  writeFileSync(file, "");
  let agent: ChildProcess | undefined;
  const stop = await blueFlame(program, (child) => {
    agent = child;
  }).start({ child: compile("child"), file, count, dir });
  try {
    for (let i = 0; readFileSync(file, "utf8").split("\n").length <= count; i += 1) {
      if (i > 300) throw new Error("the workloads did not start");
      await pause(100);
    }
    return await watch(what, agent?.pid ?? 0, settleMs);
  } finally {
    await stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

async function watch(what: string, pid: number, settle: number): Promise<Rest> {
  await pause(settle);
  const before = cpuTicks(pid);
  await pause(watchMs);
  const cpuMs = ((cpuTicks(pid) - before) * 1000) / ticksPerSecond;
  return { what, ...memoryOf(pid), cpuMsPerMinute: round((cpuMs * 60_000) / watchMs) };
}

/** Memory that is this process's alone, and all that it has mapped in, both in megabytes. */
export function memoryOf(pid: number): { dirtyMb: number; privateMb: number; rssMb: number } {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const kb = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(text)?.[1] ?? Number.NaN);
  const [clean, dirty] = [kb("Private_Clean"), kb("Private_Dirty")];
  return { dirtyMb: round(dirty / 1024), privateMb: round((clean + dirty) / 1024), rssMb: round(kb("Rss") / 1024) };
}

/** User and system time so far. */
export function cpuTicks(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return Number(fields[11]) + Number(fields[12]);
}
