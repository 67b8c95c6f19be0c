/** What the experience makes of what is seen, on virtual time over a real store that is closed and opened again. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seeded } from "@blueflame/shared/random/random.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import { defaultObjectives } from "../slo/slo.ts";
import { type OpenedAgentStore, openAgentStore } from "../store/agent-store.ts";
import type { Figures } from "../triggers/observation.ts";
import type { Event } from "../triggers/state.ts";
import { type Experience, openExperience } from "./experience.driver.ts";

let dir: string;
let clock: VirtualClock;
let store: OpenedAgentStore;
let experience: Experience;
let told: Event[];

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "bf-experience-seen-"));
  clock = new VirtualClock(1_000_000);
  await open();
});
afterEach(async () => {
  await close();
  rmSync(dir, { recursive: true, force: true });
});

async function open(bootId = "boot-1"): Promise<void> {
  told = [];
  store = await openAgentStore(dir, { clock, random: Math.random, nodeId: "n1", bootId });
  experience = await openExperience({
    specs: [specOf({ name: "api" })],
    slo: { ...defaultObjectives, windowMs: 30 * 86_400_000 },
    frozen: false,
    store,
    clock,
    bootId,
    everyMs: 5000,
    random: seeded(7),
    tell: (event) => told.push(event),
    suggested: () => undefined,
  });
}
async function close(): Promise<void> {
  await experience.close();
  await store.close();
}

/** As many looks, one every 5 s. */
function look(times: number, figures: () => Figures, isUp = true): void {
  for (let n = 0; n < times; n++) {
    clock.advance(5000);
    const observation = { node: {}, workloads: { api: figures() }, lateJobs: {}, staleSources: [] };
    experience.observed({ ...observation, heaviestStranger: "" }, () => isUp);
  }
}
const anomalies = () => told.flatMap((event) => (event.is === "anomaly" && event.anomalous ? [event.because] : []));

/** What the middleware of GRC-13 tells of a service, and what is seen of its family. */
function serving(seed: number): () => Figures {
  const random = seeded(seed);
  return () => ({
    avg_latency_ms: 40 + 10 * random(),
    p95_latency_ms: 90 + 20 * random(),
    p99_latency_ms: 140 + 30 * random(),
    error_rate: 0.001 * random(),
    requests_per_second: 45 + 10 * random(),
    process_cpu_ratio: 0.2 + 0.05 * random(),
    process_memory_bytes: (200 + 5 * random()) * 2 ** 20,
  });
}

test.each([
  ["CPU", { process_cpu_ratio: 0.95 }, "cpu_usage is 0.95, usually 0.2"],
  ["memory", { process_memory_bytes: 700 * 2 ** 20 }, "memory_usage_mb is 700MB, usually 20"],
])(
  "PRA-8 GRC-13 without a page no anomaly of %s was ever seen: the figures of its family stand in for a service that tells its requests only",
  (_what, out, words) => {
    const usual = serving(3);
    look(400, usual);
    expect(anomalies()).toEqual([]);
    look(3, () => ({ ...usual(), ...out }));
    expect(anomalies()).toEqual([expect.stringContaining(words)]);
  },
);

test("PRA-8 a page that is missed for a while is no anomaly: its own account and the family's are not mixed", () => {
  const usual = serving(4);
  const page = () => ({ ...usual(), process_cpu_ratio: 2, process_memory_bytes: 2 ** 30 });
  look(400, () => ({ ...page(), cpu_usage: 0.2, memory_usage_mb: 200 }));
  look(20, page);
  expect(anomalies()).toEqual([]);
  look(3, () => ({ ...page(), cpu_usage: 0.9, memory_usage_mb: 200 }));
  expect(anomalies()).toEqual([expect.stringContaining("cpu_usage is 0.9")]);
});

test("PRA-8 the CPU of a start is no anomaly of what runs", () => {
  const usual = serving(5);
  look(400, usual);
  look(6, () => ({ ...usual(), process_cpu_ratio: 1.5 }), false);
  look(20, usual);
  expect(anomalies()).toEqual([]);
});

test("PRA-7 two hours in which the agent was stopped are neither up nor down, whatever the first look after them sees", () => {
  const serving = () => ({ requests_per_second: 10, error_rate: 0 });
  look(24, serving);
  const watched = () => experience.sloReport("api");
  for (const isUp of [false, true]) {
    clock.stall(2 * 3_600_000);
    look(1, () => ({ requests_per_second: 10, error_rate: 1 }), isUp);
  }
  look(24, serving);
  const [availability, , , errors] = watched()?.objectives ?? [];
  expect(availability?.budget.spent).toBe(5000);
  expect(watched()?.observedMs).toBeLessThanOrEqual(50 * 5000);
  expect(errors?.budget.spent).toBeCloseTo(2 * 10 * 5, 5);
});

/** The disk as it fills, read every 5 s; `share` is the share of it that is used after so many hours since the test began. */
function fill(hours: number, share: (hour: number) => number): void {
  for (let n = 0; n < hours * 720; n++) {
    clock.advance(5000);
    const node = { disk_used_ratio: share((clock.wallMs() - beganMs) / 3_600_000), disk_free_bytes: 1e9 };
    experience.observed({ node, workloads: {}, lateJobs: {}, staleSources: [], heaviestStranger: "" }, () => true);
  }
}
const beganMs = new VirtualClock(1_000_000).wallMs();
const sights = () => told.flatMap((event) => (event.is === "trend" ? [event] : []));

test("PRA-8 a disk that fills is followed over a restart of the agent and a reboot: after each of them it was not seen for twenty minutes", async () => {
  const share = (hour: number) => 0.5 + 0.1 * hour;
  fill(1, share);
  expect(sights().at(-1)?.etaMs).toBeDefined();
  await close();
  clock.advance(60_000);
  await open();
  fill(1 / 60, share);
  expect(sights()[0]?.because).toMatch(
    /^it grows by \+0\.1 per hour over 1h1m, confidence 1\.00: 1 is reached in 3h59m$/,
  );

  await close();
  clock = new VirtualClock(20_000, clock.wallMs() + 60_000 - 20_000); // booted, a minute later by the wall
  await open("boot-2");
  fill(1 / 60, share);
  expect((sights()[0]?.etaMs ?? 0) / 60_000).toBeCloseTo(237, -1);
});

test("PRA-8 what is kept of a disk's trend is bounded, and a store of an agent that kept none is read", async () => {
  fill(8, (hour) => 0.5 + 0.001 * Math.sqrt(hour));
  await experience.close();
  expect(JSON.stringify(await store.memory("anomaly")).length).toBeLessThan(4000);
  await store.saveStep({ workload: "", memory: { key: "anomaly", value: {} } }, "synced");
  await store.close();
  await open();
  fill(1 / 60, () => 0.5);
  expect(sights()[0]?.because).toMatch(/^1 points over 0s: at least 12 over 20m are needed$/);
});

test("PRA-6 PRA-7 a page without requests_per_second was passed over: full marks while half of the requests failed", () => {
  look(60, () => ({ p95_latency_ms: 5000, p99_latency_ms: 9000, error_rate: 0.5 }));
  expect(experience.healthScore("api")).toBeLessThan(50);
  expect(experience.sloReport("api")?.met).toBe(false);
});
