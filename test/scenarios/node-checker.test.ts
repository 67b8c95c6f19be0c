import { fresh, type IncidentFacts, type State } from "@blueflame/agent/supervise/state.ts";
import { expect, test } from "vitest";
import { NodeChecker, unsettled } from "./node-checker.ts";
import type { Seen } from "./node-parts.ts";

const state = fresh("boot-1", 1);
const spawn = { do: "spawn", id: "i1" } as const;
const born: Seen = { is: "process", workload: "api", at: "born" };
const run = (id: string, at: "begins" | "ends", down = true): Seen => ({
  is: "run",
  at,
  id,
  name: "config_rollback",
  workload: "api",
  down,
  because: "",
});
const spawns = (after: State): Seen => ({ is: "effect", workload: "api", effect: spawn, state: after, before: state });
const facts: IncidentFacts = {
  id: "one",
  revision: 1,
  at: "open",
  symptom: "crash",
  severity: "medium",
  summary: "it crashed",
  attempts: [],
  failures: 1,
  detectedMs: 0,
  faultWallMs: 0,
  detectedWallMs: 0,
  needsPerson: false,
  timeline: [],
};
const incident = (change: Partial<IncidentFacts>): Seen => ({
  is: "incident",
  workload: "api",
  facts: { ...facts, ...change },
});

test.each<[string, readonly Seen[], string]>([
  ["two processes", [born, born], "two processes"],
  ["two remedies", [run("a", "begins"), run("b", "begins")], "runs beside"],
  ["a start while a remedy prepares it", [run("a", "begins"), spawns(state)], "prepares its start"],
  ["a start against a person", [spawns({ ...state, intent: "stopped" })], "a person's stop"],
  ["a start against the kill switch", [spawns({ ...state, held: true })], "the kill switch"],
  ["a second incident", [incident({}), incident({ id: "two" })], "a second incident"],
  ["a revision twice", [incident({}), incident({ at: "recovering" })], "revision 1 after 1"],
  ["life after the end", [incident({ at: "closed" }), incident({ revision: 2, at: "open" })], "goes on"],
  [
    "a way back without a failure",
    [incident({ at: "probation" }), incident({ revision: 2, at: "verifying" })],
    "went back",
  ],
  [
    "no reason",
    [incident({ timeline: [{ wallMs: 0, what: "symptom", because: "", decisionId: "d" }] })],
    "says no reason",
  ],
])("the checker sees %s", (_what, seen, sentence) => {
  const checker = new NodeChecker();
  for (const one of seen) checker.see(one, 0);
  expect(checker.violations.join()).toContain(sentence);
});

test("what is as it should be is let pass", () => {
  const checker = new NodeChecker();
  const way: readonly Seen[] = [
    born,
    incident({}),
    incident({ revision: 2, at: "recovering" }),
    run("a", "begins"),
    { is: "process", workload: "api", at: "dead" },
    run("a", "ends"),
    spawns(state),
    born,
    incident({ revision: 3, at: "verifying" }),
    incident({ revision: 4, at: "probation" }),
    incident({ revision: 5, at: "recovering", failures: 2 }),
    incident({ revision: 6, at: "closed" }),
    incident({ id: "two" }),
  ];
  for (const one of way) checker.see(one, 0);
  expect(checker.violations).toEqual([]);
});

test("in the end everything is well, or wanted so, or told to a person", () => {
  const backoff: State = { ...state, phase: { at: "backoff", untilMs: 5 } };
  const waits = (more: Partial<IncidentFacts>) => ({ ...facts, at: "recovering", ...more }) as const;
  expect(unsettled([["api", { state: backoff }]], [waits({})])).toHaveLength(2);
  const told = waits({ needsPerson: true });
  expect(unsettled([["api", { state: { ...backoff, incident: told } }]], [told])).toEqual([]);
  expect(unsettled([["api", { state: { ...state, intent: "stopped" } }]], [])).toEqual([]);
  expect(unsettled([], [waits({ at: "probation", recoveredWallMs: 1 })])).toEqual([]);
});
