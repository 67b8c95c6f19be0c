import { expect, test } from "vitest";
import type { MetaSpec } from "../config/sections.ts";
import { applyRule, type RuleState, unseenRule } from "./coherence.ts";
import { becauseMax, type MetaSeen, metaHealth, metaHealthJson, statusOf } from "./meta-health.ts";

const source = (name: string, external = false): MetaSpec["sources"][number] => ({
  name,
  external,
  staleMs: 30_000,
  deadMs: 120_000,
  file: `/data/${name}`,
  url: "",
  field: "",
  rows: false,
  workload: "",
});
const rule = (name: string): MetaSpec["coherence"][number] => ({
  name,
  file: "/data/risk.json",
  url: "",
  field: "risk",
  oneOf: [],
  monotone: false,
  workload: "",
});
const spec: MetaSpec = {
  everyMs: 5000,
  critical: [],
  beatStaleMs: 30_000,
  beatDeadMs: 60_000,
  sources: [source("bars"), source("prices", true)],
  ports: [
    { host: "127.0.0.1", port: 8080 },
    { host: "::1", port: 9000 },
  ],
  coherence: [rule("exposure")],
  controlPlane: [],
};
const well = { alive: true, stopped: false };
const seen: MetaSeen = {
  workloads: { engine: { ...well, beatAgeMs: 100, beatTimeoutMs: 3000 }, feed: well },
  sources: { bars: { ageMs: 0, because: "" }, prices: { ageMs: 0, because: "" } },
  ports: { "127.0.0.1:8080": { value: 1, because: "" }, "[::1]:9000": { value: 1, because: "" } },
  rules: { exposure: { value: 1, because: "" } },
};
const at = (over: Partial<MetaSeen>, specOver: Partial<MetaSpec> = {}) =>
  metaHealth({ ...spec, ...specOver }, { ...seen, ...over }, 1_770_000_000_000);

test("DOL-1 M1 is 0 as soon as one critical process is missing, and a workload stopped on purpose is present", () => {
  expect(at({}).m1Proc).toBe(1);
  const gone = { ...seen.workloads, feed: { alive: false, stopped: false } };
  expect(at({ workloads: gone })).toMatchObject({ m1Proc: 0, missing: ["feed"], rmMeta: 0, status: "DEAD" });
  expect(at({ workloads: { ...gone, feed: { alive: false, stopped: true } } })).toMatchObject({
    m1Proc: 1,
    missing: [],
  });
  expect(at({ workloads: gone }, { critical: ["engine"] }).m1Proc).toBe(1);
  expect(at({}, { critical: ["unknown"] })).toMatchObject({ m1Proc: 0, missing: ["unknown"] });
});

test.each([
  [0, 1],
  [30_000, 1],
  [30_001, 0.5],
  [60_000, 0.5],
  [60_001, 0],
])("DOL-1 M2 of a beat that is %d ms old is %d, and the worst workload counts", (beatAgeMs, value) => {
  const meta = at({ workloads: { ...seen.workloads, feed: { ...well, beatAgeMs, beatTimeoutMs: 3000 } } });
  expect([meta.m2Heartbeat, meta.subsystemHealth["workload/feed"], meta.subsystemHealth["workload/engine"]]).toEqual([
    value,
    value,
    1,
  ]);
});

test("DOL-1 M2 leaves out who is not there, who owes no beat, and who may be silent for longer by its own spec", () => {
  const old = { beatAgeMs: 250_000, beatTimeoutMs: 3000 };
  expect(at({ workloads: { engine: { alive: false, stopped: true, ...old } } }).m2Heartbeat).toBe(1);
  expect(at({ workloads: { engine: { ...well, beatTimeoutMs: 3000 } } }).m2Heartbeat).toBe(1);
  expect(at({ workloads: { engine: { ...well, ...old, beatTimeoutMs: 300_000 } } }).m2Heartbeat).toBe(1);
});

test.each([
  [30_000, 1],
  [30_001, 0.5],
  [120_000, 0.5],
  [120_001, 0],
])("DOL-1 M3 of data that is %d ms old is %d", (ageMs, value) => {
  const meta = at({ sources: { ...seen.sources, bars: { ageMs, because: "" } } });
  expect([meta.m3DataFreshness, meta.rmMeta, meta.subsystemHealth["source/bars"]]).toEqual([value, value, value]);
});

