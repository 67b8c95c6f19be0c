// What a trigger has asked for has recovered when the trigger is over, not when the process is up.
import { expect, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import { bench } from "../../test/support/workload-bench.ts";
import { noFacts } from "../diagnosis/facts.ts";
import type { Symptom } from "../triggers/symptom.ts";
import { verifyMs } from "./treatment.ts";

const slow: Symptom = {
  trigger: "high-latency",
  workload: "engine",
  severity: "medium",
  playbook: "performance-optimization",
  because: "p95_latency_ms is 1050, above 1000",
  sinceMs: 1_059_000,
};
const timeouts: Symptom = { ...slow, trigger: "api-timeouts", severity: "high", playbook: "restart-service" };

function running() {
  const one = bench(specOf({}));
  one.facts = noFacts;
  one.tell({ is: "boot", bootId: "boot-1" });
  one.pass(60_000);
  expect(one.phase).toBe("running");
  return one;
}
type Bench = ReturnType<typeof running>;
const incidentAt = (one: Bench) => one.incidents.at(-1)?.at;

/** A trigger asks for a restart, and the next process is up. */
function restarted(symptom: Symptom = timeouts) {
  const one = running();
  one.tell({ is: "symptom", symptom });
  one.crash(0);
  one.pass(2000);
  expect(one.phase).toBe("running");
  return one;
}

test("PRA-4 a restart that a trigger has asked for counts as recovered when the trigger is over, not when the process is up", () => {
  const one = restarted();
  expect(incidentAt(one)).toBe("verifying");
  expect(one.state.incident?.recoveredWallMs).toBeUndefined();
  one.pass(5000);
  one.tell({ is: "cleared", trigger: "api-timeouts" });
  expect(one.incidents.at(-1)).toMatchObject({ at: "probation", attempts: [{ rung: "quick_restart", ok: true }] });
  expect(one.state.treatment).toBeUndefined();
  one.pass(310_000);
  expect(incidentAt(one)).toBe("closed");
});

test("PRA-4 the trigger that goes on holding is a failed verification: the next rung has its turn", () => {
  const one = restarted();
  const id = one.id();
  one.tell({ is: "lapsed", trigger: "api-timeouts" });
  one.tell({ is: "holding", trigger: "api-timeouts" });
  one.pass(verifyMs - 2000);
  expect(one.id()).toBe(id);
  one.pass(4000);
  one.crash(0);
  one.pass(60_000);
  expect(one.id()).not.toBe(id);
  expect(one.state.incident?.attempts[0]).toMatchObject({ rung: "quick_restart", ok: false });
  expect(one.state.incident?.recoveredWallMs).toBeUndefined();
});

test("what nothing is known of by the end of its time is judged by its health, and says so", () => {
  const one = restarted();
  const id = one.id();
  one.tell({ is: "lapsed", trigger: "api-timeouts" });
  one.pass(verifyMs - 2000);
  expect(incidentAt(one)).toBe("verifying");
  one.pass(4000);
  expect([incidentAt(one), one.id()]).toEqual(["probation", id]);
  expect(one.state.incident?.timeline.at(-1)?.because).toContain("nothing is known of api-timeouts any more");
});

test("the trigger was over while the process still started: it has recovered as soon as it is up", () => {
  const one = running();
  one.tell({ is: "symptom", symptom: timeouts });
  one.crash(0);
  expect(one.phase).toBe("starting");
  one.tell({ is: "cleared", trigger: "api-timeouts" });
  one.pass(2000);
  expect(incidentAt(one)).toBe("probation");
});

test("a crash while it is watched: it is still waited for the trigger, with its time anew", () => {
  const one = restarted();
  one.pass(60_000);
  one.crash(1);
  one.pass(60_000);
  expect([one.phase, incidentAt(one)]).toEqual(["running", "verifying"]);
  one.pass(15_000);
  expect(incidentAt(one)).toBe("verifying");
  one.tell({ is: "cleared", trigger: "api-timeouts" });
  expect(incidentAt(one)).toBe("probation");
});

test("a playbook that restarts it does not make it recovered: its trigger has to be over", () => {
  const one = running();
  one.tell({ is: "symptom", symptom: slow });
  one.tell({ is: "restart", who: "playbook:performance-optimization" });
  one.crash(0);
  one.pass(2000);
  expect([one.phase, incidentAt(one)]).toEqual(["running", "verifying"]);
  one.tell({ is: "remedied", id: one.remedyId(), ok: true, because: "it is well" });
  one.tell({ is: "cleared", trigger: "high-latency" });
  expect(incidentAt(one)).toBe("probation");
});

test("what no remedy ends within minutes, like little trust, is not waited for", () => {
  const one = restarted({ ...timeouts, trigger: "trust-drop", lasting: true });
  expect(incidentAt(one)).toBe("probation");
});

test("a person's stop ends the wait: nothing is to be recovered any more", () => {
  const one = running();
  one.tell({ is: "symptom", symptom: timeouts });
  one.tell({ is: "stop", who: "person:asha" });
  one.crash(0);
  one.pass(1000);
  expect([one.phase, one.state.awaited, one.state.treatment]).toEqual(["stopped", undefined, undefined]);
});

test("an agent that died while it waited goes on waiting; a reboot has nothing more to wait for", () => {
  const one = running();
  one.tell({ is: "symptom", symptom: timeouts });
  one.crash(0);
  one.tell({ is: "boot", bootId: "boot-1" });
  one.pass(3000);
  expect([one.phase, incidentAt(one)]).toEqual(["running", "verifying"]);
  one.tell({ is: "boot", bootId: "boot-2" });
  one.pass(3000);
  expect([one.phase, incidentAt(one)]).toEqual(["running", "probation"]);
});

test("a step of its playbook that may fail and has failed is written down: the trigger decides whether the ladder goes on", () => {
  const one = running();
  one.tell({ is: "symptom", symptom: slow });
  one.tell({ is: "remedied", id: one.remedyId(), ok: false, through: true, because: "nothing could be removed" });
  expect(one.state.treatment?.at).toBe("watching");
  one.tell({ is: "cleared", trigger: "high-latency" });
  expect(incidentAt(one)).toBe("probation");
});

test("a trigger that fires again while it is waited for holds again: a service that is still slow was told as recovered", () => {
  const one = restarted();
  one.tell({ is: "lapsed", trigger: "api-timeouts" });
  one.pass(30_000);
  one.tell({ is: "symptom", symptom: timeouts });
  one.pass(verifyMs);
  expect(one.state.incident?.recoveredWallMs).toBeUndefined();
  expect(one.state.incident?.attempts[0]).toMatchObject({ rung: "quick_restart", ok: false });
  const other = running();
  other.tell({ is: "symptom", symptom: slow });
  other.tell({ is: "cleared", trigger: "high-latency" });
  other.tell({ is: "symptom", symptom: slow });
  other.tell({ is: "remedied", id: other.remedyId(), ok: true, because: "done" });
  expect(incidentAt(other)).toBe("verifying");
});

test("a service that stays slow is left running once a person was called: it was restarted every two minutes for ever", () => {
  const one = running();
  one.facts = { ...noFacts, bootstrapAllowed: false };
  one.tell({ is: "symptom", symptom: timeouts });
  for (let n = 0; n < 3000 && one.state.treatment?.at !== "resting"; n++) {
    if (one.phase === "stopping") one.crash(0);
    one.pass(1000);
  }
  expect(one.state.incident?.needsPerson).toBe(true);
  const id = one.id();
  one.pass(600_000);
  expect([one.phase, one.id(), one.state.incident?.at]).toEqual(["running", id, "open"]);
  one.tell({ is: "cleared", trigger: "api-timeouts" });
  expect(incidentAt(one)).toBe("probation");
});

test("a playbook that failed while its own restart still came up was followed by nothing, for ever: no rung, no person", () => {
  const startup = { name: "ping", use: "startup", everyMs: 1000, timeoutMs: 1000, failures: 2 } as const;
  const one = bench(
    specOf({ startGraceMs: 120_000, probes: [{ ...startup, ask: { by: "tcp", host: "127.0.0.1", port: 1 } }] }),
  );
  const answers = () => one.tell({ is: "probed", probe: "ping", ok: true, because: "" });
  one.facts = noFacts;
  one.tell({ is: "boot", bootId: "boot-1" });
  answers();
  one.tell({ is: "symptom", symptom: { ...slow, severity: "high" } });
  const id = one.remedyId();
  // A step restarts it, and waits for half a minute; it needs forty seconds.
  one.tell({ is: "restart", who: "playbook:performance-optimization" });
  one.crash(0);
  one.pass(30_000);
  one.tell({ is: "remedied", id, ok: false, because: "it was not well within 30000 ms" });
  expect([one.phase, one.state.treatment?.at]).toEqual(["starting", "watching"]);
  one.pass(10_000);
  answers();
  expect(one.phase).toBe("running");
  // Slow as it was: from when it is up it has its time, and then the ladder goes on.
  one.pass(verifyMs + 2000);
  one.crash(0);
  expect(one.state.incident).toMatchObject({ failures: 2, attempts: [{ ok: false }, { rung: "quick_restart" }] });
});

test("a playbook of low severity fails when nothing is known of its trigger any more: its incident stayed open for ever", () => {
  const one = running();
  one.tell({ is: "symptom", symptom: { ...slow, trigger: "anomaly", severity: "low", playbook: "run-diagnostics" } });
  one.tell({ is: "lapsed", trigger: "anomaly" });
  one.tell({ is: "remedied", id: one.remedyId(), ok: false, because: "it did not work" });
  expect(incidentAt(one)).toBe("probation");
  one.pass(310_000);
  expect(incidentAt(one)).toBe("closed");
});

const unusual: Symptom = { ...slow, trigger: "anomaly", severity: "low", playbook: "run-diagnostics" };
/** It holds on, and is left as it is. */
function restsLow() {
  const one = running();
  one.tell({ is: "symptom", symptom: unusual });
  one.tell({ is: "remedied", id: one.remedyId(), ok: true, because: "collected" });
  one.pass(3_600_000);
  expect(one.state.treatment).toMatchObject({ trigger: "anomaly", at: "resting" });
  return one;
}

test("a low trigger rested for hours, and what was worse beside it was never treated: it is, from its own fault on", () => {
  const one = restsLow();
  one.tell({ is: "symptom", symptom: { ...unusual, trigger: "other-anomaly" } });
  expect(one.state.treatment?.at).toBe("resting");
  one.tell({ is: "symptom", symptom: { ...slow, sinceMs: one.now() } });
  expect(one.state.treatment).toMatchObject({ trigger: "high-latency", at: "playing" });
  one.tell({ is: "remedied", id: one.remedyId(), ok: true, because: "restarted" });
  one.pass(5000);
  one.tell({ is: "cleared", trigger: "high-latency" });
  expect(one.incidents.at(-1)).toMatchObject({ at: "probation", severity: "medium", recoverTookMs: 5000 });
  expect(new Set(one.incidents.map(({ id }) => id)).size).toBe(1);
});

test("what is worse than the low trigger that rests may ask for a restart, or be a crash: the first restart is at once", () => {
  const one = restsLow();
  one.tell({ is: "symptom", symptom: timeouts });
  one.crash(0);
  one.pass(2000);
  expect([one.phase, one.state.treatment?.trigger]).toEqual(["running", "api-timeouts"]);
  const other = restsLow();
  other.crash();
  other.pass(2000);
  expect([other.phase, other.state.incident?.attempts.at(-1)?.rung]).toEqual(["running", "quick_restart"]);
});
