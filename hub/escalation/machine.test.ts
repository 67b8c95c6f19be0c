import type { Moment } from "@blueflame/shared/time/clock.ts";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { step } from "./machine.ts";
import { missedAfter, policyOf, problems } from "./policy.ts";
import { restored } from "./restored.ts";
import {
  deadline,
  type Effect,
  type Event,
  fleetStateOf,
  heardAt,
  levelOf,
  needsStep,
  newNode,
  presenceOf,
  quiet,
  type State,
} from "./state.ts";
import type { Step } from "./step.ts";

const policy = policyOf({ secondPath: true, respawn: true });
const rank = { GREEN: 0, YELLOW: 1, ORANGE: 2, RED: 3 } as const;

/** Steps one node as the shell would, and writes the effects down. */
function node(from: Partial<typeof policy> = {}) {
  const own = { ...policy, ...from };
  let ms = 0;
  let ids = 0;
  let state = newNode(1, { ms });
  const steps: { before: State; event: Event; now: Moment; after: Step }[] = [];
  const tell = (event: Event): Effect[] => {
    const now = { ms, wallMs: 1_700_000_000_000 + ms, id: `id-${++ids}` };
    const after = step(own, state, event, now);
    steps.push({ before: state, event, now, after });
    state = after.state;
    return [...after.effects];
  };
  const healthy: Event = { is: "beat", health: "healthy" };
  return {
    steps,
    tell,
    beat: () => tell(healthy),
    /** Sweeps at every deadline on the way, as a shell does that is always in time. */
    pass: (forMs: number): Effect[] => {
      const until = ms + forMs;
      const effects: Effect[] = [];
      for (let sweeps = 0; sweeps < 1000; sweeps++) {
        const due = deadline(own, state);
        if (due >= until) break;
        ms = Math.max(ms, due + 1);
        effects.push(...tell({ is: "sweep" }));
      }
      ms = until;
      return effects;
    },
    at: (toMs: number) => {
      ms = toMs;
    },
    get state() {
      return state;
    },
  };
}

fc.configureGlobal({ numRuns: 300 });

const named = (effects: readonly Effect[]) => effects.map((effect) => effect.do);

describe("levels", () => {
  test("PHX-2 a beat 20% late is in time, and a millisecond later it is missed", () => {
    const one = node();
    one.beat();
    one.at(18_000);
    expect(one.tell({ is: "sweep" })).toEqual([]);
    one.at(18_001);
    expect(one.tell({ is: "sweep" })).toMatchObject([{ do: "setLevel", from: "GREEN", to: "YELLOW" }]);
  });

  test("PHX-2 three misses in a row are ORANGE, and more than 60 s of silence is RED with an alert", () => {
    const one = node();
    one.beat();
    one.pass(48_000);
    expect(levelOf(one.state)).toBe("YELLOW");
    one.pass(2);
    expect(levelOf(one.state)).toBe("ORANGE");
    one.pass(11_998);
    expect(levelOf(one.state)).toBe("ORANGE");
    const effects = one.pass(2);
    expect(levelOf(one.state)).toBe("RED");
    expect(named(effects)).toEqual(["setLevel", "alert", "updateIncident", "askSecondPath"]);
  });

  test("missed beats are counted as the levels are", () => {
    expect([0, 18_000, 18_001, 33_001, 48_001].map((ms) => missedAfter(policy, ms))).toEqual([0, 0, 1, 2, 3]);
  });

  test("a config whose levels are out of order is refused, each figure by name", () => {
    expect(() => policyOf({ redSilentMs: 30_000 })).toThrow(expect.objectContaining({ code: "CONFIG_INVALID" }));
    expect(problems({ ...policy, orangeMissed: 1 })).toEqual([expect.stringContaining("ORANGE after 1")]);
    expect(policyOf({ heartbeatIntervalMs: 30_000 }).redSilentMs).toBe(120_000);
  });

  test("PRA-11 a fleet speaks of Healthy, Degraded and Failed", () => {
    const one = node();
    expect([presenceOf(one.state), fleetStateOf(one.state, "healthy")]).toEqual(["UNKNOWN", "Unknown"]);
    one.beat();
    expect([presenceOf(one.state), fleetStateOf(one.state, "healthy")]).toEqual(["ALIVE", "Healthy"]);
    expect(fleetStateOf(one.state, "degraded")).toBe("Degraded");
    expect(fleetStateOf(one.state, "failed")).toBe("Failed");
    one.pass(20_000);
    expect([presenceOf(one.state), fleetStateOf(one.state, "healthy")]).toEqual(["SILENT", "Degraded"]);
    one.pass(50_000);
    expect(fleetStateOf(one.state, "healthy")).toBe("Failed");
    one.tell({ is: "goingAway", because: "stop", comesBack: false });
    expect([presenceOf(one.state), fleetStateOf(one.state, "healthy")]).toEqual(["GONE", "Unknown"]);
  });
});

