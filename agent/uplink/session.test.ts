import { OrderSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import type { Cancel } from "@blueflame/shared/time/clock.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { inFlight } from "./backlog.ts";
import { bounds, defaults, type Policy, validPolicy } from "./policy.ts";
import { start, step } from "./session.ts";
import type { Connected, Effect, Event, State, Welcome } from "./state.ts";

/** Runs `step` as the driver does, on virtual time, and keeps every step for a replay. */
class Rig {
  readonly clock = new VirtualClock(1_000);
  readonly policy: Policy;
  readonly steps: { state: State; event: Event; nowMs: number; after: State; effects: readonly Effect[] }[] = [];
  readonly done: { atMs: number; effect: Effect }[] = [];
  state: State;
  #cancel: Cancel = () => {};

  constructor(given: Partial<Policy> & { seed?: number; hubEpoch?: bigint } = {}) {
    const { seed = 1, hubEpoch = 0n, ...rest } = given;
    this.policy = validPolicy({ ...defaults, addresses: ["a:1"], incarnation: 1n, restarted: false, ...rest });
    this.state = start(this.policy, seed, hubEpoch, this.clock.monotonicMs());
    this.apply({ is: "wake" });
  }
  apply(event: Event): readonly Effect[] {
    const nowMs = this.clock.monotonicMs();
    const { state, effects } = step(this.policy, this.state, event, nowMs);
    this.steps.push({ state: this.state, event, nowMs, after: state, effects });
    this.state = state;
    for (const effect of effects) {
      this.done.push({ atMs: nowMs, effect });
      if (effect.do !== "wakeAt") continue;
      this.#cancel();
      this.#cancel = this.clock.wakeAt(effect.atMs, () => this.apply({ is: "wake" }));
    }
    return effects;
  }
  pass(ms: number): void {
    this.clock.advance(ms);
  }
  /** The times at which it did `what`. */
  times(what: Effect["do"]): number[] {
    return this.done.filter(({ effect }) => effect.do === what).map(({ atMs }) => atMs);
  }
  last<K extends Effect["do"]>(what: K): Extract<Effect, { do: K }> | undefined {
    const isOne = (effect: Effect): effect is Extract<Effect, { do: K }> => effect.do === what;
    return this.done.map(({ effect }) => effect).findLast(isOne);
  }
  /** Passes time until it connects. */
  connect(): this {
    const before = this.times("connect").length;
    while (this.times("connect").length === before) this.pass(10);
    return this;
  }
  welcome(given: Partial<Welcome> = {}): readonly Effect[] {
    this.apply({ is: "opened" });
    const welcome = { intervalMs: 15_000, epoch: 1n, durable: 0n, window: 200, lastSeq: 0n, ...given };
    return this.apply({ is: "welcome", welcome });
  }
  get open(): Connected {
    if (this.state.phase.at !== "connected") throw new Error(`the session is ${this.state.phase.at}`);
    return this.state.phase;
  }
}
const kinds = (effects: readonly Effect[]) => effects.map((effect) => effect.do).filter((kind) => kind !== "wakeAt");
const unreachableHub: Event = { is: "failed", code: "HUB_UNREACHABLE", saw: "refused" };
const order = (given: MessageInitShape<typeof OrderSchema> = {}): Event => ({
  is: "order",
  bootMs: 5_000,
  order: create(OrderSchema, {
    id: "o1",
    hubEpoch: 1n,
    targetIncarnation: 1n,
    validFor: durationFromMs(60_000),
    action: { case: "restartAgent", value: {} },
    ...given,
  }),
});

test("PHX-1 after Welcome the heartbeat and the status go first, and then a heartbeat every interval the hub set", () => {
  const rig = new Rig().connect();
  expect(kinds(rig.welcome({ intervalMs: 7_000 }))).toEqual([
    "setHubEpoch",
    "report",
    "heartbeat",
    "status",
    "records",
  ]);
  const opened = rig.clock.monotonicMs();
  rig.pass(30_000);
  expect(rig.times("heartbeat").map((at) => at - opened)).toEqual([0, 7_000, 14_000, 21_000, 28_000]);
});

test("a late tick is measured and sent with the next heartbeat, and what was missed is not made up in a burst", () => {
  const rig = new Rig().connect();
  rig.welcome({ intervalMs: 1_000 });
  rig.clock.stall(5_400);
  rig.pass(1);
  expect(rig.times("heartbeat")).toHaveLength(2);
  expect(rig.last("heartbeat")).toMatchObject({ count: 2, worstLagMs: 4_400 });
  rig.pass(1_000);
  expect(rig.last("heartbeat")).toMatchObject({ count: 3, worstLagMs: 0 });
});

test("the first try is drawn too: agents that get power together do not connect together", () => {
  const times = Array.from({ length: 200 }, (_, seed) => new Rig({ seed }).connect().times("connect")[0] ?? 0);
  expect(Math.min(...times)).toBeGreaterThanOrEqual(1_000);
  expect(Math.max(...times)).toBeLessThanOrEqual(1_000 + defaults.baseMs + 10);
  expect(new Set(times).size).toBeGreaterThan(40);
});

test("every wait stays within full jitter: at most base·2^n, never above the cap, whatever the seed", () => {
  const anySeed = fc.integer();
  fc.assert(
    fc.property(anySeed, (seed) => {
      const rig = new Rig({ seed });
      for (let failures = 0; failures < 12; failures += 1) {
        rig.connect();
        const failedAt = rig.clock.monotonicMs();
        rig.apply(unreachableHub);
        const { phase } = rig.state;
        if (phase.at !== "offline") throw new Error(phase.at);
        const wait = phase.retryAtMs - failedAt;
        expect(wait).toBeGreaterThanOrEqual(0);
        expect(wait).toBeLessThan(Math.min(30_000, 500 * 2 ** failures));
      }
    }),
    { numRuns: 100 },
  );
});

test("several addresses are tried in turn before the wait grows", () => {
  const rig = new Rig({ addresses: ["a:1", "b:2", "c:3"] });
  const tried: string[] = [];
  for (let n = 0; n < 6; n += 1) {
    rig.connect();
    tried.push(rig.last("connect")?.address ?? "");
    rig.apply(unreachableHub);
  }
  expect(tried).toEqual(["a:1", "b:2", "c:3", "a:1", "b:2", "c:3"]);
  expect(rig.clock.monotonicMs()).toBeLessThan(1_000 + 4 * 500 + 3 * 1_000 + 100);
});

test("only a session that lasted resets the waits", () => {
  const rig = new Rig();
  for (let n = 0; n < 6; n += 1) rig.connect().apply(unreachableHub);
  expect(rig.state.failures).toBe(6);
  rig.connect().welcome();
  rig.pass(defaults.lastedMs - 1);
  rig.apply(unreachableHub);
  expect(rig.state.failures).toBe(7);
  rig.connect().welcome();
  rig.pass(defaults.lastedMs);
  rig.apply(unreachableHub);
  expect(rig.state.failures).toBe(1);
});

test("a hub that accepts connections and stays silent is left after ten seconds", () => {
  const rig = new Rig().connect();
  rig.apply({ is: "opened" });
  rig.pass(9_999);
  expect(rig.state.phase.at).toBe("greeting");
  rig.pass(1);
  expect(rig.state.phase.at).toBe("offline");
  expect(rig.last("report")?.report.trouble).toMatchObject({ code: "HUB_UNREACHABLE" });
  rig.connect();
  rig.pass(10_000);
  expect(rig.last("report")?.report.trouble?.saw).toContain("no connection within 10 s");
});

test("an agent that was stopped itself does not blame the hub for the time it was away", () => {
  const rig = new Rig().connect();
  rig.apply({ is: "opened" });
  rig.clock.stall(60_000);
  rig.pass(1);
  expect(rig.state.phase.at).toBe("greeting");
  expect(
    kinds(rig.apply({ is: "welcome", welcome: { intervalMs: 0, epoch: 1n, durable: 0n, window: 0, lastSeq: 0n } })),
  ).toContain("heartbeat");
});

test("a hub's Move is honoured: closed at once, back within the time it gave, spread over all of it", () => {
  const waits = Array.from({ length: 200 }, (_, seed) => {
    const rig = new Rig({ seed }).connect();
    rig.welcome();
    rig.pass(60_000);
    expect(kinds(rig.apply({ is: "move", withinMs: 8_000, because: "hub_stop" }))).toEqual(["close", "report"]);
    const { phase } = rig.state;
    return phase.at === "offline" ? phase.retryAtMs - rig.clock.monotonicMs() : -1;
  });
  expect(Math.min(...waits)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...waits)).toBeLessThan(8_000);
  expect(Math.max(...waits)).toBeGreaterThan(7_000);
  const rig = new Rig().connect();
  rig.welcome();
  rig.apply({ is: "move", withinMs: 1_000, because: "hub_stop" });
  rig.connect().apply({ is: "opened" });
  expect(rig.last("hello")).toMatchObject({ because: "moved" });
});

