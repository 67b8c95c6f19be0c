import { AuditOutcome } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { Breaker } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import { bench } from "../../test/support/workload-bench.ts";
import { noFacts } from "../diagnosis/facts.ts";
import { auditOf, statusOf } from "./report.ts";
import type { Effect, State } from "./state.ts";

test("SYN-10 every action of a recovery is audited: when, what, why, how it ended, how long, and the state before and after", () => {
  const one = bench(specOf());
  one.facts = { ...noFacts, hints: ["corruption"], backup: { id: "b1", ageMs: 1000 } };
  one.tell({ is: "boot", bootId: "boot-1" });
  one.pass(60_000);
  one.crash();
  one.crash();
  one.pass(20 * 60_000);
  one.tell({ is: "remedied", id: one.remedyId(), ok: true, because: "restored" });
  one.pass(310_000);
  const records = one.records.flatMap(({ before, now, output }) => {
    const { state, effects } = JSON.parse(output) as { state: State; effects: Effect[] };
    return effects.flatMap((effect) =>
      effect.do === "audit" ? [auditOf(effect, `${now.id}-a`, "n1", "engine", before, state, now)] : [],
    );
  });
  expect(records.map(({ action }) => action)).toEqual([
    "workload.spawn",
    "workload.crash",
    "workload.spawn",
    "workload.crash",
    "remedy.backup_restore",
    "remedy.backup_restore",
    "workload.spawn",
  ]);
  // The rung's beginning and its end, twenty minutes later.
  const rung = records.filter(({ action }) => action === "remedy.backup_restore");
  expect(rung.map(({ took }) => took && durationMs(took))).toEqual([0, 20 * 60_000]);
  for (const record of records) {
    expect(record.at?.seconds).toBeGreaterThan(0n);
    expect(record.because).not.toBe("");
    expect(record.target).toBe("workload/engine");
    expect([AuditOutcome.SUCCESS, AuditOutcome.FAILURE]).toContain(record.outcome);
    expect(JSON.parse(record.beforeJson)).toHaveProperty("phase");
    expect(JSON.parse(record.afterJson)).toHaveProperty("pid");
  }
});

test("a workload that runs while its playbook is at work is not said to be on probation, and an oddity of low severity cuts nobody off", () => {
  const spec = specOf();
  for (const [severity, breaker] of [
    ["low", Breaker.HALF_OPEN],
    ["medium", Breaker.OPEN],
  ] as const) {
    const one = bench(spec);
    one.tell({ is: "boot", bootId: "boot-1" });
    one.pass(60_000);
    const about = { trigger: "anomaly", workload: "engine", playbook: "run-diagnostics", because: "odd", sinceMs: 0 };
    one.tell({ is: "symptom", symptom: { ...about, severity } });
    const status = statusOf(spec, one.state, one.now());
    expect(status).toMatchObject({ because: "it runs and is being recovered: odd", breaker });
  }
});

test("SYN-4 a status tells what is at work and the cause that is believed, and how often it was started", () => {
  const spec = specOf();
  const one = bench(spec);
  one.tell({ is: "boot", bootId: "boot-1" });
  expect(statusOf(spec, { ...one.state, starts: 0 }, one.now())).toMatchObject({ starts: 0n, atWork: "", cause: "" });
  one.pass(60_000);
  const about = { trigger: "high-latency", workload: "engine", playbook: "performance-optimization", because: "slow" };
  one.tell({ is: "symptom", symptom: { ...about, severity: "medium", sinceMs: 0 } });
  expect(statusOf(spec, one.state, one.now())).toMatchObject({ starts: 1n, atWork: "performance-optimization" });
  const remedy = { by: "rung", rung: "config_rollback" } as const;
  const mending: State = { ...one.state, phase: { at: "mending", id: "r", untilMs: 0, remedy } };
  expect(statusOf(spec, mending, one.now()).atWork).toBe("config_rollback");
  const waiting: State = { ...one.state, phase: { at: "backoff", untilMs: 0 } };
  expect(statusOf(spec, waiting, one.now()).atWork).toBe("");
});