test("DOL-1 M4 and M5 are 0 when one port refuses and when one rule is broken", () => {
  expect(at({ ports: { ...seen.ports, "[::1]:9000": { value: 0, because: "it refuses" } } })).toMatchObject({
    m4ControlPlane: 0,
    because: ["port/[::1]:9000: it refuses"],
  });
  expect(at({ rules: { exposure: { value: 0, because: "risk is 9, above 5" } } })).toMatchObject({
    m5Coherence: 0,
    because: ["rule/exposure: risk is 9, above 5"],
  });
});

test("DOL-2 the status follows the product: above 0.8, above 0.5, above 0.2, and the rest", () => {
  const values = [1, 0.81, 0.8, 0.51, 0.5, 0.21, 0.2, 0];
  expect(values.map(statusOf)).toEqual([
    "GREEN",
    "GREEN",
    "DEGRADED",
    "DEGRADED",
    "CRITICAL",
    "CRITICAL",
    "DEAD",
    "DEAD",
  ]);
});

test("DOL-2 the meta-health is the product of the five, with each subsystem's own health", () => {
  const stale = at({
    workloads: { engine: { ...well, beatAgeMs: 40_000 } },
    sources: { ...seen.sources, bars: { ageMs: 40_000, because: "" } },
    rules: { exposure: { value: 0.5, because: "its disk does not answer" } },
  });
  expect(stale).toMatchObject({
    m2Heartbeat: 0.5,
    m3DataFreshness: 0.5,
    m5Coherence: 0.5,
    rmMeta: 0.125,
    status: "DEAD",
  });
  expect(stale.subsystemHealth).toEqual({
    "workload/engine": 0.5,
    "source/bars": 0.5,
    "source/prices": 1,
    "port/127.0.0.1:8080": 1,
    "port/[::1]:9000": 1,
    "rule/exposure": 0.5,
  });
  expect(stale.because).toEqual([
    "workload/engine: no beat for 40 s",
    "source/bars: its data is 40 s old",
    "rule/exposure: its disk does not answer",
  ]);
});

test("DOL-2 meta_health.json has the field names of the source", () => {
  const document = JSON.parse(metaHealthJson(at({})));
  expect(document).toEqual({
    rm_meta: 1,
    status: "GREEN",
    m1_proc: 1,
    m2_heartbeat: 1,
    m3_data_freshness: 1,
    m4_control_plane: 1,
    m5_coherence: 1,
    subsystem_health: expect.objectContaining({ "workload/engine": 1 }),
    because: [],
    timestamp: "2026-02-02T02:40:00.000Z",
  });
});

test("DOL-4 stale data of an external source makes the node DEGRADED and takes nothing from the product", () => {
  for (const ageMs of [30_001, 500_000]) {
    const meta = at({ sources: { ...seen.sources, prices: { ageMs, because: "" } } });
    expect(meta).toMatchObject({ rmMeta: 1, m3DataFreshness: 1, status: "DEGRADED" });
    expect(meta.subsystemHealth["source/prices"]).toBe(ageMs > 120_000 ? 0 : 0.5);
    expect(meta.because).toEqual([
      `source/prices: its data is ${Math.round(ageMs / 1000)} s old; it is external, so it is waited for`,
    ]);
  }
  const worse = at({
    sources: { bars: { ageMs: 60_000, because: "" }, prices: { ageMs: 60_000, because: "" } },
  });
  expect([worse.rmMeta, worse.status]).toEqual([0.5, "CRITICAL"]);
});

test("what nobody has looked at yet counts as well", () => {
  expect(metaHealth(spec, { workloads: {}, sources: {}, ports: {}, rules: {} }, 0).status).toBe("GREEN");
});

test("the sentences are bounded, worst first, and say how many more there are", () => {
  const workloads = Object.fromEntries(
    Array.from({ length: 60 }, (_, n) => [`w${n}`, { ...well, beatAgeMs: n < 30 ? 40_000 : 90_000 }]),
  );
  const { because } = at({ workloads });
  expect(because).toHaveLength(becauseMax);
  expect(because[0]).toBe("workload/w30: no beat for 90 s");
  expect(because.at(-1)).toBe("and 41 more");
});

test.each(["1e9", "1e999"])("DOL-1 one odd value (%s) made each right one after it fall from it, for ever", (odd) => {
  const rule = { name: "r", file: "/f", url: "", field: "x", oneOf: [], monotone: true, max: 1000, workload: "" };
  const seen: RuleState[] = [];
  for (const text of ["5", odd, "6", "7"]) {
    const look = { is: "read", field: { is: "value", value: JSON.parse(text) as number } } as const;
    seen.push(applyRule(rule, seen.at(-1) ?? unseenRule, look, 5000));
  }
  expect(seen.map(({ value }) => value)).toEqual([1, 0, 1, 1]);
});
