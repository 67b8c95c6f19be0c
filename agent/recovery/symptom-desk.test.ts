import { expect, test } from "vitest";
import { noFacts } from "../diagnosis/facts.ts";
import { type Event, fresh, type Phase, type State } from "../supervise/state.ts";
import type { Condition } from "../triggers/state.ts";
import type { Symptom } from "../triggers/symptom.ts";
import { SymptomDesk } from "./symptom-desk.ts";

const burst: Symptom = {
  trigger: "error-burst",
  workload: "engine",
  severity: "medium",
  playbook: "run-diagnostics",
  because: "30 errors within 1m",
  sinceMs: 0,
};
const instance = { id: "i1", pid: 1, startTicks: 1, sinceMs: 0, sinceWallMs: 0, adopted: false };
const starting: Phase = { at: "starting", instance, graceUntilMs: 60_000 };
const running: Phase = { at: "running", instance, readySinceMs: 0 };

/** A desk over one workload, `engine`, whose phase and trigger are set by the test. */
function desk() {
  const posted: [workload: string, event: Event][] = [];
  const noted: string[] = [];
  let state: State = { ...fresh("b", 1), phase: starting };
  const conditions: Record<string, Condition> = {};
  return {
    posted,
    noted,
    conditions,
    get state() {
      return state;
    },
    set state(next: State) {
      state = next;
    },
    symptoms: () => posted.flatMap(([, event]) => (event.is === "symptom" ? [event.symptom.trigger] : [])),
    desk: new SymptomDesk({
      machines: () => ({
        names: () => ["engine"],
        state: () => state,
        post: (name, event) => posted.push([name, event]),
      }),
      nowMs: () => 0,
      configOf: (_workload, then) => then(noFacts.config),
      condition: (trigger, workload) => conditions[`${trigger} ${workload}`] ?? "over",
      noted: (_symptom, why) => noted.push(why),
      isOwn: (playbook) => playbook === "ours",
      demoted: () => [],
    }),
  };
}

test("a symptom that comes while its workload starts is handed over when that is up, if it holds still", () => {
  const one = desk();
  one.desk.take(burst);
  one.conditions["error-burst engine"] = "holds";
  one.desk.observed();
  expect(one.posted).toEqual([]);
  one.state = { ...one.state, phase: running };
  one.desk.observed();
  one.desk.observed();
  expect(one.symptoms()).toEqual(["error-burst"]);
});

test("what does not hold any more, or is not known, is forgotten", () => {
  for (const condition of ["over", "unknown"] as const) {
    const one = desk();
    one.desk.take(burst);
    one.conditions["error-burst engine"] = condition;
    one.desk.observed();
    one.conditions["error-burst engine"] = "holds";
    one.state = { ...one.state, phase: running };
    one.desk.observed();
    expect(one.posted).toEqual([]);
  }
});

test("of what comes early only the worst is kept, and of two that are as bad the first", () => {
  const one = desk();
  one.desk.take(burst);
  one.desk.take({ ...burst, trigger: "api-timeouts", severity: "high" });
  one.desk.take({ ...burst, trigger: "memory-leak" });
  one.desk.take({ ...burst, trigger: "other", severity: "high" });
  one.conditions["api-timeouts engine"] = "holds";
  one.state = { ...one.state, phase: running };
  one.desk.observed();
  expect(one.symptoms()).toEqual(["api-timeouts"]);
});

test("the node's trigger is handed to its culprit, which hears when it is over; others that wait for something else do not", () => {
  const one = desk();
  one.state = { ...one.state, phase: running };
  one.desk.blame({ ...burst, trigger: "cpu-high", workload: "", culprit: "engine" });
  expect(one.posted).toMatchObject([["engine", { symptom: { workload: "engine", trigger: "cpu-high" } }]]);
  const over = { cleared: [{ trigger: "cpu-high", workload: "" }], lapsed: [], holding: [] };
  one.desk.told(over);
  expect(one.posted).toHaveLength(1);
  one.state = { ...one.state, awaited: { trigger: "cpu-high", playbook: "", severity: "medium" } };
  one.conditions["cpu-high "] = "holds";
  one.desk.settle();
  expect(one.posted).toHaveLength(1);
  one.desk.told(over);
  expect(one.posted.at(-1)).toEqual(["engine", { is: "cleared", trigger: "cpu-high" }]);
});

test("the agent has started: who waits for what is over, or is not known any more, hears of it", () => {
  for (const [condition, is] of [
    ["over", "cleared"],
    ["unknown", "lapsed"],
  ] as const) {
    const one = desk();
    one.state = { ...one.state, awaited: { trigger: "error-burst", playbook: "", severity: "medium" } };
    one.conditions["error-burst engine"] = condition;
    one.desk.settle();
    expect(one.posted).toEqual([["engine", { is, trigger: "error-burst" }]]);
  }
});

test("what is not in the config any more gets nothing", () => {
  const one = desk();
  one.desk.take({ ...burst, workload: "removed" });
  one.desk.told({ cleared: [{ trigger: "x", workload: "removed" }], lapsed: [], holding: [] });
  expect(one.posted).toEqual([]);
});

test("little trust leads to nothing where no other version was healthy; a playbook of the operator's own of that name is theirs to judge", () => {
  const one = desk();
  one.state = { ...one.state, phase: running };
  one.desk.take({ ...burst, playbook: "rollback-deployment" });
  expect([one.posted, one.noted]).toEqual([[], ["there is no other version that was healthy"]]);
  one.desk.take({ ...burst, playbook: "ours" });
  expect(one.posted).toMatchObject([["engine", { symptom: { own: true } }]]);
});
