import type { Stats } from "node:fs";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { expect, test } from "vitest";
import type { JobSpec, MetaSpec } from "../config/sections.ts";
import type { MetaHealth, WorkloadSeen } from "../meta/meta-health.ts";
import { FileDesk } from "./file-desk.driver.ts";
import { MetaWatch } from "./meta-watch.driver.ts";

const source = (name: string, external = false): MetaSpec["sources"][number] => ({
  name,
  external,
  staleMs: 30_000,
  deadMs: 120_000,
  file: `/data/${name}`,
  url: "",
  field: "",
  rows: false,
  workload: "feed",
});

/** A watch on virtual time over files that a test writes by their modification time; what it takes away hangs. */
function bench(over: Partial<MetaSpec> = {}, jobs: readonly JobSpec[] = []) {
  const clock = new VirtualClock();
  const written = new Map<string, number>();
  const hanging = new Set<string>();
  const told: MetaHealth[] = [];
  const workloads: Record<string, WorkloadSeen> = {};
  const desk = new FileDesk({
    clock,
    max: 6,
    perDiskMax: 2,
    stat: (path) => {
      if (hanging.has(path)) return new Promise(() => undefined);
      const mtimeMs = written.get(path);
      if (mtimeMs === undefined) return Promise.reject(Object.assign(new Error("none"), { code: "ENOENT" }));
      return Promise.resolve({ mtimeMs, size: 1, ino: 1, dev: 1 } as Stats);
    },
  });
  const meta: MetaSpec = {
    everyMs: 5000,
    critical: [],
    beatStaleMs: 30_000,
    beatDeadMs: 60_000,
    sources: [],
    ports: [],
    coherence: [],
    controlPlane: [],
    ...over,
  };
  const watch = new MetaWatch({
    meta,
    jobs,
    clock,
    desk,
    workloads: () => workloads,
    tell: (health) => told.push(health),
    offsetMs: () => 0,
  });
  const write = (name: string) => written.set(`/data/${name}`, clock.wallMs());
  /** Lets time pass in steps, as answers need turns of the event loop. */
  const pass = async (ms: number, each: () => void = () => undefined) => {
    for (let at = 0; at < ms; at += 500) {
      each();
      clock.advance(500);
      await new Promise((resolve) => setImmediate(resolve));
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  return { clock, watch, told, workloads, written, hanging, write, pass };
}

test("DOL-2 the meta-health is computed every 5 s", async () => {
  const { pass, told, watch } = bench();
  await pass(4500);
  expect([told.length, watch.latest()]).toEqual([0, undefined]);
  await pass(60_000);
  expect(told.length).toBe(12);
  expect(told.every(({ status }) => status === "GREEN")).toBe(true);
});

test("DOL-7 a source that hangs delays no round and no other source, and itself grows stale and dead", async () => {
  const { pass, told, hanging, write, watch } = bench({ sources: [source("bars"), source("ticks")] });
  const both = () => {
    write("bars");
    write("ticks");
  };
  await pass(20_000, both);
  hanging.add("/data/ticks");
  const before = told.length;
  await pass(60_000, both);
  // A round waits 2 s for the source and is then judged without it: never less than one in 5 s.
  expect(told.length - before).toBeGreaterThanOrEqual(11);
  expect(told.at(-1)).toMatchObject({ m3DataFreshness: 0.5, status: "CRITICAL" });
  expect(told.at(-1)?.subsystemHealth).toMatchObject({ "source/bars": 1, "source/ticks": 0.5 });
  expect(told.at(-1)?.because[0]).toMatch(/^source\/ticks: its data is \d+ s old: its disk does not answer$/);
  expect(watch.findings().staleSources).toMatchObject([{ name: "ticks", external: false, workload: "feed" }]);
  await pass(80_000, both);
  expect(told.at(-1)).toMatchObject({ m3DataFreshness: 0, status: "DEAD" });
});

test("DOL-10 a source that comes, goes, and comes again is picked up within one round each time", async () => {
  const { pass, told, written, write } = bench({ sources: [source("bars")] });
  await pass(40_000);
  expect(told.at(-1)?.subsystemHealth["source/bars"]).toBe(0.5);
  write("bars");
  await pass(5000);
  expect(told.at(-1)?.subsystemHealth["source/bars"]).toBe(1);
  written.delete("/data/bars");
  await pass(125_000);
  expect(told.at(-1)?.subsystemHealth["source/bars"]).toBe(0);
  // A file that is put in its place keeps the time of its making, an hour ago: it is new all the same.
  written.set("/data/bars", (told.at(-1)?.wallMs ?? 0) - 3_600_000);
  await pass(5000);
  expect(told.at(-1)?.subsystemHealth["source/bars"]).toBe(1);
});

test("DOL-4 an external source that is stale is found, and DEGRADED is all that follows", async () => {
  const { pass, told, watch } = bench({ sources: [source("prices", true)] });
  await pass(300_000);
  expect(told.at(-1)).toMatchObject({ rmMeta: 1, status: "DEGRADED" });
  expect(watch.findings().staleSources).toMatchObject([{ name: "prices", external: true }]);
});

test("DOL-8 a job that is not picked up is found late, with by how much, until it has run", async () => {
  const job: JobSpec = { name: "nightly", everyMs: 60_000, graceMs: 10_000, file: "/data/nightly" };
  const { pass, watch, write } = bench({}, [job]);
  await pass(70_000);
  expect(watch.findings().lateJobs).toEqual({});
  await pass(10_000);
  expect(watch.findings().lateJobs.nightly).toBeGreaterThanOrEqual(10_000);
  write("nightly");
  await pass(5000);
  expect(watch.findings().lateJobs).toEqual({});
});

test("DOL-8 a wall clock that is put forward makes no job late that ran a moment ago, at its interval or at its time of day", async () => {
  const jobs: JobSpec[] = [
    { name: "often", everyMs: 600_000, graceMs: 60_000, file: "/data/often" },
    { name: "daily", at: { hour: 0, minute: 30 }, graceMs: 60_000, file: "/data/daily" },
  ];
  const { clock, pass, watch, write, written } = bench({}, jobs); // it is midnight
  written.set("/data/daily", clock.wallMs() - 23.5 * 3_600_000);
  await pass(10_000, () => write("often"));
  clock.stepWall(3_600_000);
  await pass(50_000);
  expect(watch.findings().lateJobs).toEqual({});
  // At the time that was skipped nothing ran, and its grace after the clock was set is over.
  await pass(30_000);
  expect(Object.keys(watch.findings().lateJobs)).toEqual(["daily"]);
  write("daily");
  await pass(5000);
  clock.stepWall(20 * 86_400_000);
  await pass(300_000);
  expect(watch.findings().lateJobs).toEqual({});
});

test("DOL-8 a wall clock that is put right by some seconds each hour makes no nightly job late that has run", async () => {
  const job: JobSpec = { name: "daily", at: { hour: 0, minute: 0 }, graceMs: 60_000, file: "/data/daily" };
  const { clock, pass, watch, write } = bench({}, [job]); // it is midnight
  await pass(10_000, () => write("daily"));
  for (let n = 0; n < 23; n += 1) {
    clock.stepWall(-10_000);
    await pass(20_000);
    expect(watch.findings().lateJobs).toEqual({});
  }
});

test("DOL-8 a wall clock that is put back hides no job that has died", async () => {
  const job: JobSpec = { name: "often", everyMs: 60_000, graceMs: 10_000, file: "/data/often" };
  const { clock, pass, watch, write } = bench({}, [job]);
  await pass(10_000, () => write("often"));
  clock.stepWall(-6 * 3_600_000);
  await pass(60_000);
  expect(watch.findings().lateJobs).toEqual({});
  await pass(20_000);
  expect(Object.keys(watch.findings().lateJobs)).toEqual(["often"]);
});

test("DOL-8 a job whose disk hangs is not called late", async () => {
  const job: JobSpec = { name: "nightly", everyMs: 60_000, graceMs: 10_000, file: "/data/nightly" };
  const { pass, watch, hanging } = bench({}, [job]);
  hanging.add("/data/nightly");
  await pass(300_000);
  expect(watch.findings().lateJobs).toEqual({});
});

test("an agent that was stopped for a day blames nobody for that day", async () => {
  const { clock, pass, told, write, watch, workloads } = bench({ sources: [source("bars")] }, [
    { name: "hourly", everyMs: 3_600_000, graceMs: 60_000, file: "/data/hourly" },
  ]);
  workloads.engine = { alive: true, stopped: false };
  write("hourly");
  await pass(20_000, () => write("bars"));
  const before = told.length;
  clock.stall(86_400_000);
  await pass(10_000);
  expect(told.length).toBeGreaterThan(before);
  expect(told.slice(before).map(({ status }) => status)).toEqual(told.slice(before).map(() => "GREEN"));
  expect(watch.findings()).toEqual({ staleSources: [], lateJobs: {} });
  // Its grace after waking up is over, and it still has not run.
  await pass(60_000, () => write("bars"));
  expect(Object.keys(watch.findings().lateJobs)).toEqual(["hourly"]);
});
