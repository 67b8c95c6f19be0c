import { budgetDefaults } from "@blueflame/hub/actions/budget.ts";
import { massPolicyOf } from "@blueflame/hub/escalation/mass.ts";
import { type Policy, policyOf } from "@blueflame/hub/escalation/policy.ts";
import { Judge, type JudgePorts } from "@blueflame/hub/judge/judge.ts";
import type { Alert } from "@blueflame/hub/notify/alert.ts";
import { type HubStore, openHubStore } from "@blueflame/hub/store/hub-store.ts";
import type { NodeRow } from "@blueflame/hub/store/rows.ts";
import { seeded } from "@blueflame/shared/random/random.ts";
import { memoryLog } from "@blueflame/shared/store/memory/memory-log.ts";
import { memoryState } from "@blueflame/shared/store/memory/memory-state.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { hubLog } from "./hub.ts";

/** A hub's judge over a real store in memory, on virtual time; `did` lists what reached the world, in order. */
export async function judged(given: Partial<JudgePorts> & { policy?: Partial<Policy> } = {}, memory = newMemory()) {
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
export const newMemory = () => ({ state: memoryState(), log: memoryLog() });

export const row = (id: string, site = "here"): NodeRow => ({
  id,
  site,
  labels: {},
  incarnation: 1n,
  session: 1n,
  bootId: "b",
  version: "test",
  inventory: undefined,
  seenWallMs: 0,
  storeGeneration: "",
  storeEpoch: 0n,
  levelSinceWallMs: 0,
  levelBecause: "",
});

/** A node with an open session that has beaten once. */
export async function join(judge: Judge, store: HubStore, id: string, site = "here") {
  await store.save({ nodes: [row(id, site)] });
  const entry = judge.add(row(id, site), undefined);
  judge.groups.join(entry, undefined);
  entry.connected = true;
  judge.step(entry, { is: "sessionOpened", incarnation: 1 });
  judge.beat(entry, "healthy");
  return entry;
}
/** Lets time pass as the hub does: a sweep each second, and everything written and done after it. */
export async function pass(judge: Judge, clock: VirtualClock, seconds: number) {
  for (let n = 0; n < seconds; n++) {
    clock.advance(1_000);
    judge.sweep();
    await settle(judge);
  }
}
export async function settle(judge: Judge) {
  for (let turn = 0; turn < 5; turn++) {
    await judge.settled();
    await new Promise((resolve) => setImmediate(resolve));
  }
}
