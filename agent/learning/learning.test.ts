import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { rungs } from "../ladder/rungs.ts";
import {
  advise,
  demotedFor,
  freshLearning,
  type LearningEvent,
  type LearningState,
  learn,
  trustOf,
} from "./learning.ts";

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
const signature = "crash, exit 1: error config field missing";

/** A node that learns on virtual time. */
class Node {
  readonly clock = new VirtualClock(5000);
  state: LearningState = freshLearning(this.now());

  now() {
    return { bootId: "b1", bootMs: this.clock.bootMs(), wallMs: this.clock.wallMs() };
  }
  learn(event: LearningEvent) {
    const { state, suggestions } = learn(this.state, event, this.now());
    this.state = state;
    return suggestions;
  }
  /** A failure that the quick restart does not heal and a rollback does. */
  incident(workload = "shop") {
    this.learn({ is: "remedied", workload, signature, rung: "quick_restart", ok: false, tookMs: 30_000 });
    this.learn({
      is: "remedied",
      workload,
      signature,
      rung: "config_rollback",
      playbook: "rollback",
      ok: true,
      tookMs: 3000,
    });
    return this.learn({ is: "incidentClosed", workload, signature, agoMs: 40_000 });
  }
  advise(workload = "shop") {
    return advise(this.state, workload, signature, this.now());
  }
}

test("PRA-14 SYN-12 a failure pattern that one rung heals is met with that rung first, over a restart and a wall clock that jumps", () => {
  const node = new Node();
  for (let n = 0; n < 6; n += 1) {
    expect(node.advise().learned).toBe(n >= 3);
    node.incident();
    node.clock.advance(2 * hourMs);
  }
  expect(node.advise()).toMatchObject({ learned: true });
  expect(node.advise().order[0]).toBe("config_rollback");
  const told = node.advise();
  node.state = JSON.parse(JSON.stringify(node.state)) as LearningState;
  expect(node.advise()).toEqual(told);
  node.clock.stepWall(40 * 365 * dayMs);
  expect(node.advise().order).toEqual(told.order);
  // Another workload with the same signature has learned nothing from it.
  expect(node.advise("bank")).toMatchObject({ learned: false, order: rungs });
});

test("SYN-12 a person can freeze the order and thaw it; what is seen meanwhile is learned", () => {
  const node = new Node();
  node.learn({ is: "frozen", who: "ada" });
  for (let n = 0; n < 6; n += 1) node.incident();
  expect(node.advise()).toMatchObject({
    order: rungs,
    learned: false,
    because: "the ladder's own order: ada has frozen it",
  });
  node.learn({ is: "thawed" });
  expect(node.advise().order[0]).toBe("config_rollback");
});

test("GRC-5 a remedy changes the trust in the healer, in the unit, and in the tool that was used", () => {
  const node = new Node();
  node.learn({ is: "remedied", workload: "shop", signature, playbook: "restart_service", ok: true, tookMs: 900 });
  for (const subject of ["node", "workload:shop", "playbook:restart_service"] as const) {
    expect(trustOf(node.state, subject, node.now()).trust).toBe(0.85);
  }
  node.learn({ is: "remedied", workload: "shop", signature, rung: "safe_mode", ok: false, tookMs: 900 });
  expect(trustOf(node.state, "node", node.now()).trust).toBe(0.75);
  expect(trustOf(node.state, "rung:safe_mode", node.now()).trust).toBe(0.7);
  expect(trustOf(node.state, "playbook:restart_service", node.now()).trust).toBe(0.85);
  expect(node.advise().trust.because).toContain("workload:shop: trust 0.75");
});

test("GRC-5 SYN-12 what failed three times is demoted where it failed, not while the order is frozen, and comes back with time or two successes", () => {
  const node = new Node();
  const tries = (ok: boolean, times: number, workload = "shop") => {
    const one = { workload, signature, playbook: "tune", ok, tookMs: 900 } as const;
    for (let n = 0; n < times; n++) node.learn({ is: "remedied", ...one });
  };
  const demoted = (workload = "shop") => demotedFor(node.state, workload, node.now()).map(({ playbook }) => playbook);
  tries(true, 1, "bank");
  tries(false, 2);
  expect(demoted()).toEqual([]);
  tries(false, 1);
  node.state = JSON.parse(JSON.stringify(node.state)) as LearningState;
  expect([demoted(), demoted("bank"), demoted("hop")]).toEqual([["tune"], [], []]);
  expect(demotedFor(node.state, "shop", node.now())[0]?.because).toContain("tune for shop: trust 0.50; about 0 of the");
  node.learn({ is: "frozen", who: "ada" });
  expect(demoted()).toEqual([]);
  node.learn({ is: "thawed" });
  expect(demoted()).toEqual(["tune"]);
  tries(true, 2);
  expect(demoted()).toEqual([]);
  tries(false, 8);
  expect(demoted()).toEqual(["tune"]);
  node.clock.advance(30 * dayMs);
  expect(demoted()).toEqual([]);
});

