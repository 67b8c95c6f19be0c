// What goes wrong between the drawing's arrows: hot loops, bounds that forget, absences, and switches that go on and off.
import { expect, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import { bench } from "../../test/support/workload-bench.ts";
import { type Facts, noFacts } from "../diagnosis/facts.ts";
import type { Symptom } from "../triggers/symptom.ts";
import { policyJson } from "./recorder.driver.ts";
import { rests } from "./rest.ts";
import type { WorkloadSpec } from "./spec.ts";

const corrupt: Facts = { ...noFacts, hints: ["corruption"], backup: { id: "b1", ageMs: 600_000 } };
const slow: Symptom = {
  trigger: "high-latency",
  workload: "engine",
  severity: "medium",
  playbook: "performance-optimization",
  because: "p95_latency_ms is 1050, above 1000",
  sinceMs: 1_059_000,
};

function running(over: Partial<WorkloadSpec> = {}, facts: Facts = noFacts) {
  const one = bench(specOf(over));
  one.facts = facts;
  one.tell({ is: "boot", bootId: "boot-1" });
  one.pass(60_000);
  expect(one.phase).toBe("running");
  one.log.length = 0;
  return one;
}
type Bench = ReturnType<typeof running>;
const spawns = (one: Bench) => one.log.filter((line) => line.endsWith(" spawn")).length;

test("a sandbox that crashes at each start, whatever is quarantined, is not restarted in a hot loop: backoff, ladder, a person", () => {
  const one = running({ sandboxExitCodes: [77] });
  one.remedies["quarantine-artifacts"] = true;
  for (let n = 0; n < 600; n++) {
    if (one.id()) one.crash(77);
    one.pass(100);
  }
  expect(spawns(one)).toBeLessThan(15);
  expect(one.incidents.at(-1)).toMatchObject({ needsPerson: true });
});

test("the same playbook asked for again in a long incident has an id of its own: it is done, not answered from memory", () => {
  const one = running({ sandboxExitCodes: [77], starts: { max: 100, withinMs: 60_000 } });
  one.remedies["quarantine-artifacts"] = true;
  const ids = new Set<string>();
  for (let n = 0; n < 40; n++) {
    if (!one.id()) one.pass(31_000);
    one.crash(77);
    ids.add(one.remedyId());
  }
  expect(ids.size).toBe(40);
});

test("a rung that was tried is not forgotten, and so not tried again, however long the incident lasts", () => {
  const one = running({ safeMode: { env: {} }, starts: { max: 3, withinMs: 60_000 } }, corrupt);
  one.remedies.backup_restore = true;
  for (let n = 0; n < 60; n++) {
    // Each relapse comes long after the start: its budget holds again each time.
    one.pass(61_000);
    if (one.id()) one.crash();
  }
  const asked = (name: string) => one.log.filter((line) => line.endsWith(`remedy ${name}`)).length;
  expect([asked("backup_restore"), asked("full_bootstrap")]).toEqual([1, 1]);
  expect(one.log.filter((line) => line.endsWith("spawn in safe mode")).length).toBeGreaterThan(0);
});

test("a state stays small, and so does a decision, after 100 failures, and neither holds what a process is started with", () => {
  const secret = "hunter2";
  const spec = specOf({
    command: ["/bin/engine", "--key", secret],
    env: { KEY: secret },
    safeMode: { command: ["/bin/engine", secret], env: { KEY: secret } },
    data: { paths: ["/d"], everyMs: 1, keep: 1, maxBytes: 1, dump: ["/bin/dump", secret], verify: ["/bin/v", secret] },
    performance: { url: `http://u:${secret}@h/`, everyMs: 1000, timeoutMs: 1000 },
  });
  const one = running(spec, { ...corrupt, signature: "crash, exit 1: connection refused" });
  Object.assign(one.remedies, { backup_restore: false, config_rollback: false });
  for (let n = 0; n < 100; n++) {
    if (!one.id()) one.pass(31_000);
    if (one.id()) one.crash();
  }
  const sizes = one.records.map((record) => JSON.stringify(record).length + policyJson(spec).length);
  expect(JSON.stringify(one.state).length).toBeLessThan(40_000);
  expect(Math.max(...sizes)).toBeLessThan(200_000);
  expect(JSON.stringify(one.records) + policyJson(spec)).not.toContain(secret);
});

test("an agent that was away does not call off what was at work meanwhile, nor kill what was given time to leave", () => {
  const one = running({}, corrupt);
  one.crash();
  one.pass(2000);
  one.crash();
  expect(one.phase).toBe("mending");
  one.jump(3_600_000);
  one.tell({ is: "late", byMs: 3_600_000 });
  one.tell({ is: "look" });
  expect(one.phase).toBe("mending");
  const other = running();
  other.tell({ is: "stop", who: "person:asha" });
  other.jump(60_000);
  other.tell({ is: "late", byMs: 60_000 });
  other.tell({ is: "look" });
  expect(other.phase).toBe("stopping");
});

test("a playbook and its watch do not fail by the time in which no agent was there", () => {
  const one = running();
  const id = one.id();
  one.tell({ is: "symptom", symptom: slow });
  one.jump(600_000);
  one.tell({ is: "boot", bootId: "boot-1", found: foundOf(one) });
  one.tell({ is: "look" });
  expect(one.state.treatment?.at).toBe("playing");
  one.tell({ is: "remedied", id: one.remedyId(), ok: true, because: "done" });
  one.jump(600_000);
  one.tell({ is: "boot", bootId: "boot-1", found: foundOf(one) });
  one.tell({ is: "look" });
  expect([one.phase, one.id(), one.state.treatment?.at]).toEqual(["running", id, "watching"]);
});

test("what was asked to leave by a trigger goes on to the ladder although the agent died meanwhile", () => {
  const changed: Facts = { ...noFacts, config: { version: "v2", changedAgoMs: 5000, healthyVersion: "v1" } };
  const one = running({}, changed);
  one.remedies.config_rollback = true;
  one.tell({ is: "symptom", symptom: { ...slow, severity: "high", playbook: "rollback-deployment" } });
  expect(one.phase).toBe("stopping");
  one.tell({ is: "boot", bootId: "boot-1" });
  expect(one.log.some((line) => line.endsWith("remedy config_rollback"))).toBe(true);
});

test("GRC-3 an operator's own playbook is played although it is named like one that the machine does by itself; a relapse climbs on", () => {
  for (const playbook of ["restart-kernel", "restart-service", "rollback-deployment"]) {
    const one = running();
    const id = one.id();
    one.tell({ is: "symptom", symptom: { ...slow, severity: "high", playbook, own: true } });
    expect([one.phase, one.id(), one.state.treatment?.playbook]).toEqual(["running", id, playbook]);
    one.tell({ is: "remedied", id: one.remedyId(), ok: true, because: "reloaded" });
    one.tell({ is: "cleared", trigger: "high-latency" });
    one.tell({ is: "symptom", symptom: { ...slow, severity: "high", playbook, own: true } });
    expect(one.phase).toBe("stopping");
  }
});

test("a gentle restart stays gentle where each start has a fixed delay", () => {
  const one = running({ backoff: { baseMs: 100, capMs: 1000, resetAfterMs: 1000, delayMs: 5000 } });
  one.tell({ is: "symptom", symptom: { ...slow, playbook: "restart-service" } });
  expect([one.phase, one.log.some((line) => line.endsWith("signal SIGTERM"))]).toEqual(["stopping", true]);
  one.crash(0);
  expect(one.phase).toBe("backoff");
  one.pass(5100);
  expect(one.phase).toBe("starting");
});

test("GRC-7 what has done its work is not done once more because the kill switch went on and off, nor by the agent's restart meanwhile", () => {
  const one = running({ restart: "never" });
  one.crash(0);
  expect(one.phase).toBe("completed");
  one.log.length = 0;
  one.tell({ is: "hold", who: "person:asha" });
  one.tell({ is: "boot", bootId: "boot-1" });
  one.tell({ is: "release", who: "person:asha" });
  one.pass(10_000);
  expect([one.phase, spawns(one)]).toEqual(["completed", 0]);
  one.tell({ is: "start", who: "person:asha" });
  expect(spawns(one)).toBe(1);
});

function foundOf(one: Bench) {
  const { phase } = one.state;
  if (phase.at !== "running") throw new Error(`it is ${phase.at}`);
  return phase.instance;
}

test("DOL-6 what playbooks and dependents ask to restart counts against the same budget; what a person asks for does not", () => {
  const restartedBy = (who: string) => {
    const one = running({ starts: { max: 3, withinMs: 60_000 } });
    for (let n = 0; n < 5; n++) {
      one.tell({ is: "restart", who });
      one.crash(0);
      one.pass(2000);
    }
    return one.state.recentMs.length;
  };
  expect([restartedBy("playbook:api depends on it"), restartedBy("person:asha")]).toEqual([3, 0]);
});

test("GRC-7 a job that has failed, and is still cleaned up after, is not run again because the kill switch went on and off, nor by the agent's restart", () => {
  for (const agentDies of [false, true]) {
    const one = running({ restart: "never" });
    one.answers = false;
    one.crash(1);
    one.tell({ is: "hold", who: "person:anna" });
    if (agentDies) one.tell({ is: "boot", bootId: "boot-1" });
    expect(rests.restOf(one.state).phase).toEqual(one.state.phase);
    one.answers = true;
    one.tell({ is: "cleaned", killed: 1, removed: [], tookMs: 1 });
    one.tell({ is: "release", who: "person:anna" });
    one.pass(10_000);
    expect([one.phase, one.state.starts]).toEqual(["completed", 1]);
  }
});

test("GRC-7 a person's start of a finished job is not lost while the kill switch is on: it runs when that goes off", () => {
  for (const isClean of [true, false]) {
    const one = running({ restart: "onFailure" });
    one.answers = isClean;
    one.crash(0);
    one.tell({ is: "hold", who: "person:anna" });
    one.tell({ is: "start", who: "person:bob" });
    one.answers = true;
    if (!isClean) one.tell({ is: "cleaned", killed: 1, removed: [], tookMs: 1 });
    expect([one.phase, one.state.starts]).toEqual(["stopped", 1]);
    one.tell({ is: "release", who: "person:anna" });
    one.pass(10_000);
    expect([one.phase, one.state.starts]).toEqual(["running", 2]);
  }
});
