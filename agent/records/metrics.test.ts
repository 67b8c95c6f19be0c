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

test("SYN-14 what was healed only after a person was called was counted as healed with none: the way in which they were called says nothing", () => {
  const slow = bench(specOf({}));
  slow.tell({ is: "boot", bootId: "boot-1" });
  slow.pass(60_000);
  // Every start ends at once, until somebody has come.
  slow.facts = { ...noFacts };
  for (let n = 0; n < 40 && !slow.state.incident?.needsPerson; n++, slow.pass(60_000)) slow.crash();
  slow.pass(900_000);
  const undying = bench(specOf({}));
  undying.tell({ is: "boot", bootId: "boot-1" });
  undying.pass(60_000);
  undying.answers = false;
  undying.crash();
  undying.tell({ is: "cleanFailed", because: "pid 7 is in state D" });
  undying.answers = true;
  undying.pass(900_000);
  for (const one of [slow, undying]) {
    expect(one.incidents.at(-1)).toMatchObject({ at: "closed", needsPerson: false, personCalled: true });
    expect(recoveryMetrics(lastRevisions(one))).toMatchObject({ successRate: 1, unattendedRate: 0 });
  }
});

test("SYN-7 of ten thousand incidents all are counted, and the newest say how it goes", () => {
  expect(recoveryMetrics([], 10_000)).toMatchObject({ incidents: 10_000n, over: 0n });
});

test("SYN-7 the time to recover of what relapsed counts when it was down, not the minute in which it was well", () => {
  const one = bench(specOf({}));
  one.tell({ is: "boot", bootId: "boot-1" });
  one.pass(60_000);
  one.crash();
  one.pass(61_000); // down for a second, well for a minute
  const relapsedMs = one.now();
  one.crash();
  one.pass(5000);
  const [last] = one.incidents.slice(-1);
  expect(last).toMatchObject({ at: "probation", failures: 2, detectedMs: relapsedMs, downBeforeMs: 1000 });
  expect(last?.recoverTookMs).toBe(2000);
  expect((last?.actedWallMs ?? 0) - (last?.faultWallMs ?? 0)).toBe(0);
  const metrics = recoveryMetrics(lastRevisions(one));
  expect(metrics.mttr && durationMs(metrics.mttr)).toBe(2000);
  expect(metrics.toVerify && durationMs(metrics.toVerify)).toBe(1000);
});

test("SYN-7 what still holds after its remedy was never well: its time to recover goes on", () => {
  const one = bench(specOf({}));
  const trigger = "high-latency";
  one.tell({ is: "boot", bootId: "boot-1" });
  one.pass(60_000);
  const sinceMs = one.now();
  const because = "p95_latency_ms is 1500ms";
  const symptom = { trigger, workload: "engine", severity: "medium", playbook: "performance-optimization" } as const;
  one.tell({ is: "symptom", symptom: { ...symptom, because, sinceMs } });
  one.tell({ is: "restart", who: "playbook:performance-optimization" });
  one.crash(0);
  one.pass(2000); // up again, slow as it is
  one.tell({ is: "remedied", id: one.remedyId(), ok: true, because: "done" });
  one.pass(90_500);
  one.crash(0); // asked to leave, for the trigger still holds
  one.pass(2000);
  one.tell({ is: "cleared", trigger });
  expect(one.incidents.at(-1)).toMatchObject({ at: "probation", failures: 2, detectedMs: sinceMs });
  expect(one.incidents.at(-1)?.recoverTookMs).toBeGreaterThan(90_000);
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
