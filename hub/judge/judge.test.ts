import { Fault } from "@blueflame/shared/errors/fault.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { expect, test } from "vitest";
import { hubLog } from "../../test/support/hub.ts";
import { join, judged, newMemory, pass, row, settle } from "../../test/support/judged.ts";
import { levelOf } from "../escalation/state.ts";
import { openHubStore } from "../store/hub-store.ts";
import { replay } from "./replay.ts";
import { restore } from "./restore.ts";
import { startSweeps } from "./sweeps.driver.ts";

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

test("a store that refuses for hours does not fill the hub's memory, and what was dropped is said", async () => {
  let refuse = true;
  const { judge, clock, store } = await judged({
    async save(step) {
      if (refuse) throw new Fault("STORE_WRITE_FAILED", "no space left");
      return store.save(step);
    },
  });
  const act = (n: number) => {
    judge.carrier.act(judge.now(), { action: "session.open", target: "x", because: `${n}`, nodeId: "edge-1" });
    judge.write();
  };
  act(0);
  for (let n = 1; n <= 50_007; n++) act(n);
  await new Promise((resolve) => setImmediate(resolve));
  expect(judge.draft.audit).toHaveLength(50_000);
  refuse = false;
  clock.advance(1_000);
  await settle(judge);
  const [newest, ...others] = await store.audit({ limit: 60_000 });
  expect(newest).toMatchObject({ action: "audit.drop", because: expect.stringContaining("8 decisions and audit") });
  expect(others).toHaveLength(50_000);
  expect(others.map(({ because }) => because)).not.toContain("7");
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

test("when a node was heard last was kept at changes of its level only: to the next hub a calm one that was silent for an hour had been gone for months", async () => {
  const { judge, clock, store } = await judged();
  const entry = await join(judge, store, "edge-1");
  await settle(judge);
  const seenWallMs = async () => (await store.remembered()).nodes[0]?.seenWallMs;
  judge.noteHeard();
  await settle(judge);
  expect(await seenWallMs()).toBe(clock.wallMs());
  const first = clock.wallMs();
  clock.advance(3_600_000);
  judge.beat(entry, "healthy");
  judge.noteHeard();
  await settle(judge);
  expect(await seenWallMs()).toBe(first);
  clock.advance(6 * 3_600_000);
  judge.beat(entry, "healthy");
  clock.advance(5_000);
  judge.noteHeard();
  await settle(judge);
  expect(await seenWallMs()).toBe(clock.wallMs() - 5_000);
});