test("a hub that sends everybody away for ever is asked again within ten minutes, and a hasty one every few seconds at most", () => {
  const rig = new Rig().connect();
  rig.welcome();
  rig.apply({ is: "move", withinMs: 1e12, because: "admission" });
  expect(rig.state.phase).toMatchObject({ at: "offline" });
  if (rig.state.phase.at === "offline") {
    expect(rig.state.phase.retryAtMs).toBeLessThan(rig.clock.monotonicMs() + bounds.comeBackMs);
  }
  const hasty = new Rig();
  for (let n = 0; n < 200; n += 1) {
    hasty.connect().welcome();
    hasty.apply({ is: "move", withinMs: 1, because: "admission" });
  }
  expect(hasty.clock.monotonicMs()).toBeGreaterThan(200 * 1_000);
});

test("a node whose newest session is another one says NODE_ID_TAKEN and stays away longer each time", () => {
  const rig = new Rig();
  for (let n = 0; n < 8; n += 1) {
    rig.connect().welcome();
    rig.apply({ is: "move", withinMs: 100, because: "newer_session" });
  }
  expect(rig.last("report")?.report.trouble).toMatchObject({ code: "NODE_ID_TAKEN" });
  expect(rig.state.failures).toBe(8);
});

test("the same failure is news once, another one is news again, and so is the loss of a session", () => {
  const rig = new Rig();
  const news: boolean[] = [];
  const fail = (event: Event) => {
    rig.connect().apply(event);
    news.push(rig.last("report")?.report.news ?? false);
  };
  fail(unreachableHub);
  fail(unreachableHub);
  fail({ is: "failed", code: "HUB_UNTRUSTED", saw: "self-signed" });
  fail({ is: "failed", code: "HUB_UNTRUSTED", saw: "self-signed" });
  rig.connect().welcome();
  rig.apply(unreachableHub);
  news.push(rig.last("report")?.report.news ?? false);
  fail(unreachableHub);
  expect(news).toEqual([true, false, true, false, true, false]);
});

