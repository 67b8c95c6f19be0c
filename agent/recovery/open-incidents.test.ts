import { expect, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import { bench } from "../../test/support/workload-bench.ts";
import { inThisBoot } from "../supervise/recovery.ts";
import type { IncidentFacts, State } from "../supervise/state.ts";
import { lessonsOf } from "./lessons.ts";
import { factOf, OpenIncidents } from "./open-incidents.ts";

/** A workload that ran for a minute, crashed, and was well through its probation; each revision with the state after it. */
function healed(): { facts: IncidentFacts; state: State }[] {
  const one = bench(specOf());
  one.tell({ is: "boot", bootId: "boot-1" });
  one.pass(60_000);
  one.crash();
  one.pass(400_000);
  return one.records
    .map(({ output }) => JSON.parse(output) as { state: State; effects: { do: string; facts: IncidentFacts }[] })
    .flatMap(({ state, effects }) =>
      effects.flatMap((effect) => (effect.do === "incident" ? [{ facts: effect.facts, state }] : [])),
    );
}

test("how long a process had run is what the failed one had, not the one that runs when its incident is closed", () => {
  const open = new OpenIncidents([]);
  const told = healed().map(({ facts, state }) => ({ at: facts.at, uptimeMs: open.told(facts, state).uptimeMs }));
  expect(told.at(-1)).toEqual({ at: "closed", uptimeMs: 60_000 });
});

test("how long its config had been changed is what it was when the incident opened; nobody asks again", () => {
  const open = new OpenIncidents([]);
  let asked = 0;
  const told = healed().map(({ facts, state }) => open.told(facts, state, () => 120_000 + asked++).sinceConfigMs);
  expect(new Set(told)).toEqual(new Set([120_000]));
  expect(asked).toBe(1);
});

test("GRC-5 a reboot amid an incident taught its attempts again: trust fell to nothing although nothing had failed", () => {
  const revisions = healed();
  const left = revisions.find(({ facts }) => facts.at === "probation")?.facts;
  if (!left) throw new Error("it was not healed");
  expect(left.attempts).toHaveLength(1);
  const now = { ms: 20_000, wallMs: left.detectedWallMs + 3_600_000, id: "id" };
  const rebooted = { ...inThisBoot(left, now), revision: left.revision + 1 };
  expect(rebooted.attempts[0]?.ms).not.toBe(left.attempts[0]?.ms);
  expect(lessonsOf(left, rebooted, { workload: "engine", signature: "crash", nowMs: now.ms })).toEqual([]);
});

test("an agent that comes back does not count and learn once more what its predecessor has told of an open incident", () => {
  const revisions = healed();
  const at = revisions.findIndex(({ facts }) => facts.at === "probation");
  const left = revisions[at]?.facts;
  const next = revisions[at + 1];
  if (!left || !next) throw new Error("it was not healed");
  const { before } = new OpenIncidents([left]).told(next.facts, next.state);
  expect(factOf("engine", before, next.facts)).toBeUndefined();
  const around = { workload: "engine", signature: "crash", nowMs: 0 };
  expect(lessonsOf(before, next.facts, around).map(({ is }) => is)).toEqual(["incidentClosed"]);
  expect(lessonsOf(undefined, next.facts, around).map(({ is }) => is)).toEqual(["remedied", "incidentClosed"]);
});

test("what could not be started, or took too much, is not counted as frozen", () => {
  const facts = healed()[0]?.facts;
  if (!facts) throw new Error("no incident");
  const kind = (symptom: string) => factOf("engine", undefined, { ...facts, symptom })?.is;
  expect(["crash", "frozen", "no_progress", "spawn_failed", "over_limit"].map(kind)).toEqual([
    "ended",
    "frozen",
    "frozen",
    undefined,
    undefined,
  ]);
});
