import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seeded } from "@blueflame/shared/random/random.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { ProbeSpec, WorkloadSpec } from "../supervise/spec.ts";
import { BeatFileWatcher } from "./beat-file.driver.ts";
import type { Asked } from "./probe.driver.ts";
import { execMax, ProbeRunner } from "./probe-runner.driver.ts";
import { Signs } from "./signs.driver.ts";

const probe = (name: string, everyMs: number, by: "tcp" | "exec" = "tcp"): ProbeSpec => ({
  name,
  use: "liveness",
  everyMs,
  timeoutMs: everyMs,
  failures: 1,
  ask: by === "tcp" ? { by, host: "127.0.0.1", port: 1 } : { by, command: ["/bin/true"], cwd: "/" },
});

/** A runner on virtual time whose questions are answered by hand. */
function bench() {
  const clock = new VirtualClock();
  const told: string[] = [];
  const open: { name: string; answer: (ok: boolean, gone?: boolean) => void; signal: AbortSignal }[] = [];
  const asked: string[] = [];
  const runner = new ProbeRunner({
    clock,
    random: seeded(7),
    tell: (workload, name, { ok, lateMs }) => told.push(`${clock.monotonicMs()} ${workload}/${name} ${ok} +${lateMs}`),
    ask: (spec, signal): Asked => {
      asked.push(`${Math.round(clock.monotonicMs())} ${spec.name}`);
      const verdict = Promise.withResolvers<{ ok: boolean; because: string; tookMs: number }>();
      const gone = Promise.withResolvers<void>();
      const answer = (ok: boolean, isGone = true) => {
        verdict.resolve({ ok, because: "", tookMs: 0 });
        if (isGone) gone.resolve();
      };
      open.push({ name: spec.name, answer, signal });
      return { verdict: verdict.promise, gone: gone.promise };
    },
  });
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  const answerAll = async (ok: boolean, gone = true) => {
    for (const { answer } of open.splice(0)) answer(ok, gone);
    await settle();
  };
  return { clock, runner, told, asked, open, answerAll, settle };
}

test("probes are asked at their interval, the first time at a random moment within a second", async () => {
  const { clock, runner, asked, answerAll } = bench();
  runner.start(
    "w",
    Array.from({ length: 20 }, (_, i) => probe(`p${i}`, 5000)),
  );
  for (let at = 0; at < 10_000; at += 100) {
    clock.advance(100);
    await answerAll(true);
  }
  const times = asked.map((line) => Number(line.split(" ")[0]));
  expect(times.filter((at) => at <= 1000)).toHaveLength(20);
  // A few at a time, at the moments at which the agent wakes anyway.
  expect(times.filter((at) => at % 250 !== 0)).toEqual([]);
  expect(new Set(times.slice(0, 20)).size).toBeGreaterThan(3);
  expect(times.filter((at) => at > 1000 && at < 5000)).toEqual([]);
  expect(times.filter((at) => at < 10_000)).toHaveLength(40);
});

test("a probe never overlaps with itself; a slow answer is followed by the next question at once", async () => {
  const { clock, runner, asked, told, answerAll, open } = bench();
  runner.start("w", [probe("p", 1000)]);
  clock.advance(1000);
  expect(asked).toHaveLength(1);
  clock.advance(5000);
  runner.askNow("w");
  expect(asked).toHaveLength(1);
  await answerAll(false);
  expect(told).toEqual(["6000 w/p false +0"]);
  clock.advance(0);
  expect(open).toHaveLength(1);
});

test("at most eight commands run at once in the whole agent; the others wait and tell how late they were", async () => {
  const { clock, runner, told, open, answerAll } = bench();
  for (let n = 0; n < 20; n++) runner.start(`w${n}`, [probe("p", 60_000, "exec")]);
  clock.advance(1000);
  expect(open).toHaveLength(execMax);
  clock.advance(4000);
  await answerAll(true);
  expect(open).toHaveLength(execMax);
  await answerAll(true);
  expect(open).toHaveLength(4);
  await answerAll(true);
  expect(told).toHaveLength(20);
  const late = told.map((line) => Number(line.split("+")[1]));
  expect(late.slice(0, execMax)).toEqual(Array(execMax).fill(0));
  expect(Math.min(...late.slice(execMax))).toBeGreaterThanOrEqual(4000);
});

