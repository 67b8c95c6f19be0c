import { expect, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import { bench, livenessProbe } from "../../test/support/workload-bench.ts";
import { type Facts, noFacts } from "../diagnosis/facts.ts";
import type { WorkloadSpec } from "./spec.ts";
import { instanceOf } from "./state.ts";

function running(spec: WorkloadSpec = specOf()) {
  const one = bench(spec);
  one.tell({ is: "boot", bootId: "boot-1" });
  one.pass(1500);
  expect(one.phase).toBe("running");
  return one;
}

test("PHX-3 a crash is healed at the very moment of the exit: cleaned, started, verified", () => {
  const one = running();
  one.pass(20_000);
  one.log.length = 0;
  one.crash();
  expect(one.log).toEqual([
    "21500 workload.crash failure",
    "21500 incident recovering",
    "21500 clean",
    "21500 spawn",
    "21500 workload.spawn success",
    "21500 incident verifying",
  ]);
  one.pass(1000);
  expect(one.incidents.at(-1)?.at).toBe("probation");
  expect(one.incidents.at(-1)?.recoverTookMs).toBe(1000);
});

test("PHX-6 what starts with a beat and a probe is not running before both are good", () => {
  const one = bench(specOf({ beat: { timeoutMs: 3000 }, probes: [livenessProbe] }));
  one.tell({ is: "boot", bootId: "boot-1" });
  one.pass(2000);
  expect(one.phase).toBe("starting");
  one.tell({ is: "beat", ready: true, status: "" });
  expect(one.phase).toBe("starting");
  one.tell({ is: "probed", probe: "ping", ok: true, because: "answered" });
  expect(one.phase).toBe("running");
});

test("PHX-3 a workload whose beats stop is frozen when its timeout is over, in under 5 s by default", () => {
  const one = bench(specOf({ beat: { timeoutMs: 3000 } }));
  one.tell({ is: "boot", bootId: "boot-1" });
  one.tell({ is: "beat", ready: true, status: "" });
  one.pass(30_000, () => one.tell({ is: "beat", ready: true, status: "" }));
  const lastBeatMs = one.now();
  one.pass(10_000, undefined);
  const frozen = one.incidents[0];
  expect(frozen?.symptom).toBe("frozen");
  expect((frozen?.detectedMs ?? 0) - lastBeatMs).toBeLessThanOrEqual(3001);
});

test("PHX-3 a workload without any sign of life is found stopped by a signal after two seconds", () => {
  const one = running();
  one.tell({ is: "seen", stopped: true });
  one.pass(1900);
  expect(one.incidents).toEqual([]);
  one.pass(200);
  expect(one.incidents[0]?.symptom).toBe("frozen");
});

test("a short stop, as a debugger makes it, is forgiven", () => {
  const one = running();
  one.tell({ is: "seen", stopped: true });
  one.pass(1500);
  one.tell({ is: "seen", stopped: false });
  one.pass(10_000);
  expect(one.incidents).toEqual([]);
});

test("a failing readiness probe restarts nothing", () => {
  const one = bench(specOf({ probes: [{ ...livenessProbe, name: "ready", use: "readiness" }] }));
  one.tell({ is: "boot", bootId: "boot-1" });
  one.tell({ is: "probed", probe: "ready", ok: true, because: "" });
  for (let n = 0; n < 50; n++) one.tell({ is: "probed", probe: "ready", ok: false, because: "upstream is away" });
  one.pass(600_000);
  expect(one.phase).toBe("running");
  expect(one.incidents).toEqual([]);
});

test("what still starts is not restarted, and what never starts is", () => {
  const one = bench(specOf({ startGraceMs: 8000, probes: [livenessProbe] }));
  one.tell({ is: "boot", bootId: "boot-1" });
  for (let n = 0; n < 7; n++) one.tell({ is: "probed", probe: "ping", ok: false, because: "refused" });
  one.pass(7900);
  expect(one.incidents).toEqual([]);
  one.pass(200);
  expect(one.incidents[0]?.symptom).toBe("not_started");
});

test("the first restart of a stable workload is immediate, the next ones wait, and stability resets the wait", () => {
  const one = running(specOf({ starts: { max: 100, withinMs: 60_000 } }));
  one.pass(20_000);
  one.crash();
  expect(one.phase).toBe("starting");
  one.crash();
  expect(one.phase).toBe("backoff");
  one.pass(40_000);
  expect(one.phase).toBe("running");
  one.crash();
  expect(one.phase).toBe("starting");
});

test("a workload that keeps crashing is retried slowly for ever, and a person is told", () => {
  const one = running(specOf({ starts: { max: 3, withinMs: 60_000 } }));
  let crashes = 0;
  for (let minute = 0; minute < 600; minute++) {
    one.pass(6000);
    if (one.phase === "starting" || one.phase === "running") {
      one.crash();
      crashes++;
    }
  }
  expect(crashes).toBeGreaterThan(60);
  expect(crashes).toBeLessThan(400);
  expect(one.incidents.some((facts) => facts.needsPerson && facts.severity === "critical")).toBe(true);
  expect(new Set(one.incidents.map((facts) => facts.id)).size).toBeLessThan(crashes);
});

test("a relapse on probation is the same incident, and worse", () => {
  const one = running();
  one.pass(20_000);
  one.crash();
  one.pass(60_000);
  one.crash();
  const [first] = one.incidents;
  expect(one.incidents.every((facts) => facts.id === first?.id)).toBe(true);
  expect(one.incidents.at(-1)?.severity).toBe("high");
});

test("success on probation closes the incident and forgets the attempts", () => {
  const one = running();
  one.pass(20_000);
  one.crash();
  one.pass(302_000);
  expect(one.incidents.at(-1)?.at).toBe("closed");
  expect(one.state.incident).toBeUndefined();
  expect(one.state.attempt).toBe(0);
});

test("GRC-7 a stop by a person holds over restarts of the agent and reboots, until a person takes it back", () => {
  const one = running();
  one.tell({ is: "stop", who: "person:asha" });
  one.tell({ is: "exited", id: one.id(), code: 0, signal: null });
  expect(one.phase).toBe("stopped");
  one.tell({ is: "boot", bootId: "boot-1" });
  one.tell({ is: "boot", bootId: "boot-2" });
  one.tell({ is: "restart", who: "hub" });
  one.pass(3_600_000);
  expect(one.phase).toBe("stopped");
  expect(one.log.at(-1)).toContain("workload.restart refused");
  one.tell({ is: "start", who: "person:asha" });
  expect(one.phase).toBe("starting");
});

test("GRC-7 a stop that comes while a restart is under way wins", () => {
  for (const moment of ["cleaning", "spawning", "deciding", "mending", "backoff"] as const) {
    const one = running();
    one.pass(20_000);
    one.answers = false;
    one.crash();
    if (moment !== "cleaning") one.tell({ is: "cleaned", killed: 0, removed: [], tookMs: 1 });
    if (moment === "backoff" || moment === "deciding" || moment === "mending") {
      one.tell({ is: "spawnFailed", because: "no memory" });
      one.tell({ is: "cleaned", killed: 0, removed: [], tookMs: 1 });
    }
    const corrupt: Facts = { ...noFacts, hints: ["corruption"], backup: { id: "b1", ageMs: 1000 } };
    if (moment === "backoff" || moment === "mending")
      one.tell({ is: "examined", facts: moment === "mending" ? corrupt : noFacts });
    expect(one.phase).toBe(moment);
    one.tell({ is: "stop", who: "person:asha" });
    one.tell({
      is: "spawned",
      instance: { id: "late", pid: 9, startTicks: 1, sinceMs: 0, sinceWallMs: 0, adopted: false },
    });
    one.answers = true;
    if (one.phase === "cleaning") one.tell({ is: "cleaned", killed: 1, removed: [], tookMs: 1 });
    one.pass(100_000);
    expect(one.phase).toBe("stopped");
  }
});

test("what does not leave when asked is killed with its family when its grace is over", () => {
  const one = running();
  one.log.length = 0;
  one.tell({ is: "restart", who: "person:asha" });
  one.pass(5100);
  expect(one.log.slice(0, 4)).toEqual([
    "1500 workload.restart success",
    "1500 signal SIGTERM",
    "6500 workload.kill success",
    "6500 clean",
  ]);
  expect(one.phase).toBe("starting");
});

test("an adopted workload that was running stays running, as old as it is", () => {
  const one = running();
  one.pass(20_000);
  const instance = instanceOf(one.state.phase);
  if (!instance) throw new Error("no instance");
  one.tell({ is: "boot", bootId: "boot-1", found: instance });
  expect(one.phase).toBe("running");
  expect(instanceOf(one.state.phase)?.adopted).toBe(true);
  one.tell({ is: "vanished", id: instance.id });
  expect(one.phase).toBe("starting");
  expect(one.incidents[0]?.summary).toContain("unknown");
});

test("GRC-10 after a reboot everything starts, and the reboot counts as no failure", () => {
  const one = running();
  one.tell({ is: "boot", bootId: "boot-2" });
  expect(one.phase).toBe("starting");
  expect(one.incidents).toEqual([]);
  expect(one.state.attempt).toBe(0);
});

test("the ladder position survives a restart of the agent: a wait goes on", () => {
  const one = running();
  one.crash();
  one.pass(1100);
  one.crash();
  expect(one.phase).toBe("backoff");
  const waiting = one.state.phase;
  one.tell({ is: "boot", bootId: "boot-1" });
  expect(one.state.phase).toEqual(waiting);
});

test("the agent was away: nobody is judged for that time", () => {
  const one = bench(specOf({ beat: { timeoutMs: 3000 } }));
  one.tell({ is: "boot", bootId: "boot-1" });
  one.tell({ is: "beat", ready: true, status: "" });
  one.jump(60_000);
  one.tell({ is: "late", byMs: 60_000 });
  one.tell({ is: "look" });
  expect(one.phase).toBe("running");
  one.pass(3100);
  expect(one.incidents[0]?.symptom).toBe("frozen");
});

test("an exit with success completes what may complete, and nothing else", () => {
  const onFailure = running(specOf({ restart: "onFailure" }));
  onFailure.crash(0);
  expect(onFailure.phase).toBe("completed");
  const failing = running(specOf({ restart: "onFailure" }));
  failing.crash(3);
  expect(failing.phase).toBe("starting");
  const never = running(specOf({ restart: "never" }));
  never.crash(3);
  expect(never.phase).toBe("completed");
});

test("a clean-up that fails is told to a person and tried again", () => {
  const one = running();
  one.answers = false;
  one.crash();
  one.tell({ is: "cleanFailed", because: "pid 77 survives SIGKILL" });
  expect(one.incidents.at(-1)?.needsPerson).toBe(true);
  one.log.length = 0;
  one.pass(2100);
  expect(one.log).toEqual(["3500 clean"]);
});

test("a clean-up that fails calls a person once, also where nothing else is wrong, and is not written down each two seconds", () => {
  const one = running();
  one.tell({ is: "restart", who: "person:anna" });
  one.answers = false;
  one.tell({ is: "exited", id: one.id(), code: 0, signal: null });
  one.log.length = 0;
  for (let n = 0; n < 64; n++) {
    one.tell({ is: "cleanFailed", because: "pid 77 survives SIGKILL" });
    one.pass(2000);
  }
  expect(one.incidents).toHaveLength(1);
  expect(one.incidents[0]).toMatchObject({ symptom: "not_cleaned", needsPerson: true, severity: "critical" });
  expect(one.log.filter((line) => line.endsWith("workload.clean failure"))).toHaveLength(7);
  one.answers = true;
  one.tell({ is: "cleaned", killed: 1, removed: [], tookMs: 1 });
  one.pass(2000);
  expect(one.incidents.at(-1)).toMatchObject({ at: "probation", needsPerson: false, personCalled: true });
});

test("who was called for a clean-up is not called for each later one that takes a while, but for one that goes on failing", () => {
  const one = running();
  const failsToClean = (times: number) => {
    one.answers = false;
    one.crash();
    for (let n = 0; n < times; n++) one.tell({ is: "cleanFailed", because: "pid 77 survives SIGKILL" });
    const needed = one.state.incident?.needsPerson;
    one.answers = true;
    one.tell({ is: "cleaned", killed: 1, removed: [], tookMs: 1 });
    one.pass(5000);
    return [needed, one.state.incident?.needsPerson];
  };
  expect([failsToClean(1), failsToClean(7), failsToClean(8)]).toEqual([
    [true, false],
    [false, false],
    [true, false],
  ]);
});

test("a person who is needed is not sent away by each short success of a workload that flaps, but by its probation", () => {
  const one = running(
    specOf({ starts: { max: 2, withinMs: 60_000 }, backoff: { baseMs: 100, capMs: 1000, resetAfterMs: 10_000 } }),
  );
  for (let flaps = 0; flaps < 200; flaps++) {
    one.pass(3000);
    if (one.phase === "running") one.crash();
  }
  const needed = one.incidents.findIndex((facts) => facts.needsPerson);
  expect(needed).toBeGreaterThan(0);
  expect(one.incidents.slice(needed).every((facts) => facts.needsPerson)).toBe(true);
  one.pass(320_000);
  expect(one.incidents.at(-1)).toMatchObject({ at: "closed", needsPerson: false });
});

test("what runs once is ended when it freezes, and never started a second time", () => {
  const one = running(specOf({ restart: "never" }));
  one.log.length = 0;
  one.tell({ is: "seen", stopped: true });
  one.pass(600_000);
  expect(one.phase).toBe("completed");
  expect(one.log.map((line) => line.split(" ").slice(1).join(" "))).toEqual([
    "workload.frozen failure",
    "incident closed",
    "clean",
  ]);
});
