import { expect, test } from "vitest";
import type { JobSpec } from "../config/sections.ts";
import type { MetaHealth } from "./meta-health.ts";
import { type RecoveryGround, recoverOrder } from "./recover-order.ts";

const job = (name: string, over: Partial<JobSpec>): JobSpec => ({
  name,
  file: `/jobs/${name}`,
  graceMs: 60_000,
  ...over,
});
const dead: MetaHealth = {
  rmMeta: 0,
  status: "DEAD",
  m1Proc: 0,
  m2Heartbeat: 1,
  m3DataFreshness: 1,
  m4ControlPlane: 0,
  m5Coherence: 1,
  subsystemHealth: {},
  because: [],
  missing: ["feed", "engine", "stopped"],
  wallMs: 0,
};
const ground: RecoveryGround = {
  controlPlane: ["scheduler", "registry"],
  order: ["registry", "scheduler", "feed", "engine", "dashboard"],
  jobs: [
    job("bars", { everyMs: 60_000, command: ["/bin/bars"] }),
    job("nightly", { at: { hour: 3, minute: 0 }, command: ["/bin/nightly"] }),
    job("weekly", { at: { hour: 3, minute: 0, weekday: 0 }, command: ["/bin/weekly"] }),
    job("watched", { everyMs: 60_000 }),
  ],
  late: { weekly: 7_200_000 },
};
const words = (meta: MetaHealth, over: Partial<RecoveryGround> = {}) =>
  recoverOrder(meta, { ...ground, ...over }).map(
    ({ step, name, missing }) => `${step} ${name}${missing ? " start" : ""}`,
  );

test("DOL-3 a DEAD node gets its control plane first, then what is missing in order of dependency, then its jobs", () => {
  expect(words(dead)).toEqual([
    "control_plane registry",
    "control_plane scheduler",
    "process feed start",
    "process engine start",
    "job bars",
    "job weekly",
  ]);
});

test("DOL-3 a control plane that answers is left alone, and what is missing of it still comes first", () => {
  expect(words({ ...dead, m4ControlPlane: 1, missing: ["feed", "scheduler"] })).toEqual([
    "control_plane scheduler start",
    "process feed start",
    "job bars",
    "job weekly",
  ]);
});

test.each(["GREEN", "DEGRADED", "CRITICAL"] as const)("DOL-3 a %s node is not recovered as a whole", (status) => {
  expect(words({ ...dead, status })).toEqual([]);
});
