import { durationMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import { bench } from "../../test/support/workload-bench.ts";
import { noFacts } from "../diagnosis/facts.ts";
import { incidentOf } from "../supervise/report.ts";
import type { IncidentFacts } from "../supervise/state.ts";
import { recoveryMetrics } from "./metrics.ts";

function lastRevisions(one: ReturnType<typeof bench>) {
  const last = new Map<string, IncidentFacts>();
  for (const facts of one.incidents) last.set(facts.id, facts);
  return [...last.values()].map((facts) => incidentOf(facts, "n1", "s", "engine"));
}

test("SYN-7 MTTD, MTTR and their phases are those of the incidents; what needed a person counts as attended", () => {
  const one = bench(specOf({ beat: { timeoutMs: 3000 } }));
  const beats = () => one.tell({ is: "beat", ready: true, status: "" });
  one.tell({ is: "boot", bootId: "boot-1" });
  one.pass(60_000, beats);
  one.pass(4000); // frozen: detected three seconds after its last beat
  one.pass(400_000, beats);
  one.crash();
  one.pass(400_000, beats);
  const metrics = recoveryMetrics(lastRevisions(one));
  expect(metrics).toMatchObject({ incidents: 2n, successRate: 1, unattendedRate: 1, escalationRate: 0 });
  expect(metrics.mttd && durationMs(metrics.mttd)).toBeGreaterThan(1000);
  expect(metrics.mttr && durationMs(metrics.mttr)).toBeLessThan(3000);
  expect(metrics.rungs.quick_restart).toBe(2n);
});

test("SYN-7 escalation is the share of incidents that needed more than one kind of remedy", () => {
  const one = bench(specOf({ safeMode: { env: {} } }));
  one.facts = { ...noFacts, hints: ["config"] };
  one.tell({ is: "boot", bootId: "boot-1" });
  one.pass(60_000);
  one.crash();
  one.crash();
  one.pass(400_000);
  expect(recoveryMetrics(lastRevisions(one))).toMatchObject({ incidents: 1n, escalationRate: 1, successRate: 1 });
});

test("nothing has happened: no means, and no shares of nothing", () => {
  const metrics = recoveryMetrics([]);
  expect(metrics).toMatchObject({ incidents: 0n, successRate: 0 });
  expect(metrics.mttr).toBeUndefined();
});