test("a guess is believed when it comes twice in a row", () => {
  const rig = new Rig();
  const guess: Event = { is: "failed", code: "CERT_REFUSED", saw: "closed after the handshake", guess: true };
  rig.connect().apply(guess);
  expect(rig.last("report")?.report.trouble).toMatchObject({ code: "HUB_UNREACHABLE" });
  rig.connect().apply(guess);
  expect(rig.last("report")?.report.trouble).toMatchObject({ code: "CERT_REFUSED" });
});

test("PHX-13 a refusal that cannot mend itself is tried again all the same, slowly", () => {
  const rig = new Rig();
  for (let n = 0; n < 50; n += 1) rig.connect().apply({ is: "failed", code: "INCARNATION_OLD", saw: "older life" });
  expect(rig.clock.monotonicMs()).toBeGreaterThan(50 * 60_000);
  expect(rig.clock.monotonicMs()).toBeLessThan(50 * defaults.slowCapMs);
  rig.connect().welcome();
  expect(rig.open.beats).toBe(1);
});

test("status changes are sent at most once a second, and the last one is never lost", () => {
  const rig = new Rig().connect();
  rig.welcome();
  for (let n = 0; n < 50; n += 1) {
    rig.apply({ is: "statusChanged" });
    rig.pass(100);
  }
  rig.pass(2_000);
  expect(rig.times("status").length).toBeGreaterThanOrEqual(5);
  expect(rig.times("status").length).toBeLessThanOrEqual(7);
  expect(rig.open.statusDue).toBe(false);
});

test("a store that is older than what the hub has of it is reported, and nothing of it is sent or forgotten", () => {
  const rig = new Rig().connect();
  const effects = rig.welcome({ durable: 900n, lastSeq: 40n });
  expect(kinds(effects)).toEqual(["setHubEpoch", "report", "heartbeat", "status"]);
  expect(rig.last("report")?.report).toMatchObject({ state: "connected", trouble: { code: "STORE_RESTORED" } });
  rig.apply({ is: "appended" });
  rig.apply({ is: "ack", through: 41n, lastSeq: 41n });
  rig.pass(600_000);
  expect(rig.times("records")).toEqual([]);
  expect(rig.times("acknowledge")).toEqual([]);
  expect(rig.times("heartbeat").length).toBeGreaterThan(39);
});