describe("RED", () => {
  function red(from: Partial<typeof policy> = {}) {
    const one = node(from);
    one.tell({ is: "sessionOpened", incarnation: 1 });
    one.beat();
    one.tell({ is: "sessionClosed" });
    one.pass(60_500);
    return one;
  }

  test("a late answer of the second path to an earlier question is ignored", () => {
    const one = red();
    expect(one.tell({ is: "probeAnswered", ask: 99, alive: false, because: "late" })).toEqual([]);
    expect(named(one.tell({ is: "probeAnswered", ask: 1, alive: false, because: "no" }))).toContain("askBudget");
    expect(one.tell({ is: "probeAnswered", ask: 1, alive: false, because: "twice" })).toEqual([]);
  });

  test("a second path that never answers is a failed attempt, and is asked again", () => {
    const one = red({ askLimitMs: 5_000 });
    const effects = one.pass(120_000);
    expect(named(effects).filter((done) => done === "askSecondPath").length).toBeGreaterThan(1);
    expect(named(effects)).not.toContain("respawn");
  });

  test("a grant for a node that beats meanwhile goes back", () => {
    const one = red();
    one.tell({ is: "probeAnswered", ask: 1, alive: false, because: "no" });
    one.beat();
    const effects = one.tell({ is: "budget", for: "respawn", verdict: { granted: true } });
    expect(named(effects)).toEqual(["releaseBudget"]);
  });

  test("a respawn that still runs when its node falls silent again is waited for: never two", () => {
    const one = red({ secondPath: false });
    expect(named(one.tell({ is: "budget", for: "respawn", verdict: { granted: true } }))).toContain("respawn");
    one.beat();
    expect(named(one.pass(200_000))).not.toContain("askBudget");
    expect(levelOf(one.state)).toBe("RED");
    expect(one.state.flight).not.toBeNull();
    expect(named(one.pass(600_000)).slice(0, 3)).toEqual(["releaseBudget", "updateIncident", "askBudget"]);
  });

  test("a budget that is spent for longer than the retry cap calls a person, once", () => {
    const one = red();
    one.tell({ is: "probeAnswered", ask: 1, alive: false, because: "no" });
    const verdict = { granted: false, because: "60 of 60 within the hour", againAtMs: 2_000_000 } as const;
    const effects = one.tell({ is: "budget", for: "respawn", verdict });
    expect(effects).toContainEqual(expect.objectContaining({ do: "alert", kind: "needs_person" }));
  });

  test("a part of the budget is given back when an order was out as well", () => {
    const one = node({ secondPath: false });
    one.tell({ is: "sessionOpened", incarnation: 1 });
    one.beat();
    one.pass(48_100);
    expect(named(one.tell({ is: "budget", for: "restart", verdict: { granted: true } }))).toContain("order");
    one.pass(12_400);
    one.tell({ is: "budget", for: "respawn", verdict: { granted: true } });
    one.tell({ is: "respawnEnded", attempt: 1, ok: true, because: "exit 0" });
    expect(named(one.beat())).toContain("releaseBudget");
    expect(one.state.holds).toBeNull();
  });
});

