import { OrderSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { Rig, unreachableHub } from "../../test/support/session-rig.ts";
import { bounds, defaults } from "./policy.ts";
import type { Effect, Event } from "./state.ts";

const kinds = (effects: readonly Effect[]) => effects.map((effect) => effect.do).filter((kind) => kind !== "wakeAt");
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

test("a heartbeat that was due when the store opened late told the hub what the opening had written, before the Hello could tell what was found", () => {
  const rig = new Rig().connect();
  rig.welcome({ intervalMs: 1_000 });
  rig.clock.stall(5_400);
  expect(kinds(rig.apply({ is: "storeOpened" }))).toEqual(["close", "report", "connect"]);
  expect(kinds(rig.apply({ is: "opened" }))).toEqual(["hello"]);
});

test("the first try is drawn too: agents that get power together do not connect together", () => {
  const times = Array.from({ length: 200 }, (_, seed) => new Rig({ seed }).connect().times("connect")[0] ?? 0);
  expect(Math.min(...times)).toBeGreaterThanOrEqual(1_000);
  expect(Math.max(...times)).toBeLessThanOrEqual(1_000 + defaults.baseMs + 10);
  expect(new Set(times).size).toBeGreaterThan(40);
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
  const welcome = { intervalMs: 0, epoch: 1n, durable: 0n, window: 0, recordsPerSecond: 0, lastSeq: 0n, behind: false };
  expect(kinds(rig.apply({ is: "welcome", welcome }))).toContain("heartbeat");
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

test("a hub that comes back is tried again within two of its intervals, so that a quick fleet is not called lost", () => {
  for (const [intervalMs, atMostMs] of [
    [500, 1_000],
    [5_000, 10_000],
    [15_000, 30_000],
    [600_000, 30_000],
  ] as const) {
    const rig = new Rig();
    rig.connect().welcome({ intervalMs });
    let longestMs = 0;
    for (let n = 0; n < 60; n += 1) {
      rig.apply(unreachableHub);
      const lostMs = rig.clock.monotonicMs();
      rig.connect();
      longestMs = Math.max(longestMs, rig.clock.monotonicMs() - lostMs);
    }
    expect(longestMs).toBeLessThanOrEqual(atMostMs + 10);
    expect(longestMs).toBeGreaterThan(atMostMs / 2);
  }
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

test("PHX-9 a store that the hub remembers in a later state is reported, and nothing of it is sent", () => {
  const rig = new Rig().connect();
  expect(kinds(rig.welcome({ behind: true }))).toContain("storeRolledBack");
  expect(rig.last("report")?.report).toMatchObject({ trouble: { code: "STORE_RESTORED" } });
  rig.apply({ is: "appended" });
  rig.pass(60_000);
  expect(rig.times("records")).toEqual([]);
});

test("a store that is older than what the hub has of it is reported, and nothing of it is sent or forgotten", () => {
  const rig = new Rig().connect();
  const effects = rig.welcome({ durable: 900n, lastSeq: 40n });
  expect(kinds(effects)).toEqual(["setHubEpoch", "storeRolledBack", "report", "heartbeat", "status"]);
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