test("SYN-12 a pattern is told once, and again after a week if it goes on", () => {
  const node = new Node();
  const told = Array.from({ length: 12 }, () => {
    node.clock.advance(5 * hourMs);
    return node.incident().length;
  });
  expect(told).toEqual([0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  expect(node.state.suggestions).toHaveLength(1);
  expect(node.state.suggestions[0]?.text).toContain("shop failed 5 times in 24 hours in the same way.");
  node.clock.advance(6 * dayMs);
  const again = Array.from({ length: 3 }, () => {
    node.clock.advance(5 * hourMs);
    return node.incident().length;
  });
  expect(again).toEqual([0, 0, 1]);
});

test.each([
  [50, 3],
  [250, 1],
])(
  "GRC-5 a node of %d workloads, each failed by %d playbooks in turn, knows whom it trusts little and what goes last",
  (count, tools) => {
    const node = new Node();
    const names = Array.from({ length: count }, (_, n) => `w${n}`);
    for (let round = 0; round < 3; round += 1)
      for (const workload of names)
        for (let tool = 0; tool < tools; tool += 1) {
          node.clock.advance(1000);
          node.learn({ is: "remedied", workload, signature: "x", playbook: `p${tool}`, ok: false, tookMs: 1 });
        }
    const now = node.now();
    expect(names.filter((one) => trustOf(node.state, `workload:${one}`, now).trust >= 0.7)).toEqual([]);
    expect(names.filter((one) => demotedFor(node.state, one, now).length < tools)).toEqual([]);
  },
);

test("SYN-12 the state stays under 500 KB and gives advice in any storm of failures", () => {
  const node = new Node();
  const long = "x".repeat(64);
  // 650 kinds of failure, each more than once: every table is full.
  for (let n = 0; n < 1000; n += 1) {
    node.clock.advance(60_000);
    const workload = `${long.slice(0, 60)}${n % 50}`;
    const text = `crash, exit ${n % 13}: ${"error connection refused ".repeat(10)}`.slice(0, 240);
    const rung = rungs[n % 6] ?? "safe_mode";
    node.learn({
      is: "remedied",
      workload,
      signature: text,
      rung,
      playbook: `${n}${long}`,
      ok: n % 3 === 0,
      tookMs: 1e7,
    });
    const facts = { agoMs: 100.5, uptimeMs: 1e10 + n, sinceConfigMs: 1e9, dependency: long };
    node.learn({ is: "incidentClosed", workload, signature: text, ...facts });
  }
  const size = JSON.stringify(node.state).length;
  console.log(`SYN-12 a full memory of a node is ${size} bytes of JSON`);
  expect(Object.keys(node.state.strategies)).toHaveLength(500);
  expect(Object.keys(node.state.histories)).toHaveLength(100);
  expect(size).toBeLessThan(500_000);
  expect(node.advise().order).toHaveLength(6);
});

const name = fc.constantFrom("shop", "bank", "__proto__", "constructor");
const words = fc.constantFrom("crash", "frozen, exit 1", "__proto__");
const anyEvent: fc.Arbitrary<LearningEvent> = fc.oneof(
  fc.record({
    is: fc.constant("remedied" as const),
    workload: name,
    signature: words,
    rung: fc.constantFrom(...rungs),
    ok: fc.boolean(),
    tookMs: fc.nat(),
  }),
  fc.record({
    is: fc.constant("incidentClosed" as const),
    workload: name,
    signature: words,
    agoMs: fc.nat(1e9),
    uptimeMs: fc.nat(),
  }),
  fc.record({ is: fc.constant("frozen" as const), who: fc.string() }),
  fc.record({ is: fc.constant("thawed" as const) }),
);

test("PRA-14 learning is a function of state, event and moment: it changes nothing in place, and JSON loses nothing", () => {
  const freeze = <T>(value: T): T => {
    if (typeof value === "object" && value !== null) for (const part of Object.values(value)) freeze(part);
    return Object.freeze(value);
  };
  const steps = fc.array(fc.tuple(anyEvent, fc.nat(2 * dayMs)), { maxLength: 60 });
  fc.assert(
    fc.property(steps, (all) => {
      let state = freshLearning({ bootId: "b1", bootMs: 0, wallMs: 0 });
      let read = state;
      let ms = 0;
      for (const [event, passedMs] of all) {
        ms += passedMs;
        const now = { bootId: "b1", bootMs: ms, wallMs: ms };
        const lesson = learn(freeze(state), event, now);
        expect(learn(JSON.parse(JSON.stringify(read)) as LearningState, event, now)).toEqual(lesson);
        state = lesson.state;
        read = state;
        expect(advise(state, "shop", "crash", now).order).toHaveLength(6);
      }
    }),
    { seed: 14, numRuns: 150 },
  );
});

test("GRC-5 a wall clock that is set forward by days and back again forgives no playbook, and gives no trust back", () => {
  const node = new Node();
  for (let n = 0; n < 4; n += 1)
    node.learn({ is: "remedied", workload: "shop", signature, playbook: "rollback", ok: false, tookMs: 1 });
  const seen = () => ({
    trust: trustOf(node.state, "workload:shop", node.now()).trust.toFixed(2),
    demoted: demotedFor(node.state, "shop", node.now()).map(({ playbook }) => playbook),
  });
  const before = seen();
  expect(before.demoted).toEqual(["rollback"]);
  for (const days of [20, -20, 20, -20]) {
    node.clock.advance(1000);
    node.clock.stepWall(days * dayMs);
    node.learn({ is: "thawed" });
  }
  expect(seen()).toEqual(before);
});