describe("the shell's short cut", () => {
  test("a quiet node's beats need no step, and what they change is what heardAt changes", () => {
    const one = node();
    one.beat();
    expect(quiet(one.state)).toBe(true);
    one.at(15_000);
    const short = heardAt(one.state, 15_000);
    one.beat();
    expect(short).toEqual(one.state);
    expect(needsStep(one.state, { is: "sweep" })).toBe(true);
  });
});

// --- properties -----------------------------------------------------------------------------------------------------

const events: fc.Arbitrary<Event> = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom<Event>({ is: "beat", health: "healthy" }, { is: "beat", health: "failed" }) },
  { weight: 8, arbitrary: fc.constant<Event>({ is: "sweep" }) },
  fc.record({ is: fc.constant("sessionOpened" as const), incarnation: fc.integer({ min: 1, max: 4 }) }),
  fc.constant<Event>({ is: "sessionClosed" }),
  fc.record({ is: fc.constant("goingAway" as const), because: fc.constant("stop"), comesBack: fc.boolean() }),
  fc.record({ is: fc.constant("amnesty" as const), byMs: fc.integer({ min: -5, max: 200_000 }) }),
  fc.constantFrom<Event>({ is: "frozen", group: "all" }, { is: "frozen", group: "site/a" }),
  fc.constantFrom<Event>({ is: "thawed", group: "all" }, { is: "thawed", group: "site/a" }),
  fc.record({
    is: fc.constant("probeAnswered" as const),
    ask: fc.integer({ min: 1, max: 6 }),
    alive: fc.boolean(),
    because: fc.constant("so"),
  }),
  fc.record({
    is: fc.constant("respawnEnded" as const),
    attempt: fc.integer({ min: 1, max: 6 }),
    ok: fc.boolean(),
    because: fc.constant("so"),
  }),
  fc.constantFrom<Event>(
    { is: "budget", for: "restart", verdict: { granted: true } },
    { is: "budget", for: "respawn", verdict: { granted: true } },
    { is: "budget", for: "respawn", verdict: { granted: false, because: "busy", againAtMs: 100_000 } },
  ),
  fc.record({
    is: fc.constant("orderEnded" as const),
    id: fc.constant("id-9"),
    ok: fc.boolean(),
    because: fc.constant(""),
  }),
);
/** What happened, and how long after the event before. */
const histories = fc.array(fc.tuple(fc.integer({ min: 0, max: 70_000 }), events), { maxLength: 60 });
const policies = fc.record({ secondPath: fc.boolean(), respawn: fc.boolean() });

/** Runs a history; an awaited answer is told instead of a random one, so that the deep states are reached. */
function live(means: Partial<typeof policy>, history: readonly (readonly [number, Event])[]) {
  const one = node(means);
  let ms = 0;
  for (const [waitMs, event] of history) {
    ms += waitMs;
    one.at(ms);
    one.tell(awaited(one.state, event));
  }
  return one.steps;
}
function awaited(state: State, event: Event): Event {
  if (event.is === "probeAnswered" && state.at === "red" && state.phase.is === "asking") {
    return { ...event, ask: state.phase.ask };
  }
  if (event.is === "respawnEnded" && state.flight) return { ...event, attempt: state.flight.attempt };
  return event;
}

