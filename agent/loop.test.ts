/** What the node answers to the hub and to `down`, over real machines on virtual time. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OrderOutcome, OrderSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { seeded } from "@blueflame/shared/random/random.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { FakeMachine } from "../test/support/fake-process.ts";
import { FakeRemedies } from "../test/support/fake-remedies.ts";
import { MemoryAgentStore, MemoryDisk } from "../test/support/memory-agent-store.ts";
import { specOf } from "../test/support/spec.ts";
import { type NodeParts, RunningNode } from "./loop.ts";
import { openAgentStore } from "./store/agent-store.ts";
import { HalfChanged } from "./store/keys/store-keys.ts";
import type { WorkloadSpec } from "./supervise/spec.ts";
import { fresh, type State } from "./supervise/state.ts";
import { type Supervisor, superviseAll } from "./supervise/supervisor.driver.ts";

const specs = [specOf({ name: "db" }), specOf({ name: "api", dependsOn: ["db"] })];

/** A node whose workloads stand as `states` says, or start. */
async function nodeWith(states: Readonly<Record<string, Partial<State>>>, of: readonly WorkloadSpec[] = specs) {
  const clock = new VirtualClock(1_000_000);
  const machine = new FakeMachine();
  const disk = new MemoryDisk();
  for (const [name, state] of Object.entries(states))
    disk.states.set(name, JSON.stringify({ ...fresh("boot-1", 1), ...state }));
  const supervisor = await superviseAll({
    nodeId: "n1",
    site: "s",
    bootId: "boot-1",
    specs: of,
    store: new MemoryAgentStore(disk, () => undefined),
    processes: machine.attach(),
    signs: { watch: () => undefined, unwatch: () => undefined },
    remedies: new FakeRemedies(of),
    clock,
    random: seeded(1),
    envFor: () => ({}),
    changed: () => undefined,
    log: () => undefined,
  });
  let restarts = 0;
  // What an order and `down` need of a node, and nothing else.
  const parts = {
    supervisor,
    clock,
    random: seeded(2),
    store: { identity: { nodeId: "n1" } },
    arrears: { audit: async () => undefined },
    recovery: { killSwitch: () => false },
    goesDown: async () => undefined,
    restartSelf: () => {
      restarts += 1;
    },
  } as unknown as NodeParts;
  const node = new RunningNode(parts);
  const order = (action: MessageInitShape<typeof OrderSchema>["action"]) =>
    node.forHub().execute(create(OrderSchema, { id: "o1", because: "severity 5", ...(action && { action }) }));
  return {
    node,
    supervisor,
    machine,
    pass: (ms: number) => passing(clock, ms),
    restarts: () => restarts,
    restart: (workload: string) => order({ case: "restartWorkload", value: { workload } }),
    restartAgent: () => order({ case: "restartAgent", value: {} }),
  };
}

async function passing(clock: VirtualClock, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 50) {
    clock.advance(50);
    for (let n = 0; n < 6; n++) await new Promise((resolve) => setImmediate(resolve));
  }
}
const at = (supervisor: Supervisor) => supervisor.names().map((name) => supervisor.state(name).phase.at);

test("an order to restart what the ladder has in hand is answered as it is: a recovery is under way", async () => {
  const remedy = { by: "rung", rung: "config_rollback" } as const;
  const mending = { at: "mending", id: "r1", untilMs: 2_000_000, remedy } as const;
  const { restart, supervisor } = await nodeWith({ api: { phase: mending, because: "crash: exit code 1" } });
  const answer = await restart("api");
  expect(answer).toEqual({
    outcome: OrderOutcome.REFUSED,
    because: "recovery_under_way: mending, crash: exit code 1",
  });
  expect(supervisor.state("api").phase.at).toBe("mending");
});

test("an order to restart what runs is done, and says so without claiming that it is up again", async () => {
  const { restart, supervisor, pass } = await nodeWith({});
  await supervisor.boot();
  await pass(20_000);
  expect(at(supervisor)).toEqual(["running", "running"]);
  expect(await restart("api")).toEqual({ outcome: OrderOutcome.DONE, because: "it is being restarted" });
  expect(await restart("nothing")).toEqual({ outcome: OrderOutcome.REFUSED, because: "not_found" });
});