test("a stopped workload is asked no more, and an answer under way is not told", async () => {
  const { clock, runner, told, asked, open, answerAll } = bench();
  runner.start("w", [probe("p", 1000), probe("e", 1000, "exec")]);
  clock.advance(1000);
  const signals = open.map(({ signal }) => signal.aborted);
  runner.stop("w");
  expect([signals, open.map(({ signal }) => signal.aborted)]).toEqual([
    [false, false],
    [true, true],
  ]);
  await answerAll(true);
  clock.advance(60_000);
  expect([told, asked.length]).toEqual([[], 2]);
});

test("stopping those who wait leaves turns for the others", async () => {
  const { clock, runner, open, answerAll, asked } = bench();
  for (let n = 0; n < 12; n++) runner.start(`w${n}`, [probe(`p${n}`, 60_000, "exec")]);
  clock.advance(1000);
  for (let n = 0; n < 12; n++) runner.stop(`w${n}`);
  runner.start("last", [probe("last", 60_000, "exec")]);
  await answerAll(false);
  clock.advance(1000);
  expect(open.map(({ name }) => name)).toEqual(["last"]);
  expect(asked).toHaveLength(execMax + 1);
});

test("askNow asks at once, and the interval counts from there", async () => {
  const { clock, runner, asked, answerAll } = bench();
  runner.start("w", [probe("p", 10_000)]);
  runner.askNow("w");
  expect(asked).toEqual(["0 p"]);
  await answerAll(true);
  clock.advance(9999);
  expect(asked).toHaveLength(1);
  clock.advance(1);
  expect(asked).toEqual(["0 p", "10000 p"]);
});

