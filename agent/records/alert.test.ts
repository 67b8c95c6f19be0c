import { expect, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import { bench } from "../../test/support/workload-bench.ts";
import { noFacts } from "../diagnosis/facts.ts";
import { alertsOf } from "./alert.ts";

function told(one: ReturnType<typeof bench>) {
  return one.incidents.flatMap((facts, at) => {
    const before = one.incidents[at - 1];
    return alertsOf(before?.id === facts.id ? before : undefined, facts).map(({ kind, page }) =>
      page ? `${kind}!` : kind,
    );
  });
}

function running() {
  const one = bench(specOf());
  one.tell({ is: "boot", bootId: "boot-1" });
  one.pass(60_000);
  return one;
}

test("GRC-8 a crash that is healed is told when it opens, when it is verified and when it is closed, and pages nobody", () => {
  const one = running();
  one.crash();
  one.pass(400_000);
  expect(told(one)).toEqual(["opened", "recovered", "closed"]);
});

test("GRC-8 the crash of what runs once is one alert, as bad as its exit, though nothing is done about it", () => {
  const alerts = (code: number | null, signal: string | null) => {
    const one = bench(specOf({ restart: "never" }));
    one.tell({ is: "boot", bootId: "boot-1" });
    one.pass(60_000);
    one.tell({ is: "exited", id: one.id(), code, signal });
    one.pass(600_000);
    expect([one.phase, one.state.starts, one.state.incident]).toEqual(["completed", 1, undefined]);
    return one.incidents.flatMap((facts, at) => alertsOf(one.incidents[at - 1], facts));
  };
  expect(alerts(0, null)).toEqual([]);
  expect(alerts(3, null)).toEqual([
    {
      kind: "opened",
      severity: "medium",
      page: false,
      because: "crash: ended with exit code 3; it runs once, so it is not started again",
    },
  ]);
  expect(alerts(null, "SIGSEGV")).toMatchObject([{ kind: "opened", severity: "high", page: false }]);
});

test("GRC-8 what keeps failing pages a person once, not at every try", () => {
  const one = running();
  one.facts = { ...noFacts, bootstrapAllowed: false };
  for (let n = 0; n < 30; n++) {
    one.pass(31_000);
    if (one.id()) one.crash();
  }
  expect(told(one).filter((kind) => kind === "needs_person!")).toHaveLength(1);
});

test("SYN-6 a rollback is told", () => {
  const one = running();
  one.facts = { ...noFacts, config: { version: "v2", changedAgoMs: 1000, healthyVersion: "v1" } };
  one.remedies.config_rollback = true;
  one.crash();
  one.crash();
  one.pass(2000);
  expect(told(one).filter((kind) => kind === "rolled_back")).toHaveLength(1);
});

test("SYN-6 a rollback that did not work is not told as one", () => {
  const one = running();
  one.facts = { ...noFacts, config: { version: "v2", changedAgoMs: 1000, healthyVersion: "v1" } };
  one.remedies.config_rollback = false;
  one.crash();
  one.crash();
  one.pass(2000);
  expect(one.log.some((line) => line.endsWith("remedy config_rollback"))).toBe(true);
  expect(told(one)).not.toContain("rolled_back");
});

test("what comes beside a low trigger that rests, and is worse, is told: its incident was opened hours ago as low", () => {
  const one = running();
  const low = {
    trigger: "anomaly",
    workload: "engine",
    severity: "low",
    playbook: "run-diagnostics",
    because: "",
  } as const;
  one.tell({ is: "symptom", symptom: { ...low, sinceMs: one.now() } });
  one.tell({ is: "remedied", id: one.remedyId(), ok: true, because: "collected" });
  one.pass(3_600_000);
  const slow = { ...low, trigger: "high-latency", severity: "high", playbook: "performance-optimization" } as const;
  one.tell({ is: "symptom", symptom: { ...slow, sinceMs: one.now() } });
  one.tell({ is: "symptom", symptom: { ...slow, trigger: "other", sinceMs: one.now() } });
  expect(told(one)).toEqual(["opened", "opened"]);
});
