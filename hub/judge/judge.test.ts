import { Fault } from "@blueflame/shared/errors/fault.ts";
import { seeded } from "@blueflame/shared/random/random.ts";
import { memoryLog } from "@blueflame/shared/store/memory/memory-log.ts";
import { memoryState } from "@blueflame/shared/store/memory/memory-state.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { expect, test } from "vitest";
import { hubLog } from "../../test/support/hub.ts";
import { budgetDefaults } from "../actions/budget.ts";
import { massPolicyOf } from "../escalation/mass.ts";
import { type Policy, policyOf } from "../escalation/policy.ts";
import { levelOf } from "../escalation/state.ts";
import type { Alert } from "../notify/alert.ts";
import { type HubStore, openHubStore } from "../store/hub-store.ts";
import type { NodeRow } from "../store/rows.ts";
import { Judge, type JudgePorts } from "./judge.ts";
import { replay } from "./replay.ts";
import { restore } from "./restore.ts";
import { startSweeps } from "./sweeps.driver.ts";

/** A hub's judge over a real store in memory, on virtual time; `did` lists what reached the world, in order. */
async function judged(given: Partial<JudgePorts> & { policy?: Partial<Policy> } = {}, memory = newMemory()) {
  const clock = new VirtualClock(1_000_000);
  const store = await openHubStore(memory.state, memory.log, () => clock.wallMs());
  const policy = policyOf({ secondPath: true, respawn: true, ...given.policy });
  const did: string[] = [];
  const told: Alert[] = [];
  const ports: JudgePorts = {
    clock,
    random: seeded(7),
    policyOf: () => policy,
    mass: massPolicyOf(policy),
    budget: budgetDefaults,
    epoch: store.epoch,
    save: (step) => store.save(step),
    send(nodeId, order) {
      did.push(`order ${order.action.case} to ${nodeId}`);
      return true;
    },
    async askSecondPath(nodeId) {
      did.push(`ask ${nodeId}`);
      return { alive: false, because: "no answer" };
    },
    async respawn(nodeId, attempt) {
      did.push(`respawn ${nodeId} ${attempt}`);
      return { ok: true, because: "started" };
    },
    tell(alert) {
      did.push(`tell ${alert.kind} ${alert.node}`);
      told.push(alert);
    },
    log: hubLog(),
    nodeChanged: () => {},
    fatal: (error) => did.push(`fatal ${String(error)}`),
    ...given,
  };
  const judge = new Judge(ports);
  return { judge, clock, store, did, told, memory };
}
const newMemory = () => ({ state: memoryState(), log: memoryLog() });

const row = (id: string, site = "here"): NodeRow => ({
  id,
  site,
  labels: {},
  incarnation: 1n,
  session: 1n,
  bootId: "b",
  version: "test",
  inventory: undefined,
  seenWallMs: 0,
  levelSinceWallMs: 0,
  levelBecause: "",
});

