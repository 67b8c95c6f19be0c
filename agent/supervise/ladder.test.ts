// The ladder over the whole of an incident, on virtual time: evidence, rungs, playbooks, and where it ends.
import { expect, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import { bench } from "../../test/support/workload-bench.ts";
import { type Facts, noFacts } from "../diagnosis/facts.ts";
import type { Symptom } from "../triggers/symptom.ts";
import type { WorkloadSpec } from "./spec.ts";

const reduced = { safeMode: { env: {} } } satisfies Partial<WorkloadSpec>;
const oldConfig: Facts = { ...noFacts, config: { version: "v1", changedAgoMs: 86_400_000 } };
const newConfig: Facts = { ...noFacts, config: { version: "v2", changedAgoMs: 5000, healthyVersion: "v1" } };
const corrupt: Facts = { ...noFacts, hints: ["corruption"], backup: { id: "b1", ageMs: 600_000 } };

function running(over: Partial<WorkloadSpec> = {}, facts: Facts = oldConfig) {
  const one = bench(specOf(over));
  one.facts = facts;
  one.tell({ is: "boot", bootId: "boot-1" });
  one.pass(60_000);
  expect(one.phase).toBe("running");
  one.log.length = 0;
  return one;
}
type Bench = ReturnType<typeof running>;
/** It starts and fails again, `times` times. */
function keepsCrashing(one: Bench, times: number): void {
  for (let n = 0; n < times; n++) {
    if (!one.id()) one.pass(31_000);
    if (one.id()) one.crash();
  }
}
const tried = (one: Bench) => (one.state.incident?.attempts ?? []).map(({ rung, playbook }) => rung ?? playbook ?? "");

test("SYN-4 the first failure is a quick restart, whatever the facts say", () => {
  for (const facts of [oldConfig, newConfig, corrupt]) {
    const one = running({}, facts);
    one.crash();
    expect(one.phase).toBe("starting");
    expect(tried(one)).toEqual(["quick_restart"]);
  }
});

test("SYN-4 SYN-6 a config that changed lately is rolled back at the second failure, and the page says so", () => {
  const one = running({}, newConfig);
  one.remedies.config_rollback = true;
  keepsCrashing(one, 2);
  expect(tried(one)).toEqual(["quick_restart", "config_rollback"]);
  expect(one.state.incident?.diagnosis).toMatchObject({ cause: "config_change", rung: "config_rollback" });
  one.pass(2000);
  expect(one.phase).toBe("running");
  expect(one.incidents.at(-1)).toMatchObject({ at: "probation", needsPerson: false });
});

test("SYN-4 a config that its own output complains of leads to safe mode, and a person's restart back to the full one", () => {
  const one = running(reduced, { ...oldConfig, hints: ["config"] });
  keepsCrashing(one, 2);
  expect(tried(one)).toEqual(["quick_restart", "safe_mode"]);
  expect(one.log).toContain("0 spawn in safe mode".replace("0", String(one.now() - 1_000_000)));
  one.pass(400_000);
  expect(one.state).toMatchObject({ mode: "safe", phase: { at: "running" } });
  expect(one.state.incident).toBeUndefined();
  one.tell({ is: "restart", who: "person:asha" });
  one.crash(0);
  expect(one.state.mode).toBeUndefined();
});

test("SYN-4 corrupt data leads to the newest backup; without one it is not guessed at", () => {
  const one = running({}, corrupt);
  one.remedies.backup_restore = true;
  keepsCrashing(one, 2);
  expect(tried(one)).toEqual(["quick_restart", "backup_restore"]);
  const { backup: _none, ...without } = corrupt;
  const bare = running({}, without);
  keepsCrashing(bare, 6);
  expect(tried(bare)).not.toContain("backup_restore");
});

test("SYN-4 what it depends on is down: the failure is that one's, it is waited for, and nothing else is tried", () => {
  const down: Facts = { ...noFacts, dependencies: [{ name: "db", stands: "recovering" }] };
  const one = running({ dependsOn: ["db"] }, down);
  one.tell({ is: "exited", id: one.id(), code: 1, signal: null, needsDown: ["db"] });
  expect(one.phase).toBe("mending");
  expect(one.state.incident?.diagnosis).toMatchObject({ cause: "dependency_down", root: "db" });
  expect(tried(one)).toEqual(["dependency_restart"]);
  one.tell({ is: "remedied", id: one.remedyId(), ok: true, because: "db is well" });
  one.pass(2000);
  expect(one.phase).toBe("running");
});

test("SYN-4 what a person stopped is not started by the failure of what depends on it", () => {
  const stopped: Facts = { ...noFacts, dependencies: [{ name: "db", stands: "stopped" }] };
  const one = running({ dependsOn: ["db"] }, stopped);
  keepsCrashing(one, 8);
  expect(tried(one)).not.toContain("dependency_restart");
  expect(tried(one)).not.toContain("full_bootstrap");
  expect(one.incidents.at(-1)).toMatchObject({ needsPerson: true });
});

test("SYN-3 SYN-6 every rung fails, one after the other, each within its budget; then the bootstrap, then slow retry and a person", () => {
  const all: Facts = {
    ...newConfig,
    hints: ["corruption", "config", "dependency"],
    dependencies: [{ name: "db", stands: "well" }],
    backup: { id: "b1", ageMs: 1 },
  };
  const one = running({ ...reduced, dependsOn: ["db"], starts: { max: 1, withinMs: 60_000 } }, all);
  Object.assign(one.remedies, { config_rollback: true, backup_restore: true, dependency_restart: true });
  keepsCrashing(one, 9);
  const order = tried(one).filter((rung, at, list) => list.indexOf(rung) === at);
  expect([...order].sort()).toEqual(
    ["backup_restore", "config_rollback", "dependency_restart", "full_bootstrap", "quick_restart", "safe_mode"].sort(),
  );
  expect(order[0]).toBe("quick_restart");
  expect(order.at(-1)).toBe("full_bootstrap");
  expect(one.incidents.at(-1)).toMatchObject({ needsPerson: true, severity: "critical" });
  const attempts = one.state.incident?.attempts ?? [];
  expect(attempts.slice(0, -1).every(({ ok }) => ok === false)).toBe(true);
  expect(attempts.filter(({ rung }) => rung === "full_bootstrap")).toHaveLength(1);
});

test("SYN-3 a rung that does not end within its budget is called off, and the next one follows", () => {
  const one = running({}, corrupt);
  keepsCrashing(one, 2);
  expect(one.phase).toBe("mending");
  one.pass(30 * 60_000 - 1000);
  expect(one.phase).toBe("mending");
  one.log.length = 0;
  one.pass(2000);
  expect(one.log.some((line) => line.endsWith("cancel remedy"))).toBe(true);
  expect(one.phase).not.toBe("mending");
  one.tell({ is: "remedied", id: "late", ok: true, because: "too late" });
  expect(one.state.incident?.attempts.find(({ rung }) => rung === "backup_restore")?.ok).toBe(false);
});

test("PRA-4 a relapse on probation goes on with the next rung that can help, never with the first again", () => {
  const one = running(reduced);
  one.crash();
  one.pass(60_000);
  expect(one.incidents.at(-1)?.at).toBe("probation");
  one.crash();
  expect(tried(one)).toEqual(["quick_restart", "safe_mode"]);
  one.pass(60_000);
  one.crash();
  expect(tried(one).slice(0, 3)).toEqual(["quick_restart", "safe_mode", "quick_restart"]);
});

test("PRA-4 what was verified and relapsed from is not tried again while another rung can help, and is explained", () => {
  const well: Facts = { ...oldConfig, dependencies: [{ name: "db", stands: "well" }] };
  const one = running({ ...reduced, dependsOn: ["db"] }, well);
  one.remedies.dependency_restart = true;
  for (let n = 0; n < 4; n++) {
    one.crash();
    one.pass(100_000); // verified, and on probation: its start budget holds again each time
  }
  expect(tried(one).slice(0, 3)).toEqual(["quick_restart", "safe_mode", "dependency_restart"]);
  expect(one.state.incident?.attempts[0]).toMatchObject({ rung: "quick_restart", ok: false, relapsed: true });
  // Nothing else is left: it is the last thing before the bootstrap, and says so.
  expect(one.state.incident?.attempts.at(-1)?.because).toContain("it was relapsed from, but no other rung can help");
});

test("what failed another way on probation may be helped by what helped before", () => {
  const one = running(reduced);
  one.crash();
  one.pass(10_000);
  one.tell({ is: "seen", stopped: true });
  one.pass(2100);
  expect(one.incidents.at(-1)).toMatchObject({ symptom: "frozen", failures: 2 });
  expect(one.state.incident?.attempts[0]).toMatchObject({ rung: "quick_restart", ok: false });
  expect(one.state.incident?.attempts[0]?.relapsed).toBeUndefined();
});

test("PRA-4 good through a probation of five minutes closes the incident, and the next failure begins at the first rung", () => {
  const one = running(reduced);
  one.crash();
  one.pass(299_000);
  expect(one.state.incident?.at).toBe("probation");
  one.pass(3000);
  expect(one.state.incident).toBeUndefined();
  one.crash();
  expect(tried(one)).toEqual(["quick_restart"]);
});

test("the ladder goes on where it was after the agent's death, and asks again for the same remedy by the same id", () => {
  const one = running({}, corrupt);
  keepsCrashing(one, 2);
  const id = one.remedyId();
  one.log.length = 0;
  one.tell({ is: "boot", bootId: "boot-1" });
  expect(one.log.some((line) => line.endsWith("remedy backup_restore"))).toBe(true);
  expect(one.remedyId()).toBe(id);
  one.tell({ is: "boot", bootId: "boot-2" });
  expect(one.phase).toBe("mending");
  one.tell({ is: "remedied", id, ok: true, because: "restored" });
  expect(one.phase).toBe("starting");
});

test("what was learned changes the order of what is equally harmless", () => {
  const advice = { order: ["safe_mode", "quick_restart"] as const, because: "worked 9 of 9 times for this signature" };
  const one = running(reduced, { ...oldConfig, advice });
  keepsCrashing(one, 2);
  expect(tried(one)).toEqual(["quick_restart", "safe_mode"]);
  expect(one.state.incident?.attempts.at(-1)?.because).toContain("learned");
});

const high: Symptom = {
  trigger: "high-latency",
  workload: "engine",
  severity: "medium",
  playbook: "performance-optimization",
  because: "p95_latency_ms is 1050, above 1000",
  sinceMs: 1_059_000,
};

test("GRC-6 a trigger's playbook plays beside the running workload; its trigger is over, so it is verified and on probation", () => {
  const one = running();
  const id = one.id();
  one.tell({ is: "symptom", symptom: high });
  expect(one.log.map((line) => line.split(" ").slice(1).join(" "))).toEqual([
    "playbook.performance-optimization success",
    "incident recovering",
    "remedy performance-optimization",
  ]);
  one.pass(20_000);
  one.tell({ is: "remedied", id: one.remedyId(), ok: true, because: "caches cleared, pool tuned" });
  expect(one.incidents.at(-1)?.at).toBe("verifying");
  one.tell({ is: "cleared", trigger: "high-latency" });
  expect(one.incidents.at(-1)).toMatchObject({ at: "probation", trigger: "high-latency" });
  expect([one.phase, one.id()]).toEqual(["running", id]);
  one.pass(310_000);
  expect(one.incidents.at(-1)?.at).toBe("closed");
});

test("GRC-6 a playbook that does not help leads on: the ladder restarts, gently", () => {
  const one = running();
  one.tell({ is: "symptom", symptom: high });
  one.tell({ is: "remedied", id: one.remedyId(), ok: true, because: "done" });
  one.log.length = 0;
  one.pass(91_000);
  expect(one.log.some((line) => line.endsWith("signal SIGTERM"))).toBe(true);
  one.crash(0);
  one.pass(2000);
  expect(one.phase).toBe("running");
  expect(tried(one)).toEqual(["performance-optimization", "quick_restart"]);
});

test("a symptom of low severity never leads to anything harsher than its playbook", () => {
  const one = running();
  const id = one.id();
  one.tell({ is: "symptom", symptom: { ...high, trigger: "anomaly", severity: "low", playbook: "run-diagnostics" } });
  one.tell({ is: "remedied", id: one.remedyId(), ok: true, because: "collected" });
  one.pass(3_600_000);
  expect([one.phase, one.id()]).toEqual(["running", id]);
  one.tell({ is: "cleared", trigger: "anomaly" });
  one.pass(310_000);
  expect(one.state.incident).toBeUndefined();
});

test("GRC-4 a trust drop rolls the deployment back; a sandbox that crashes is quarantined before the next start", () => {
  const one = running({}, newConfig);
  one.remedies.config_rollback = true;
  one.tell({
    is: "symptom",
    symptom: { ...high, trigger: "trust-drop", severity: "high", playbook: "rollback-deployment" },
  });
  one.crash(0);
  expect(tried(one)).toEqual(["config_rollback"]);
  const box = running({ sandboxExitCodes: [77] });
  box.remedies["quarantine-artifacts"] = true;
  box.crash(77);
  expect(tried(box)).toEqual(["quarantine-artifacts"]);
  expect(box.phase).toBe("starting");
});

test("one healer at a time: a second trigger during a recovery is written down once, and starts nothing", () => {
  const one = running();
  one.tell({ is: "symptom", symptom: high });
  for (let n = 0; n < 20; n++)
    one.tell({ is: "symptom", symptom: { ...high, trigger: "error-burst", playbook: "run-diagnostics" } });
  expect(one.log.filter((line) => line.includes("remedy "))).toHaveLength(1);
  expect(one.state.incident?.timeline.filter(({ because }) => because.startsWith("error-burst"))).toHaveLength(1);
});

test("GRC-4 GRC-7 the kill switch: nothing is started, whatever happens, until it goes off; a person's own stop outlives it", () => {
  const one = running();
  one.tell({ is: "hold", who: "person:asha" });
  one.crash(0);
  expect(one.phase).toBe("stopped");
  for (const event of [
    { is: "boot", bootId: "boot-1" },
    { is: "boot", bootId: "boot-2" },
    { is: "restart", who: "hub" },
    { is: "symptom", symptom: high },
    { is: "start", who: "person:asha" },
  ] as const)
    one.tell(event);
  one.pass(3_600_000);
  expect(one.phase).toBe("stopped");
  one.tell({ is: "stop", who: "person:asha" });
  one.tell({ is: "release", who: "person:asha" });
  one.pass(10_000);
  expect(one.phase).toBe("stopped");
  one.tell({ is: "start", who: "person:asha" });
  one.pass(2000);
  expect(one.phase).toBe("running");
  one.tell({ is: "hold", who: "person:asha" });
  one.crash(0);
  one.tell({ is: "release", who: "person:asha" });
  one.pass(2000);
  expect(one.phase).toBe("running");
});

test("DOL-5 a fixed delay is kept before each start after a failure", () => {
  const one = running({ backoff: { baseMs: 100, capMs: 1000, resetAfterMs: 1000, delayMs: 5000 } });
  one.crash();
  expect(one.phase).toBe("backoff");
  one.pass(4900);
  expect(one.phase).toBe("backoff");
  one.pass(200);
  expect(one.phase).toBe("starting");
});
