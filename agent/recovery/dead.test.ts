// The order of a DEAD node, on virtual time: which starts it orders, and which it leaves to themselves.
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { expect, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import { bench } from "../../test/support/workload-bench.ts";
import type { JobSpec, MetaSpec } from "../config/sections.ts";
import { noFacts } from "../diagnosis/facts.ts";
import { type MetaHealth, metaHealth } from "../meta/meta-health.ts";
import { instanceOf, type State } from "../supervise/state.ts";
import { DeadDesk } from "./dead.driver.ts";

const meta: MetaSpec = {
  everyMs: 5000,
  critical: [],
  beatStaleMs: 30_000,
  beatDeadMs: 60_000,
  sources: [],
  ports: [],
  coherence: [],
  controlPlane: ["plane"],
};
const job: JobSpec = { name: "scan", everyMs: 600_000, graceMs: 60_000, file: "/scan.done", command: ["/bin/scan"] };

/** A node of workloads, of which what is asked of whom is written down; `late` are those of its jobs that are. */
function node(
  states: Readonly<Record<string, () => State>>,
  { late = {}, jobs = [job] }: { readonly late?: Record<string, number>; readonly jobs?: readonly JobSpec[] } = {},
) {
  const asked: string[] = [];
  const clock = new VirtualClock(1_000_000);
  const desk = new DeadDesk({
    meta,
    jobs,
    clock,
    order: () => Object.keys(states),
    state: (name) => (states[name] as () => State)(),
    post: (name, event) => asked.push(`${event.is} ${name}`),
    untilWell: async () => true,
    late: () => late,
    trigger: (name) => {
      asked.push(`job ${name}`);
      return { started: true };
    },
    audit: () => undefined,
  });
  const workloads = () =>
    Object.fromEntries(
      Object.entries(states).map(([name, state]) => [
        name,
        { alive: instanceOf(state().phase) !== undefined, stopped: false },
      ]),
    );
  return {
    asked,
    async rounds(count: number): Promise<MetaHealth | undefined> {
      let health: MetaHealth | undefined;
      for (let round = 0; round < count; round++) {
        health = metaHealth(meta, { workloads: workloads(), sources: {}, ports: {}, rules: {} }, clock.wallMs());
        desk.computed(health);
        for (let turn = 0; turn < 10; turn++) await Promise.resolve();
        clock.advance(meta.everyMs);
      }
      return health;
    },
  };
}
test("a node that boots slowly is DEAD for a while: nobody is started out of turn, and no job is triggered for it", async () => {
  const [plane, trader] = [bench(specOf({ startGraceMs: 120_000 })), bench(specOf())];
  plane.tell({ is: "boot", bootId: "boot-1" });
  trader.tell({ is: "boot", bootId: "boot-1", waitFor: ["plane"] });
  expect([plane.phase, trader.phase]).toEqual(["starting", "waiting"]);
  const { asked, rounds } = node({ plane: () => plane.state, trader: () => trader.state });
  expect(await rounds(10)).toMatchObject({ status: "DEAD" });
  expect(asked).toEqual([]);
});

test("DOL-3 who waits between two starts has its turn at once, and then the jobs", async () => {
  const [plane, trader] = [bench(specOf()), bench(specOf({ backoff: { ...specOf().backoff, delayMs: 60_000 } }))];
  for (const one of [plane, trader]) {
    one.tell({ is: "boot", bootId: "boot-1" });
    one.pass(60_000);
  }
  trader.crash();
  expect([plane.phase, trader.phase]).toEqual(["running", "backoff"]);
  const { asked, rounds } = node({ plane: () => plane.state, trader: () => trader.state });
  await rounds(3);
  expect(asked).toEqual(["restart trader", "job scan"]);
});

test("DOL-3 what is retried slowly keeps its own time, however long the node is DEAD", async () => {
  const [plane, trader] = [bench(specOf()), bench(specOf())];
  trader.facts = { ...noFacts, bootstrapAllowed: false };
  for (const one of [plane, trader]) {
    one.tell({ is: "boot", bootId: "boot-1" });
    one.pass(60_000);
  }
  for (let n = 0; n < 12; n++) {
    if (!trader.id()) trader.pass(31_000);
    trader.crash();
  }
  expect(trader.state).toMatchObject({ phase: { at: "backoff", slow: true }, incident: { needsPerson: true } });
  const { asked, rounds } = node({ plane: () => plane.state, trader: () => trader.state });
  expect(await rounds(60)).toMatchObject({ status: "DEAD" });
  expect(asked.filter((word) => word.endsWith("trader"))).toEqual([]);
  expect(asked.filter((word) => word === "job scan")).toHaveLength(1);
});

test("a job of every hour ran every minute while the node was DEAD: it keeps its interval, unless it is late", async () => {
  const plane = bench(specOf());
  plane.tell({ is: "boot", bootId: "boot-1" });
  plane.pass(60_000);
  const dead: State = { ...plane.state, phase: { at: "backoff", untilMs: 1e12, slow: true } };
  let state = dead;
  const late: Record<string, number> = {};
  const { asked, rounds } = node({ plane: () => state }, { late, jobs: [{ ...job, everyMs: 3_600_000 }] });
  const minute = 60_000 / meta.everyMs;
  await rounds(3 * 60 * minute);
  expect(asked.splice(0)).toEqual(Array(3).fill("job scan"));
  late.scan = 1000;
  await rounds(minute);
  expect(asked.splice(0)).toEqual(["job scan"]);
  delete late.scan;
  // Up for a minute and DEAD again is the same outage; up for long, and the next may need what the job makes.
  for (const [up, jobs] of [
    [minute, []],
    [11 * minute, ["job scan"]],
  ] as const) {
    state = plane.state;
    expect(await rounds(up)).toMatchObject({ status: "GREEN" });
    state = dead;
    await rounds(minute);
    expect(asked.splice(0)).toEqual(jobs);
  }
});