test("a command that cannot be killed fails its probe and is not started again until it is gone", async () => {
  const { clock, runner, asked, told, open, answerAll, settle } = bench();
  runner.start("w", [probe("p", 1000, "exec")]);
  clock.advance(1000);
  const hanging = open[0];
  await answerAll(false, false);
  for (let n = 0; n < 5; n++) {
    clock.advance(1000);
    await settle();
  }
  expect([asked.length, told.length]).toEqual([1, 6]);
  hanging?.answer(false, true);
  await settle();
  clock.advance(1000);
  expect(asked).toHaveLength(2);
});

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "signs-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A watcher on virtual time, over a file whose modification time the test sets. */
function watching(timeoutMs: number) {
  const clock = new VirtualClock();
  const beats: number[] = [];
  let now: Promise<number | undefined> = Promise.resolve(5);
  let looks = 0;
  const watcher = new BeatFileWatcher(
    clock,
    () => beats.push(clock.monotonicMs()),
    () => {
      looks += 1;
      return now;
    },
  );
  watcher.start("w", "/beat", timeoutMs);
  return {
    beats,
    watcher,
    looks: () => looks,
    set: (ms: number | undefined | Promise<number | undefined>) => {
      now = Promise.resolve(ms);
    },
    pass: async (ms: number) => {
      for (let at = 0; at < ms; at += 50) {
        await new Promise((resolve) => setImmediate(resolve));
        clock.advance(50);
      }
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

test("what lay there before is no beat; each move of the modification time is one, also backwards", async () => {
  const { beats, set, pass } = watching(1000);
  await pass(1000);
  expect(beats).toEqual([]);
  set(6);
  await pass(1000);
  set(1);
  await pass(1000);
  expect(beats).toEqual([1250, 2250]);
});

test("a file that is away for a moment is no beat, and one that appears is", async () => {
  const { beats, set, pass } = watching(1000);
  await pass(250);
  set(undefined);
  await pass(500);
  set(5);
  await pass(500);
  expect(beats).toEqual([]);
  const fresh = watching(1000);
  fresh.set(undefined);
  fresh.watcher.start("w", "/beat", 1000);
  await fresh.pass(500);
  fresh.set(9);
  await fresh.pass(500);
  expect(fresh.beats).toEqual([750]);
});

test("a disk that hangs holds one look and gives no beat; when it answers, watching goes on", async () => {
  const { beats, set, pass, looks } = watching(1000);
  await pass(250);
  const hanging = Promise.withResolvers<number | undefined>();
  set(hanging.promise);
  await pass(250);
  const before = looks();
  await pass(10_000);
  expect([looks() - before, beats]).toEqual([0, []]);
  set(8);
  hanging.resolve(7);
  await pass(500);
  expect(beats).toHaveLength(2);
});

test("beat files of many workloads are looked at in one wake-up, however their starts are spread", () => {
  const clock = new VirtualClock();
  const looks: number[] = [];
  const look = () => {
    looks.push(clock.monotonicMs());
    return 1;
  };
  const watcher = new BeatFileWatcher(clock, () => undefined, look);
  for (let n = 0; n < 10; n++) {
    clock.advance(37);
    watcher.start(`w${n}`, "/beat", 30_000);
  }
  looks.length = 0;
  clock.advance(4000);
  expect([looks.length, ...new Set(looks)]).toEqual([20, 2000, 4000]);
  watcher.close();
});

test("a beat is learnt of within a quarter of its timeout, within a second of up to fifteen, and within two of a long one", async () => {
  for (const [timeoutMs, everyMs] of [
    [400, 100],
    [10_000, 1000],
    [15_000, 1000],
    [24_000, 1600],
    [600_000, 2000],
  ] as const) {
    const { looks, watcher, pass } = watching(timeoutMs);
    await pass(everyMs * 4);
    expect([timeoutMs, looks()]).toEqual([timeoutMs, 1 + 4]);
    watcher.close();
  }
});

test("a beat file behind a link, which may lead to another disk, beats like any other", async () => {
  const [file, link] = [join(folder, "beat"), join(folder, "link")];
  writeFileSync(file, "");
  symlinkSync(file, link);
  let beats = 0;
  const watcher = new BeatFileWatcher(realClock(), () => {
    beats += 1;
  });
  watcher.start("w", link, 100);
  await new Promise((resolve) => setTimeout(resolve, 300));
  for (let at = 1; beats === 0; at++) {
    utimesSync(file, new Date(at * 1000), new Date(at * 1000));
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  watcher.close();
});

test("a beat file whose folder became a link to itself ended the agent: it gives no beats, and the others' go on", async () => {
  const [bad, good, sub] = [join(folder, "sub", "beat"), join(folder, "good"), join(folder, "sub")];
  mkdirSync(sub);
  for (const file of [bad, good]) writeFileSync(file, "");
  const beats = { bad: 0, good: 0 };
  const watcher = new BeatFileWatcher(realClock(), (workload) => {
    beats[workload as keyof typeof beats] += 1;
  });
  watcher.start("bad", bad, 100);
  watcher.start("good", good, 100);
  const pause = () => new Promise((resolve) => setTimeout(resolve, 100));
  const touched = (file: string, at: number) => utimesSync(file, new Date(at * 1000), new Date(at * 1000));
  for (let at = 1; beats.bad < 3; at++, await pause()) touched(bad, at); // by now its folder is known to be a local one
  rmSync(sub, { recursive: true });
  symlinkSync("sub", sub);
  await pause();
  const before = beats.good;
  for (let at = 1; beats.good === before && at < 50; at++, await pause()) touched(good, at);
  watcher.close();
  expect(beats.good).toBeGreaterThan(before);
});

test("beats of a real file and answers of a real probe arrive through one door", async () => {
  const file = join(folder, "beat");
  writeFileSync(file, "");
  const beats: string[] = [];
  const answers: string[] = [];
  const signs = new Signs({
    clock: realClock(),
    random: () => 0,
    beat: (workload) => beats.push(workload),
    probed: (workload, name, { ok, because }) => answers.push(`${workload}/${name} ${ok} ${because}`),
  });
  const watched = {
    name: "w",
    beat: { timeoutMs: 200, file },
    probes: [{ ...probe("true", 100, "exec"), timeoutMs: 10_000 }], // a busy machine takes its time to start it
  } satisfies Partial<WorkloadSpec>;
  signs.watch(watched as unknown as WorkloadSpec);
  const until = async (holds: () => boolean) => {
    while (!holds()) await new Promise((resolve) => setTimeout(resolve, 10));
  };
  await until(() => answers.length >= 2);
  expect(beats).toEqual([]);
  utimesSync(file, new Date(1000), new Date(1000));
  await until(() => beats.length === 1);
  writeFileSync(`${file}.new`, "");
  renameSync(`${file}.new`, file);
  await until(() => beats.length === 2);
  expect(new Set(answers)).toEqual(new Set(["w/true true exit code 0"]));
  signs.unwatch("w");
  utimesSync(file, new Date(5000), new Date(5000));
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(beats).toHaveLength(2);
  signs.close();
});