test("once `down` has begun nothing is started again: not by the hub, a playbook, a person or the workload's own crash", async () => {
  const { node, restart, restartAgent, restarts, supervisor, machine, pass } = await nodeWith({});
  await supervisor.boot();
  await pass(20_000);
  machine.stubborn = true;
  const [db] = machine.alive("db");
  if (db) db.stubborn = true;
  for (const one of machine.alive("api")) one.stubborn = true;
  const down = node.down("anna");
  await pass(100);
  // api takes its time to leave, so db runs still: whatever is asked for meanwhile is refused, and its crash is not healed.
  expect(await restart("db")).toEqual({ outcome: OrderOutcome.REFUSED, because: "going_down" });
  expect(await restartAgent()).toEqual({ outcome: OrderOutcome.REFUSED, because: "going_down" });
  expect(restarts()).toBe(0);
  await expect(node.startWorkload("db", "bob")).rejects.toMatchObject({ code: "CONDITION_FALSE" });
  supervisor.post("db", { is: "restart", who: "playbook:x" });
  supervisor.post("db", { is: "unwell", symptom: "no_progress", because: "stuck" });
  const before = machine.all.length;
  await pass(120_000);
  // What had ended by itself before its turn was not stopped by it.
  expect(await down).toBe(1);
  expect(at(supervisor)).toEqual(["stopped", "stopped"]);
  expect(machine.all.length).toBe(before);
  // Also afterwards, until the process has ended.
  supervisor.post("api", { is: "start", who: "person:bob" });
  await pass(10_000);
  expect(machine.alive()).toEqual([]);
});

test("what waits for its next start when `down` begins does not start before its turn", async () => {
  const backoff = { at: "backoff", untilMs: 1_000_500 } as const;
  const { node, supervisor, machine, pass } = await nodeWith({ db: { phase: backoff } });
  const down = node.down("anna");
  await pass(60_000);
  await down;
  expect([at(supervisor), machine.all.length]).toEqual([["stopped", "stopped"], 0]);
});

test("GRC-7 a store that the hub knew to be rolled back stayed unlocked where the word for its next opening could not be left", async () => {
  const dir = mkdtempSync(join(tmpdir(), "bf-behind-"));
  const clock = realClock();
  const store = await openAgentStore(dir, { clock, random: seeded(3), nodeId: "n1", bootId: "b" });
  try {
    mkdirSync(join(dir, "store.suspect")); // no file can be made there
    let restarts = 0;
    const parts = { store, clock, restartSelf: () => restarts++ } as unknown as NodeParts;
    const hub = new RunningNode(parts).forHub();
    hub.storeRolledBack("the hub remembers a later state of this store");
    expect(store.space("engine").risk().risk.lock).toMatchObject({ cause: "restored" });
    // A person has looked; that the hub says the same at its next connection does not undo it.
    await store.space("engine").release("asha", "compared with the broker");
    hub.storeRolledBack("the hub remembers a later state of this store");
    expect(store.space("engine").risk().risk.lock).toBeNull();
    expect((await store.audit(10)).filter(({ action }) => action === "risk.lock")).toHaveLength(1);
    expect(restarts).toBe(0);
  } finally {
    await store.close();
    rmSync(dir, { recursive: true, force: true });
  }
});

test("a store key that was changed on a disk that refuses left no audit record: it is written once the disk takes it, and says how far the change came", async () => {
  const clock = new VirtualClock(1_000_000);
  const written: { action: string; because: string; actor: string }[] = [];
  let refuses = 3;
  const store = {
    identity: { nodeId: "n1" },
    rotateKey: () => Promise.reject(new HalfChanged("ab12", new Error("EIO"))),
    async appendAudit(records: typeof written) {
      if (refuses-- > 0) throw new Error("EIO");
      written.push(...records);
    },
  };
  const node = new RunningNode({ clock, random: seeded(2), store } as unknown as NodeParts);
  await expect(node.changeStoreKey("kek", "", "anna")).rejects.toMatchObject({ code: "STORE_WRITE_FAILED" });
  await passing(clock, 10_000);
  expect(written).toEqual([]);
  await passing(clock, 30_000);
  expect(written).toMatchObject([{ action: "store.rotate_key", actor: "person:anna" }]);
  expect(written[0]?.because).toContain(
    "the key-encryption key is ab12 from now on, but the earlier one opens the store too",
  );
});
