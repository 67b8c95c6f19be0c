import { durationMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { healthy, quiet, triggerBench } from "../../test/support/trigger-bench.ts";
import { figureWords, metricOf, metrics, parseFigure } from "./metrics.ts";
import { conditionWords, triggerInfos } from "./present.ts";
import { fresh } from "./state.ts";
import { catalogue } from "./trigger.ts";

test("GRC-2 every trigger of the box is listed with its condition in words, by name", () => {
  const infos = triggerInfos(catalogue, fresh(), 0);
  expect(infos.map(({ name, condition }) => `${name}: ${condition}`)).toEqual([
    "anomaly: the figures of a workload are unlike all that was seen of it for 3s",
    "api-timeouts: 5 requests timed out within 1m",
    "cpu-high: cpu_busy_ratio above 85% for 3s",
    "daily-check: daily at 03:00",
    "disk-filling: disk_used_ratio will reach its limit within 1h for 3s",
    "disk-high: disk_used_ratio above 90% for 3s",
    "error-burst: 20 errors within 1m, and far more than usual",
    "high-latency: p95_latency_ms above 1000ms for 3s",
    "job-late: a scheduled job was not picked up in time",
    "memory-high: memory_used_ratio above 80% for 3s",
    "memory-leak: process_memory_bytes will reach its limit within 15m for 3s",
    "sandbox-crash: the sandbox of a workload has crashed",
    "trust-drop: trust below 0.7",
    "weekly-check: on Sunday at 03:30",
    "workload-crashed: a workload has ended by itself",
    "workload-frozen: a workload lives and does nothing",
    "workload-silent: no beat of a workload for 1m, or its own longer beat.timeout",
  ]);
  expect(infos.every(({ active, added, fired, stands }) => active && !added && fired === 0n && !stands.length)).toBe(
    true,
  );
});

test("where it stands is said for each subject, with why and since when; what is switched off stands nowhere", () => {
  const bench = triggerBench();
  const slow = healthy({ p95_latency_ms: 2000 });
  bench.see((ms) => quiet({ workloads: { web: slow, ...(ms >= 10_000 && { db: slow }) } }));
  bench.pass(11_000);
  const info = (triggers = catalogue) =>
    triggerInfos(triggers, bench.state, bench.now().ms).find(({ name }) => name === "high-latency");
  expect(info()?.fired).toBe(1n);
  expect(
    info()?.stands.map(({ subject, stand, because, since }) => [subject, stand, because, since && durationMs(since)]),
  ).toEqual([
    ["workload/db", "pending", "p95_latency_ms is 2000ms, above 1000ms", 1000],
    ["workload/web", "firing", "p95_latency_ms is 2000ms, above 1000ms", 8000],
  ]);
  expect(info(catalogue.map((one) => ({ ...one, off: true })))).toMatchObject({ active: false, stands: [] });
});

test("what is not ours says so where it stands", () => {
  const bench = triggerBench();
  const node = { ...quiet().node, cpu_busy_ratio: 0.99, ours_cpu_ratio: 0.1 };
  bench.see(quiet({ node, heaviestStranger: "stress-ng (pid 7) takes 180 % of a core" }));
  bench.pass(6000);
  const [stand] = triggerInfos(catalogue, bench.state, bench.now().ms).flatMap(({ stands }) => stands);
  expect([stand?.stand, stand?.because]).toEqual([
    "pending",
    "cpu_busy_ratio is 99%, above 85%; not by us: stress-ng (pid 7) takes 180 % of a core; our workloads take 10%",
  ]);
});

test("a trigger for some workloads names them", () => {
  const [first] = catalogue;
  if (!first) throw new Error("no trigger");
  expect(conditionWords({ ...first, workloads: ["web", "db"] })).toBe(
    "no beat of a workload for 1m, or its own longer beat.timeout, of web, db",
  );
});

test("every figure is written as it is read", () => {
  const written = { percent: "85%", ms: "1500ms", seconds: "10s", bytes: "2GiB", rate: "2GiB", number: "5" };
  for (const [name, metric] of Object.entries(metrics)) {
    const text = metric.max === 1 && metric.unit === "number" ? "0.7" : written[metric.unit];
    const figure = parseFigure(metric, text);
    expect([name, figure === undefined ? "" : figureWords(name, figure).replace(/\/s$/, "")]).toEqual([name, text]);
  }
  expect([metricOf("constructor"), figureWords("no_such_metric", 1.23456)]).toEqual([undefined, "1.235"]);
  expect(figureWords("process_memory_bytes", 2_254_857_830)).toBe("2.1GiB");
  expect(figureWords("beat_age_ms", 75_400)).toBe("1m15s");
});