test("an Ack for records that do not exist, or were never sent, makes nothing be forgotten", () => {
  const rig = new Rig().connect();
  rig.welcome({ lastSeq: 50n });
  rig.apply({ is: "sent", through: 10n, count: 10 });
  rig.apply({ is: "ack", through: 1_000n, lastSeq: 50n });
  expect(rig.times("acknowledge")).toEqual([]);
  expect(rig.last("report")?.report.trouble).toMatchObject({ code: "LINK_PROTOCOL" });
  rig.apply({ is: "ack", through: 50n, lastSeq: 50n });
  expect(rig.last("acknowledge")).toMatchObject({ through: 10n });
});

test("a hub that takes records and acknowledges nothing is said to, and the session lives on", () => {
  const rig = new Rig().connect();
  rig.welcome({ lastSeq: 10n });
  rig.apply({ is: "sent", through: 10n, count: 10 });
  rig.pass(60_000);
  expect(rig.last("report")?.report).toMatchObject({ state: "connected", trouble: { code: "TIMED_OUT" } });
  rig.apply({ is: "ack", through: 10n, lastSeq: 10n });
  expect(rig.last("report")?.report.trouble).toBeUndefined();
});

test("an outbox that cannot be read is read again five seconds later", () => {
  const rig = new Rig().connect();
  rig.welcome({ lastSeq: 10n });
  rig.apply({ is: "unread" });
  rig.apply({ is: "appended" });
  rig.pass(4_999);
  expect(rig.times("records")).toHaveLength(1);
  rig.pass(1);
  expect(rig.times("records")).toHaveLength(2);
});

test("a record that is appended while the store is being read is sent, although that read found nothing", () => {
  const rig = new Rig().connect();
  rig.welcome();
  rig.apply({ is: "appended" });
  rig.apply({ is: "sent", through: 0n, count: 0 });
  expect(rig.times("records")).toHaveLength(2);
  rig.apply({ is: "sent", through: 0n, count: 0 });
  rig.pass(60_000);
  expect(rig.times("records")).toHaveLength(2);
});

test("after Welcome the backlog begins behind what the hub has, and that is forgotten", () => {
  const rig = new Rig().connect();
  rig.welcome({ durable: 40n, lastSeq: 90n });
  expect(rig.last("acknowledge")).toMatchObject({ through: 40n });
  expect(rig.last("records")).toMatchObject({ after: 40n, limit: 100 });
});

test("orders of an older hub, for another life, without time or of an unknown kind are refused by name", () => {
  const refused = (event: Event) => {
    const rig = new Rig({ hubEpoch: 5n }).connect();
    rig.welcome({ epoch: 5n });
    rig.apply(event);
    return rig.last("refuse")?.because ?? rig.last("execute")?.do;
  };
  expect(refused(order({ hubEpoch: 4n }))).toBe("old_epoch");
  expect(refused(order({ hubEpoch: 5n, targetIncarnation: 2n }))).toBe("wrong_incarnation");
  expect(refused(order({ hubEpoch: 5n, validFor: durationFromMs(0) }))).toBe("expired");
  expect(refused(order({ hubEpoch: 5n, action: { case: undefined } }))).toBe("unknown_action");
  expect(refused(order({ hubEpoch: 5n }))).toBe("execute");
});

test("a higher epoch is stored before the order that carries it is executed", () => {
  const rig = new Rig().connect();
  rig.welcome();
  expect(kinds(rig.apply(order({ hubEpoch: 9n })))).toEqual(["setHubEpoch", "execute"]);
  rig.apply(order({ id: "o2", hubEpoch: 8n }));
  expect(rig.last("refuse")).toMatchObject({ because: "old_epoch" });
  expect(rig.last("execute")?.accepted.untilBootMs).toBe(65_000);
});

test("a stop says goodbye, waits for the hub at most two seconds, and never connects again", () => {
  const rig = new Rig().connect();
  rig.welcome();
  rig.apply({ is: "stopped", because: "upgrade", workloadsContinue: true });
  expect(rig.last("goingAway")).toMatchObject({ because: "upgrade", workloadsContinue: true });
  rig.pass(1_999);
  expect(rig.state.phase.at).toBe("leaving");
  rig.pass(1);
  expect(rig.state.phase.at).toBe("left");
  rig.pass(3_600_000);
  expect(rig.times("connect")).toHaveLength(1);
  const greeting = new Rig().connect();
  greeting.apply({ is: "opened" });
  expect(kinds(greeting.apply({ is: "stopped", because: "stop", workloadsContinue: true }))).toContain("goingAway");
  const offline = new Rig();
  offline.apply({ is: "stopped", because: "stop", workloadsContinue: true });
  expect(offline.state.phase.at).toBe("left");
});

