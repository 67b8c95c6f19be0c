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

/** A desk over one workload, `engine`, whose phase and trigger are set by the test, and to which much can have happened before. */
function desk(config = noFacts.config, lowForMs?: number) {
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
      configOf: (_workload, then) => then(config),
      condition: (trigger, workload) => conditions[`${trigger} ${workload}`] ?? "over",
      noted: (_symptom, why) => noted.push(why),
      isOwn: (playbook) => playbook === "ours",
      demoted: () => [],
      lowForMs: () => lowForMs,
    }),
  };
}

test("a symptom that comes while its workload starts is handed over when that is up, if it holds still", () => {
  const one = desk();
  one.desk.take(burst, "error_burst");
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
    one.desk.take(burst, "error_burst");
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
  one.desk.take(burst, "error_burst");
  one.desk.take({ ...burst, trigger: "api-timeouts", severity: "high" }, "error_burst");
  one.desk.take({ ...burst, trigger: "memory-leak" }, "error_burst");
  one.desk.take({ ...burst, trigger: "other", severity: "high" }, "error_burst");
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
  one.desk.take({ ...burst, workload: "removed" }, "error_burst");
  one.desk.told({ cleared: [{ trigger: "x", workload: "removed" }], lapsed: [], holding: [] });
  expect(one.posted).toEqual([]);
});

test("little trust leads to nothing where no other version was healthy; a playbook of the operator's own of that name is theirs to judge", () => {
  const one = desk();
  one.state = { ...one.state, phase: running };
  one.desk.take({ ...burst, playbook: "rollback-deployment" }, "error_burst");
  expect([one.posted, one.noted]).toEqual([[], ["there is no other version that was healthy"]]);
  one.desk.take({ ...burst, playbook: "ours" }, "error_burst");
  expect(one.posted).toMatchObject([["engine", { symptom: { own: true } }]]);
});

test("a person's fix was taken back: the stand of fallen trust had begun anew with the fixed process, and the trust was lost before", () => {
  const fixed = { version: "v3", healthyVersion: "v1", changedAgoMs: 60_000 };
  const low: Symptom = { ...burst, trigger: "trust-drop", playbook: "rollback-deployment" };
  const one = desk(fixed, 300_000);
  one.state = { ...one.state, phase: running };
  one.desk.take(low, "trust");
  expect([one.symptoms(), one.noted]).toEqual([[], ["the trust fell before its config changed"]]);
  // What has nothing to do with trust is judged by itself, and so is trust that fell under the new version.
  one.desk.take({ ...low, trigger: "error-burst" }, "error_burst");
  expect(one.symptoms()).toEqual(["error-burst"]);
  const other = desk(fixed, 59_000);
  other.state = { ...other.state, phase: running };
  other.desk.take(low, "trust");
  expect(other.symptoms()).toEqual(["trust-drop"]);
});