/** A node with an open session that has beaten once. */
async function join(judge: Judge, store: HubStore, id: string, site = "here") {
  await store.save({ nodes: [row(id, site)] });
  const entry = judge.add(row(id, site), undefined);
  judge.groups.join(entry, undefined);
  entry.connected = true;
  judge.step(entry, { is: "sessionOpened", incarnation: 1 });
  judge.beat(entry, "healthy");
  return entry;
}
/** Lets time pass as the hub does: a sweep each second, and everything written and done after it. */
async function pass(judge: Judge, clock: VirtualClock, seconds: number) {
  for (let n = 0; n < seconds; n++) {
    clock.advance(1_000);
    judge.sweep();
    await settle(judge);
  }
}
async function settle(judge: Judge) {
  for (let turn = 0; turn < 5; turn++) {
    await judge.settled();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test("PHX-2 at 15 s a beat the levels come after 18, 48 and 60 s, with the order, the alert and the respawn in this order", async () => {
  const { judge, clock, store, did } = await judged();
  const entry = await join(judge, store, "edge-1");
  const seen: string[] = [];
  for (let second = 1; second <= 62; second++) {
    const before = levelOf(entry.state);
    await pass(judge, clock, 1);
    const now = levelOf(entry.state);
    if (now !== before) seen.push(`${second} s ${now}`);
  }
  expect(seen).toEqual(["19 s YELLOW", "49 s ORANGE", "61 s RED"]);
  expect(did).toEqual(["order restartAgent to edge-1", "tell red edge-1", "ask edge-1", "respawn edge-1 2"]);
  judge.beat(entry, "healthy");
  clock.advance(1_000);
  judge.beat(entry, "healthy");
  await settle(judge);
  expect(levelOf(entry.state)).toBe("GREEN");
  const decisions = await store.decisions({ limit: 1_000 });
  expect(new Set(decisions.map(({ machine }) => machine))).toEqual(
    new Set(["hub/escalation", "hub/budget", "hub/order"]),
  );
  for (const record of decisions) expect(replay(record)).toEqual({ same: true, output: record.outputJson });
});

test("nothing reaches the world before the decision behind it is durable", async () => {
  const gate = Promise.withResolvers<void>();
  let wait = false;
  const { judge, clock, store, did } = await judged({
    async save(step) {
      if (wait) await gate.promise;
      return store.save(step);
    },
  });
  await join(judge, store, "edge-1");
  await settle(judge);
  wait = true;
  clock.advance(61_000);
  judge.sweep();
  for (let n = 0; n < 20; n++) await new Promise((resolve) => setImmediate(resolve));
  expect(did).toEqual([]);
  gate.resolve();
  await settle(judge);
  expect(did).toContain("tell red edge-1");
  const states = (await store.remembered()).states.get("edge-1");
  expect(states).toMatchObject({ state: { at: "red" } });
});

test("while the store refuses, decisions wait and are done once when it takes them again", async () => {
  let refuse = 0;
  const { judge, clock, store, did } = await judged({
    async save(step) {
      if (refuse-- > 0) throw new Fault("STORE_WRITE_FAILED", "no space left");
      return store.save(step);
    },
  });
  await join(judge, store, "edge-1");
  await settle(judge);
  refuse = 3;
  clock.advance(61_000);
  judge.sweep();
  await new Promise((resolve) => setImmediate(resolve));
  expect(did).toEqual([]);
  for (let n = 0; n < 5; n++) {
    clock.advance(1_000);
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
  }
  await settle(judge);
  expect(did.filter((deed) => deed.startsWith("tell"))).toEqual(["tell red edge-1"]);
  expect((await store.audit({ limit: 100 })).filter(({ action }) => action === "alert.red")).toHaveLength(1);
});

test("a hub that was overtaken does nothing any more, and says so once", async () => {
  const { judge, clock, store, did, memory } = await judged();
  const entry = await join(judge, store, "edge-1");
  await settle(judge);
  await openHubStore(memory.state, memory.log, () => 0); // another hub takes the next epoch
  clock.advance(61_000);
  judge.sweep();
  await settle(judge);
  judge.step(entry, { is: "sweep" });
  await settle(judge);
  expect(did).toEqual([expect.stringMatching(/^fatal .*STORE_LOCKED/)]);
});

test("an alert that was decided and not told, because the hub died in between, is told by the next one, once", async () => {
  const memory = newMemory();
  const first = await judged({ tell: () => undefined }, memory);
  await first.store.save({
    alerts: [{ id: "a1", at: "", kind: "red", node: "edge-1", site: "here", because: "silent", incidentId: "" }],
  });
  const second = await judged({}, memory);
  await restore(second.judge, second.store);
  await settle(second.judge);
  expect(second.told.map(({ id }) => id)).toEqual(["a1"]);
  const third = await judged({}, memory);
  await restore(third.judge, third.store);
  expect(third.told).toEqual([]);
});

test("a restarted hub gives every node its whole silence again, and a RED one no second alert", async () => {
  const memory = newMemory();
  const first = await judged({}, memory);
  const red = await join(first.judge, first.store, "edge-red");
  const well = await join(first.judge, first.store, "edge-well", "elsewhere");
  for (let second = 0; second < 61; second++) {
    await pass(first.judge, first.clock, 1);
    first.judge.beat(well, "healthy");
  }
  expect([levelOf(red.state), levelOf(well.state)]).toEqual(["RED", "GREEN"]);
  await settle(first.judge);

  const second = await judged({}, memory);
  await restore(second.judge, second.store);
  const levels = () => [...second.judge.entries.values()].map(({ id, state }) => `${id} ${levelOf(state)}`).sort();
  await pass(second.judge, second.clock, 17);
  expect(levels()).toEqual(["edge-red RED", "edge-well GREEN"]);
  await pass(second.judge, second.clock, 60);
  expect(levels()).toEqual(["edge-red RED", "edge-well RED"]);
  expect(second.told.map(({ node }) => node)).toEqual(["edge-well"]);
});

test("after a start, agents that come back within their longest wait turn nothing YELLOW", async () => {
  const memory = newMemory();
  const first = await judged({}, memory);
  for (let n = 0; n < 20; n++) await join(first.judge, first.store, `edge-${n}`);
  await settle(first.judge);
  const second = await judged({}, memory);
  await restore(second.judge, second.store);
  second.judge.settle(30_000);
  const entries = [...second.judge.entries.values()];
  const [late] = entries;
  const seen = new Set<string>();
  for (let at = 1; at <= 46; at++) {
    await pass(second.judge, second.clock, 1);
    for (const [n, entry] of entries.entries()) {
      if (n > 0 && at % 15 === n % 15 && at >= (n % 30) + 1) second.judge.beat(entry, "healthy");
      if (entry !== late) seen.add(levelOf(entry.state));
    }
  }
  expect([...seen]).toEqual(["GREEN"]);
  expect(second.judge.groups.frozen()).toEqual([]);
  expect(late && levelOf(late.state)).toBe("GREEN");
  await pass(second.judge, second.clock, 3); // 30 s of patience and 18 s of silence
  expect(late && levelOf(late.state)).toBe("YELLOW");
});

test("a sweep that comes late moves every deadline by that, and judges only after the loop has polled", async () => {
  const clock = new VirtualClock(1_000_000);
  const seen: string[] = [];
  const sweeps = startSweeps({
    clock,
    everyMs: 1_000,
    sweep: () => seen.push("sweep"),
    amnesty: (byMs) => seen.push(`amnesty ${byMs}`),
    look: () => {},
    log: hubLog(),
  });
  const turn = async () => {
    for (let n = 0; n < 4; n++) await new Promise((resolve) => setImmediate(resolve));
  };
  clock.advance(1_000);
  expect(seen).toEqual([]);
  await turn();
  expect(seen).toEqual(["sweep"]);
  clock.stall(4_000);
  clock.advance(0);
  await turn();
  expect(seen.slice(1)).toEqual(["amnesty 3000", "sweep"]);
  clock.suspend(600_000);
  clock.advance(1_000);
  await turn();
  expect(seen.slice(3)).toEqual(["amnesty 600000", "sweep"]);
  expect(sweeps.worstLagMs()).toBe(3_000);
  sweeps.stop();
  clock.advance(5_000);
  await turn();
  expect(seen).toHaveLength(5);
});

test("ten thousand nodes that beat in time cost a sweep no step and no write", async () => {
  let writes = 0;
  const { judge, clock, store } = await judged({
    async save(step) {
      writes += 1;
      return store.save(step);
    },
  });
  const entries = Array.from({ length: 10_000 }, (_, n) => {
    const entry = judge.add(row(`edge-${n}`, `site-${n % 10}`), undefined);
    judge.groups.join(entry, undefined);
    judge.beat(entry, "healthy");
    return entry;
  });
  await settle(judge);
  writes = 0;
  for (let second = 0; second < 60; second++) {
    clock.advance(1_000);
    if (second % 15 === 0) for (const entry of entries) judge.beat(entry, "healthy");
    judge.sweep();
  }
  await settle(judge);
  expect(writes).toBe(0);
  expect(entries.every(({ state }) => levelOf(state) === "GREEN")).toBe(true);
});

test("a mass silence of ten thousand nodes, whose decision no log can take, does not end the hub", async () => {
  const { judge, clock, store, did } = await judged();
  const long = "x".repeat(50);
  for (let n = 0; n < 10_000; n++) {
    const entry = judge.add(row(`edge-${n}-${long}`), undefined);
    judge.groups.join(entry, undefined);
    judge.beat(entry, "healthy");
  }
  await pass(judge, clock, 20);
  expect(did).toEqual(["tell mass_silence "]);
  const [decision] = (await store.decisions({ limit: 500 })).filter(({ machine }) => machine === "hub/mass");
  expect(decision?.because).toMatch(/10000 of 10000 nodes .* larger than any record may be: left out/);
  expect(decision && replay(decision).same).toBe(false);
});

test("nodes that a mass silence froze, and that come back under another site, are judged again once it is over", async () => {
  const { judge, clock, store } = await judged();
  const old = [];
  for (let n = 0; n < 4; n++) old.push(await join(judge, store, `edge-${n}`, "old"));
  await join(judge, store, "other", "elsewhere");
  await pass(judge, clock, 20);
  expect(judge.groups.frozen()).toContain("all");
  // The site was renamed, and everybody belongs to it now.
  for (const entry of judge.entries.values()) {
    const left = entry.row.site;
    entry.row = { ...entry.row, site: "new" };
    judge.groups.join(entry, left);
    judge.step(entry, { is: "sessionOpened", incarnation: 1 });
  }
  for (let second = 0; second < 60; second++) {
    for (const entry of judge.entries.values()) judge.beat(entry, "healthy");
    await pass(judge, clock, 1);
  }
  expect(judge.groups.frozen()).toEqual([]);
  expect([...judge.entries.values()].map(({ state }) => state.frozenBy)).toEqual(Array(5).fill([]));
  const [first] = old;
  for (let second = 0; second < 65; second++) {
    for (const entry of judge.entries.values()) if (entry !== first) judge.beat(entry, "healthy");
    await pass(judge, clock, 1);
  }
  expect(first && levelOf(first.state)).toBe("RED");
});

test.each([
  ["the nodes were written and the freeze was not", "fleet", "RED"],
  ["the freeze was written and the nodes were not", "states", "YELLOW"],
] as const)(
  "a hub that died in the middle of a freeze (%s) leaves no node that nobody judges",
  async (_, lost, level) => {
    const memory = newMemory();
    let dying = false;
    const first: Awaited<ReturnType<typeof judged>> = await judged(
      { save: (step) => first.store.save(dying ? { ...step, [lost]: new Map() } : step) },
      memory,
    );
    for (let n = 0; n < 4; n++) await join(first.judge, first.store, `edge-${n}`);
    await settle(first.judge);
    dying = true;
    await pass(first.judge, first.clock, 19);
    expect(first.judge.groups.frozen()).toEqual(["site/here"]);
    const second = await judged({}, memory);
    await restore(second.judge, second.store);
    const frozen = [...second.judge.entries.values()].filter(({ state }) => state.frozenBy.length > 0);
    expect(frozen).toHaveLength(second.judge.groups.frozen().length === 0 ? 0 : 4);
    const [lonely, ...others] = second.judge.entries.values();
    for (let at = 0; at < 70; at++) {
      if (lost === "fleet") for (const entry of others) second.judge.beat(entry, "healthy");
      await pass(second.judge, second.clock, 1);
    }
    expect(lonely && levelOf(lonely.state)).toBe(level);
  },
);