describe("whatever happens", () => {
  test("PHX-11 a decision read back from its record gives the same state and effects", () => {
    fc.assert(
      fc.property(policies, histories, (means, history) => {
        for (const { before, event, now, after } of live(means, history)) {
          const own = JSON.parse(JSON.stringify({ policy: { ...policy, ...means }, state: before, event, now }));
          expect(step(own.policy, own.state, own.event, own.now)).toEqual(after);
          expect(JSON.parse(JSON.stringify(after.state))).toEqual(after.state);
        }
      }),
    );
  });

  test("a level rises by one at a time, only by a sweep, and never beyond YELLOW while frozen; a beat is GREEN at once", () => {
    fc.assert(
      fc.property(policies, histories, (means, history) => {
        for (const { before, event, after } of live(means, history)) {
          const rises = rank[levelOf(after.state)] - rank[levelOf(before)];
          expect(rises).toBeLessThanOrEqual(1);
          if (rises > 0) expect(event.is).toBe("sweep");
          if (rises > 0 && levelOf(after.state) !== "YELLOW") expect(before.frozenBy).toEqual([]);
          if (event.is === "beat") expect(levelOf(after.state)).toBe("GREEN");
        }
      }),
    );
  });

  test("the levels that are told are the levels that are", () => {
    fc.assert(
      fc.property(policies, histories, (means, history) => {
        for (const { before, after } of live(means, history)) {
          const told = after.effects.filter((effect) => effect.do === "setLevel");
          const [was, is] = [levelOf(before), levelOf(after.state)];
          expect(told.map(({ from, to }) => [from, to])).toEqual(was === is ? [] : [[was, is]]);
        }
      }),
    );
  });

  test("an early or doubled sweep changes nothing, and a deadline that passed is worked off in a few looks", () => {
    fc.assert(
      fc.property(policies, histories, (means, history) => {
        const own = { ...policy, ...means };
        for (const { now, after } of live(means, history)) {
          let { state } = after;
          const early = step(own, state, { is: "sweep" }, { ...now, ms: Math.min(now.ms, deadline(own, state)) });
          expect(early.state).toBe(state);
          expect(early.effects).toEqual([]);
          let looks = 0;
          while (now.ms > deadline(own, state) && looks < 12) {
            looks++;
            state = step(own, state, { is: "sweep" }, now).state;
          }
          expect(looks).toBeLessThan(12);
        }
      }),
    );
  });

  test("while frozen nothing is begun", () => {
    fc.assert(
      fc.property(policies, histories, (means, history) => {
        for (const { before, event, after } of live(means, history)) {
          if (before.frozenBy.length === 0 || event.is === "thawed") continue;
          for (const begun of ["order", "sendOrder", "respawn", "askBudget", "askSecondPath"]) {
            expect(named(after.effects)).not.toContain(begun);
          }
        }
      }),
    );
  });

  test("there is never a second respawn beside one that runs, and what is held of the budget is at work", () => {
    fc.assert(
      fc.property(policies, histories, (means, history) => {
        for (const { before, after } of live(means, history)) {
          if (named(after.effects).includes("respawn")) expect(before.flight).toBeNull();
          const { holds, flight, order } = after.state;
          const comingBack = after.state.at === "red" && after.state.phase.is === "comingBack";
          if (holds === "respawn") expect(flight !== null || comingBack).toBe(true);
          if (holds === "restart") expect(order?.is).toBe("sent");
          if (flight) expect(holds).toBe("respawn");
        }
      }),
    );
  });

  test("an alert for RED comes with the level and never else, also over a restart of the hub", () => {
    fc.assert(
      fc.property(policies, histories, fc.nat(59), (means, history, at) => {
        const own = { ...policy, ...means };
        const steps = live(means, history);
        for (const { after } of steps) {
          const alerts = after.effects.filter((effect) => effect.do === "alert" && effect.kind === "red").length;
          const reds = after.effects.filter((effect) => effect.do === "setLevel" && effect.to === "RED").length;
          expect(alerts).toBe(reds);
        }
        const last = steps[Math.min(at, steps.length - 1)];
        if (!last) return;
        const again = restored(own, JSON.parse(JSON.stringify(last.after.state)), last.now);
        expect(levelOf(again)).toBe(levelOf(last.after.state));
        const early = step(own, again, { is: "sweep" }, { ...last.now, ms: last.now.ms + 18_000 });
        expect(early.effects.filter((effect) => effect.do === "setLevel" || effect.do === "alert")).toEqual([]);
      }),
    );
  });

  test("an amnesty puts every rise off by at least its time", () => {
    fc.assert(
      fc.property(histories, fc.integer({ min: 1, max: 100_000 }), (history, byMs) => {
        const last = live({}, history).at(-1);
        if (!last || last.after.state.at === "away") return;
        const { state } = last.after;
        const forgiven = step(policy, state, { is: "amnesty", byMs }, last.now).state;
        expect(forgiven.sinceMs).toBe(Math.min(last.now.ms, state.sinceMs + byMs));
        expect(deadline(policy, forgiven)).toBeGreaterThanOrEqual(deadline(policy, state));
      }),
    );
  });
});
