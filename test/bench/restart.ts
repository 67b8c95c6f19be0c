import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { type Contender, compile, contenders, type Task } from "./contenders.ts";
import { keep, round, type Spread, spread, table } from "./measure.ts";

// Each child is killed once: the second crash within a minute is another question, with another answer.
const rounds = 40;
const atOnce = 50;
const repeats = 3;
const patienceMs = 10_000;

interface Result {
  readonly name: string;
  readonly skipped?: string;
  /** From kill(2) to the new instance's own first reading of the clock. */
  readonly crashToRunningMs?: Spread;
  /** From the first kill of fifty to the last new instance. */
  readonly fiftyBackMs?: Spread;
}

/** Crash → new instance running, side by side: the floors, Blue Flame, and what others use. */
export async function restart(): Promise<void> {
  const child = compile("child");
  const results: Result[] = [];
  for (const contender of contenders()) {
    console.log(`restart: ${contender.name}${contender.missing ? ` skipped: ${contender.missing}` : " …"}`);
    results.push(
      contender.missing ? { name: contender.name, skipped: contender.missing } : await measure(contender, child),
    );
  }
  const floor = results.find(({ name }) => name.startsWith("Node"));
  const ratio = (mine: Spread | undefined, theirs: Spread | undefined) =>
    mine && theirs ? `${round(mine.median / theirs.median)} ×` : "–";
  table(
    `crash → new instance running, child well before (${rounds} kills), and ${atOnce} killed at once, all back (${repeats} times); ms`,
    ["", "median", "p99", "worst", "× Node loop", `${atOnce} back`, "worst", "× Node loop"],
    results.map((one) => [
      one.skipped ? `${one.name} (skipped)` : one.name,
      one.crashToRunningMs?.median ?? "–",
      one.crashToRunningMs?.p99 ?? "–",
      one.crashToRunningMs?.worst ?? "–",
      ratio(one.crashToRunningMs, floor?.crashToRunningMs),
      one.fiftyBackMs?.median ?? "–",
      one.fiftyBackMs?.worst ?? "–",
      ratio(one.fiftyBackMs, floor?.fiftyBackMs),
    ]),
  );
  console.log(keep("restart", { rounds, atOnce, repeats, results }));
}

async function measure(contender: Contender, child: string): Promise<Result> {
  const one: number[] = [];
  await withChildren(contender, child, rounds, async (file) => {
    for (let i = 0; i < rounds; i += 1) {
      one.push(await killAndWait(file, [`w${i}`]));
      await pause(250);
    }
  });
  const fifty: number[] = [];
  for (let i = 0; i < repeats; i += 1) {
    await withChildren(contender, child, atOnce, async (file) => {
      fifty.push(
        await killAndWait(
          file,
          Array.from({ length: atOnce }, (_, n) => `w${n}`),
        ),
      );
    });
  }
  return { name: contender.name, crashToRunningMs: spread(one), fiftyBackMs: spread(fifty) };
}

async function withChildren(
  contender: Contender,
  child: string,
  count: number,
  run: (file: string) => Promise<void>,
): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "blueflame-bench-"));
  const task: Task = { child, file: join(dir, "starts"), count, dir };
  writeFileSync(task.file, "");
  const stop = await contender.start(task);
  try {
    await until(() => starts(task.file).size === count, `${contender.name} has started ${count} children`, 60_000);
    await pause(contender.stableMs);
    await run(task.file);
  } finally {
    await stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Kills these children and resolves with the milliseconds until the last of them said that it runs again. */
async function killAndWait(file: string, names: readonly string[]): Promise<number> {
  const before = starts(file);
  const pids = names.map((name) => before.get(name)?.pid ?? 0);
  if (pids.includes(0)) throw new Error("a child has not said that it runs");
  // hrtime and the child's clock are both CLOCK_MONOTONIC.
  const killedAt = process.hrtime.bigint();
  for (const pid of pids) process.kill(pid, "SIGKILL");
  const isBack = (name: string) => (starts(file).get(name)?.at ?? 0n) > killedAt;
  await until(() => names.every(isBack), `${names.join(", ")} is back`, patienceMs);
  const after = starts(file);
  const last = names.map((name) => after.get(name)?.at ?? 0n).reduce((a, b) => (a > b ? a : b), 0n);
  return Number(last - killedAt) / 1e6;
}

/** The newest start that each child has reported. */
function starts(file: string): Map<string, { pid: number; at: bigint }> {
  const found = new Map<string, { pid: number; at: bigint }>();
  for (const line of readFileSync(file, "utf8").split("\n")) {
    const [name, pid, at] = line.split(" ");
    if (name && pid && at) found.set(name, { pid: Number(pid), at: BigInt(at) });
  }
  return found;
}

async function until(holds: () => boolean, what: string, withinMs: number): Promise<void> {
  const endMs = performance.now() + withinMs;
  while (!holds()) {
    if (performance.now() > endMs) throw new Error(`waited ${withinMs} ms in vain until ${what}`);
    await pause(20); // the figures come from the children's own clocks: looking rarely costs nothing and disturbs nobody
  }
}