/** What a world of hub, line and store may do to a session, in any order. */
const anything = fc.oneof(
  { weight: 6, arbitrary: fc.record({ is: fc.constant("pass"), ms: fc.nat(20_000) }) },
  { weight: 4, arbitrary: fc.record({ is: fc.constant("append"), count: fc.integer({ min: 1, max: 300 }) }) },
  { weight: 4, arbitrary: fc.record({ is: fc.constant("hubStores"), batches: fc.nat(4) }) },
  { weight: 3, arbitrary: fc.record({ is: fc.constant("hubAcks") }) },
  { weight: 4, arbitrary: fc.record({ is: fc.constant("written") }) },
  { weight: 1, arbitrary: fc.record({ is: fc.constant("lose") }) },
  { weight: 1, arbitrary: fc.record({ is: fc.constant("move") }) },
  { weight: 1, arbitrary: fc.record({ is: fc.constant("unread") }) },
);

test("whatever hub, line and store do: every record arrives, none is forgotten before it is durable, the window holds", () => {
  fc.assert(
    fc.property(
      fc.integer(),
      fc.integer({ min: 1, max: 120 }),
      fc.array(anything, { maxLength: 60 }),
      (seed, window, steps) => {
        const world = new World(new Rig({ seed, chunkRecords: 40 }), window);
        for (const one of steps) world.do(one);
        // Then all faults end, and soon all is calm.
        for (let n = 0; n < 2_000 && world.hub < world.last; n += 1) {
          world.do({ is: "pass", ms: 200 });
          world.do({ is: "written" });
          world.do({ is: "hubStores", batches: 9 });
          world.do({ is: "hubAcks" });
        }
        expect(world.hub).toBe(world.last);
        expect(world.forgotten).toBeLessThanOrEqual(world.hub);
        for (const { state, event, nowMs, after, effects } of world.rig.steps) {
          expect(step(world.rig.policy, structuredClone(state), event, nowMs)).toEqual({ state: after, effects });
        }
      },
    ),
    { numRuns: 400 },
  );
});

/** A store, a line and a hub around a session: the hub stores what arrives in order and acknowledges it when told to. */
class World {
  readonly rig: Rig;
  readonly #window: number;
  last = 0n;
  hub = 0n;
  forgotten = 0n;
  #line: { after: bigint; through: bigint }[] = [];
  #seen = 0;

  constructor(rig: Rig, window: number) {
    this.rig = rig;
    this.#window = window;
  }

  do(one: { is: string; ms?: number; count?: number; batches?: number }): void {
    const { rig } = this;
    if (one.is === "pass") rig.pass(one.ms ?? 0);
    if (one.is === "append") {
      this.last += BigInt(one.count ?? 0);
      rig.apply({ is: "appended" });
    }
    if (one.is === "written") rig.apply({ is: "written" });
    if (one.is === "hubStores") {
      for (const { through } of this.#line.splice(0, one.batches ?? 0)) if (through > this.hub) this.hub = through;
    }
    if (one.is === "hubAcks") rig.apply({ is: "ack", through: this.hub, lastSeq: this.last });
    if (one.is === "lose") rig.apply(unreachableHub);
    if (one.is === "move") rig.apply({ is: "move", withinMs: 2_000, because: "hub_stop" });
    this.#react(one.is === "unread");
    if (rig.state.phase.at === "connected") expect(inFlight(rig.open.backlog)).toBeLessThanOrEqual(this.#window);
  }

  /** What driver, store and hub do about the effects. */
  #react(storeFails: boolean): void {
    const { rig } = this;
    while (this.#seen < rig.done.length) {
      const effect = rig.done[this.#seen]?.effect;
      this.#seen += 1;
      if (effect?.do === "connect") {
        rig.welcome({ durable: this.hub, lastSeq: this.last, window: this.#window });
      } else if (effect?.do === "close") {
        this.#line = [];
      } else if (effect?.do === "acknowledge") {
        expect(effect.through).toBeLessThanOrEqual(this.hub);
        if (effect.through > this.forgotten) this.forgotten = effect.through;
      } else if (effect?.do === "records" && storeFails) {
        rig.apply({ is: "unread" });
      } else if (effect?.do === "records") {
        // Nothing that was forgotten is asked for again: it could not be sent.
        expect(effect.after).toBeGreaterThanOrEqual(this.forgotten);
        const through = min(this.last, effect.after + BigInt(effect.limit));
        if (through > effect.after) this.#line.push({ after: effect.after, through });
        rig.apply({ is: "sent", through, count: Number(through - effect.after) });
      }
    }
  }
}

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}
