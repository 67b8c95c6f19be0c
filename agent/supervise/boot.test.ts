// What an agent makes of what an earlier one has left, and of dependencies that come up while people and crashes go on.
import { expect, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import { bench } from "../../test/support/workload-bench.ts";
import { step } from "./machine.ts";
import type { Effect, Event, State } from "./state.ts";

const again: Event = { is: "boot", bootId: "boot-1" };

/** A workload that runs, and its state at any later moment is what an agent that died then has left. */
function running(over: Parameters<typeof specOf>[0] = {}) {
  const one = bench(specOf(over));
  one.tell(again);
  one.pass(60_000);
  expect(one.phase).toBe("running");
  one.log.length = 0;
  return one;
}
const cleans = (effects: readonly Effect[]) => effects.filter((effect) => effect.do === "clean");
const boot = (state: State, bootId: string, over: Parameters<typeof specOf>[0] = {}) =>
  step(specOf(over), state, { is: "boot", bootId }, { ms: 2_000_000, wallMs: 2e12, id: "boot" });

test("PHX-5 a dependency that comes up does not kill a workload that a person has started meanwhile", () => {
  const one = bench(specOf());
  one.tell({ ...again, waitFor: ["db"] });
  one.tell({ is: "start", who: "person:asha" });
  one.pass(2000);
  const id = one.id();
  one.tell({ is: "needsMet" });
  one.pass(2000);
  expect([one.phase, one.id(), one.incidents]).toEqual(["running", id, []]);
});

test("PHX-5 a dependency that comes up does not kill a workload that crashed without an agent and is already healed", () => {
  const one = running();
  one.tell({ ...again, waitFor: ["db"] });
  one.pass(2000);
  const id = one.id();
  const before = one.incidents.length;
  one.tell({ is: "needsMet" });
  one.pass(2000);
  expect([one.phase, one.id(), one.incidents.length]).toEqual(["running", id, before]);
});

test("going down is not undone by a dependency that ends, as dependencies are stopped last", () => {
  const one = bench(specOf());
  one.tell({ ...again, waitFor: ["db"] });
  one.tell({ is: "down", who: "person:asha" });
  one.tell({ is: "needsMet" });
  expect(one.phase).toBe("stopped");
});

test("what waits starts when its dependency has", () => {
  const one = bench(specOf());
  one.tell({ ...again, waitFor: ["db"] });
  expect(one.phase).toBe("waiting");
  one.tell({ is: "needsMet" });
  expect(one.phase).toBe("starting");
});

test("CARD-4 a job that runs once is not run twice because the agent died while it cleaned up after it", () => {
  const one = running({ restart: "never" });
  one.answers = false;
  one.crash(0);
  one.answers = true;
  one.tell(again);
  expect([one.phase, one.state.starts]).toEqual(["completed", 1]);
});

test("PHX-4 an agent that died while it cleaned up leaves to the next one whose family it was, and what comes after it", () => {
  const one = running();
  one.crash();
  one.answers = false;
  one.crash();
  const { phase } = one.state;
  expect(phase).toMatchObject({ at: "cleaning", next: "decide" });
  const { state, effects } = boot(one.state, "boot-1");
  expect(state.phase).toEqual(phase);
  expect(cleans(effects)).toMatchObject([{ last: { pid: 101 } }]);
});

test("PHX-13 after a reboot no clean-up looks for the session of a process of the boot before: its number may be a stranger's", () => {
  const one = running();
  for (const intent of ["run", "stopped"] as const) {
    const { effects } = boot({ ...one.state, intent }, "boot-2");
    expect(cleans(effects)).toEqual([{ do: "clean" }]);
  }
});

test("PHX-7 a recovery that a reboot interrupts counts the time until it is verified after the reboot", () => {
  const spec = specOf();
  const one = running();
  one.answers = false;
  one.crash();
  const { detectedWallMs = 0 } = one.incidents.at(-1) ?? {};
  const booted = step(
    spec,
    one.state,
    { is: "boot", bootId: "boot-2" },
    { ms: 9000, wallMs: detectedWallMs + 60_000, id: "b" },
  );
  expect(booted.state.incident?.detectedMs).toBe(9000 - 60_000);
});

test("PHX-7 a person who restarts it on probation does not lengthen the recovery that is over", () => {
  const one = running();
  one.crash();
  one.pass(1500);
  expect(one.incidents.at(-1)).toMatchObject({ at: "probation", recoverTookMs: 1000 });
  one.pass(100_000);
  one.tell({ is: "restart", who: "person:asha" });
  one.tell({ is: "exited", id: one.id(), code: 0, signal: null });
  one.pass(2000);
  expect(one.incidents.at(-1)).toMatchObject({ at: "probation", recoverTookMs: 1000 });
  one.pass(301_000);
  expect(one.incidents.at(-1)).toMatchObject({ at: "closed", recoverTookMs: 1000 });
});

test("SYN-7 what had ended minutes before the next agent came was said to have been down for a second: its fault is when it was last known to live", () => {
  const one = running();
  const guardedUntilWallMs = 1e12 + one.now() - 2000;
  one.jump(100_000);
  one.tell({ ...again, guardedUntilWallMs });
  one.pass(2000);
  const { faultWallMs = 0, detectedWallMs = 0, recoverTookMs } = one.incidents.at(-1) ?? {};
  expect([faultWallMs, detectedWallMs - faultWallMs, recoverTookMs]).toEqual([guardedUntilWallMs, 102_000, 1000]);
  // It was verified after the last word that is known of that agent: it lived at least until then, and this is a failure of its own.
  const healedWallMs = one.incidents.at(-1)?.recoveredWallMs ?? 0;
  one.jump(50_000);
  one.tell({ ...again, guardedUntilWallMs: healedWallMs - 4000 });
  one.pass(2000);
  expect(one.incidents.at(-1)).toMatchObject({ at: "probation", faultWallMs: healedWallMs, downBeforeMs: 1000 });
});

test("what was being stopped with everything when its agent died stayed down for ever, although a person has said `up` since", () => {
  const one = running();
  one.tell({ is: "down", who: "person:asha" });
  expect(one.phase).toBe("stopping");
  const found = { id: one.id(), pid: 100, startTicks: 1, sinceMs: one.now(), sinceWallMs: 1e12, adopted: true };
  one.tell({ ...again, found });
  one.tell({ is: "vanished", id: found.id });
  one.pass(2000);
  expect([one.phase, one.state.intent, one.incidents]).toEqual(["running", "run", []]);
  // A person's stop of this one stands.
  one.tell({ is: "stop", who: "person:asha" });
  const stopping = { ...found, id: one.id() };
  one.tell({ ...again, found: stopping });
  one.tell({ is: "vanished", id: stopping.id });
  one.pass(2000);
  expect([one.phase, one.state.intent]).toEqual(["stopped", "stopped"]);
});

test("a restart that a person asks for during the clean-up of a finished job starts it again", () => {
  const one = running({ restart: "never" });
  one.answers = false;
  one.crash(0);
  one.tell({ is: "restart", who: "person:asha" });
  one.answers = true;
  one.tell({ is: "cleaned", killed: 0, removed: [], tookMs: 1 });
  one.pass(2000);
  expect([one.phase, one.state.starts]).toEqual(["running", 2]);
});

test("PRA-4 the agent was away while a workload was on probation: nobody watched it, so its probation is longer by that", () => {
  const one = running();
  one.crash();
  one.pass(100_000);
  const until = one.state.incident?.probationUntilMs ?? 0;
  one.jump(600_000);
  one.tell({ is: "late", byMs: 600_000 });
  one.tell({ is: "look" });
  expect(one.state.incident).toMatchObject({ at: "probation", probationUntilMs: until + 600_000 });
});
