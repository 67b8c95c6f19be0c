import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { seeded } from "@blueflame/shared/random/random.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import { bench } from "../../test/support/workload-bench.ts";
import { noFacts } from "../diagnosis/facts.ts";
import { defaultObjectives } from "../slo/slo.ts";
import { type OpenedAgentStore, openAgentStore } from "../store/agent-store.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import type { Figures, Observation } from "../triggers/observation.ts";
import type { Event } from "../triggers/state.ts";
import { type Experience, openExperience } from "./experience.driver.ts";

// On a real clock that can be moved on, over a real store that is closed and opened again.
let dir: string;
let store: OpenedAgentStore;
let experience: Experience;
let told: Event[];
let suggested: string[];
const real = realClock();
/** How far the clock was moved on: the shares of up and down are then what the test says, however long the machine takes between two looks. */
let skippedMs = 0;
const skip = (ms: number) => {
  skippedMs += ms;
};
const clock: Clock = {
  monotonicMs: () => real.monotonicMs() + skippedMs,
  bootMs: () => real.bootMs() + skippedMs,
  wallMs: () => real.wallMs() + skippedMs,
  wakeAt: (atMs, wake) => real.wakeAt(atMs - skippedMs, wake),
};
const spec: WorkloadSpec = specOf({ name: "api", safeMode: { env: {} } });
const signature = "crash, exit 1: error config invalid";

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "bf-experience-"));
  told = [];
  suggested = [];
  await open();
});
afterEach(async () => {
  await close();
  rmSync(dir, { recursive: true, force: true });
});

async function open(): Promise<void> {
  store = await openAgentStore(dir, { clock, random: Math.random, nodeId: "n1", bootId: "boot-1" });
  experience = await openExperience({
    specs: [spec],
    slo: { ...defaultObjectives, windowMs: 30 * 86_400_000 },
    frozen: false,
    store,
    clock,
    bootId: "boot-1",
    everyMs: 5000,
    random: seeded(7),
    tell: (event) => told.push(event),
    suggested: (_workload, text) => suggested.push(text),
  });
}
async function close(): Promise<void> {
  await experience.close();
  await store.close();
}

/** An incident of the real machine in which safe mode helps, told revision by revision. */
function healedBySafeMode(n: number): void {
  const one = bench(spec);
  one.facts = { ...noFacts, hints: ["config"] };
  one.tell({ is: "boot", bootId: "boot-1" });
  one.pass(60_000);
  one.crash();
  one.crash();
  one.pass(400_000);
  expect(one.incidents.at(-1)?.at).toBe("closed");
  for (const facts of one.incidents) {
    const id = `${facts.id}-${n}`;
    experience.incident({ ...facts, id }, { workload: "api" });
    if (facts.at !== "closed") experience.sign(id, signature);
  }
}
function observation(figures: Figures): Observation {
  return { node: {}, workloads: { api: figures }, lateJobs: {}, staleSources: [], heaviestStranger: "" };
}

test("SYN-12 PRA-14 what healed a failure again and again is learned, kept over a restart, and the failure that recurs leads to a suggestion", async () => {
  expect(experience.advice("api", signature)).toBeUndefined();
  for (let n = 0; n < 5; n++) healedBySafeMode(n);
  await close();
  await open();
  const advice = experience.advice("api", signature);
  expect(advice?.order.indexOf("safe_mode")).toBe(0);
  expect(advice?.because).not.toBe("");
  expect(experience.suggestions().length).toBeGreaterThan(0);
  expect(experience.advice("api", "another failure")).toBeUndefined();
});

test("GRC-5 trust rises by 0.05 with a remedy that worked and falls with one that did not, for the unit and the healer", () => {
  const before = experience.trust("workload:api").trust;
  healedBySafeMode(0); // one quick restart that failed, one safe mode that worked
  expect(experience.trust("workload:api").trust).toBeCloseTo(before - 0.1 + 0.05, 5);
  expect(experience.trust("rung:safe_mode").trust).toBeCloseTo(before + 0.05, 5);
  expect(experience.trust("rung:quick_restart").trust).toBeCloseTo(before - 0.1, 5);
});

test("PRA-6 PRA-7 time down lowers the score and spends the budget, and both are remembered over a restart", async () => {
  const figures = { p95_latency_ms: 100, p99_latency_ms: 150, requests_per_second: 50, error_rate: 0 };
  experience.observed(observation(figures), () => true);
  skip(12_000);
  experience.observed(observation(figures), () => true);
  skip(12_000);
  experience.observed(observation(figures), () => false);
  const score = experience.healthScore("api") ?? 100;
  expect(score).toBeLessThan(98.5);
  const availability = () => experience.sloReport("api")?.objectives.find(({ name }) => name === "availability");
  expect(availability()?.value).toBeLessThan(1);
  expect(availability()?.budget.spent).toBeGreaterThan(50);
  await close();
  await open();
  expect(availability()?.budget.spent).toBeGreaterThan(50);
});

test("what was down for its start only is not shown as down for half a minute", async () => {
  experience.observed(observation({}), () => false);
  skip(5_000);
  experience.observed(observation({}), () => false);
  expect(experience.healthScore("api")).toBeCloseTo(70, 0);
  for (let n = 0; n < 3; n++) {
    skip(5_000);
    experience.observed(observation({}), () => true);
  }
  expect(experience.healthScore("api")).toBeGreaterThan(80);
  expect(experience.sloReport("api")?.objectives[0]?.value).toBeGreaterThan(0.5);
});

test("PRA-8 figures unlike all that was seen are told as an anomaly, once a forest has been trained in the background", async () => {
  const random = seeded(3);
  const usual = (): Figures => ({
    avg_latency_ms: 40 + 10 * random(),
    p95_latency_ms: 90 + 20 * random(),
    p99_latency_ms: 140 + 30 * random(),
    error_rate: 0.001 * random(),
    requests_per_second: 45 + 10 * random(),
    cpu_usage: 0.2 + 0.05 * random(),
    memory_usage_mb: 200 + 5 * random(),
  });
  const strange = { ...usual(), avg_latency_ms: 900, p95_latency_ms: 2500, p99_latency_ms: 4000 };
  const anomalies = () => told.filter((event) => event.is === "anomaly" && event.anomalous);
  experience.observed(observation(strange), () => true);
  expect(told.filter((event) => event.is === "anomaly")).toEqual([]); // untrained: never an anomaly
  for (let n = 0; n < 400; n++) experience.observed(observation(usual()), () => true);
  // What comes often becomes usual, so it is strange only now and then.
  for (let round = 0; round < 4 && anomalies().length === 0; round++) {
    await pause(4000); // trees grow meanwhile
    for (let n = 0; n < 3; n++) experience.observed(observation(strange), () => true);
  }
  expect(anomalies()[0]).toMatchObject({ workload: "api", because: expect.stringContaining("latency") });
});
