import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import {
  AuditRecordSchema,
  IncidentSchema,
  IncidentState,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type StartedStore, startStore } from "./deferred-store.ts";

const clock = realClock();
let dir: string;
let opened: boolean[];
const stores: StartedStore[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-deferred-"));
  opened = [];
});
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close();
  rmSync(dir, { recursive: true, force: true });
});

interface Simple {
  readonly at: "running" | "resting";
  readonly n: number;
}
async function start(nodeId: string | undefined = "edge-1", by: Clock = clock): Promise<StartedStore> {
  const store = await startStore(dir, {
    clock: by,
    random: Math.random,
    nodeId,
    bootId: "boot-1",
    isAtRest: (state) => (state as Simple).at === "resting",
    restOf: (state) => ({ at: (state as Simple).at, n: (state as Simple).n }),
    onOpened: (newLife) => opened.push(newLife),
  });
  stores.push(store);
  return store;
}
const save = (store: StartedStore, workload: string, state: Simple) => store.saveStep({ workload, state }, "synced");
const code = (promise: Promise<unknown>) =>
  promise.then(
    () => "taken",
    (error: unknown) => (isFault(error) ? error.code : String(error)),
  );
async function until(holds: () => boolean): Promise<void> {
  for (let n = 0; n < 500 && !holds(); n++) await pause(10);
  expect(holds()).toBe(true);
}
/** Something that is no folder lies in the place of the store: every user sees it refused, also root. */
function block(): () => void {
  renameSync(join(dir, "store"), join(dir, "aside"));
  writeFileSync(join(dir, "store"), "");
  return () => {
    rmSync(join(dir, "store"));
    renameSync(join(dir, "aside"), join(dir, "store"));
  };
}

test("GRC-7 a store that does not open knows who rests, takes nothing, and denies nothing", async () => {
  const first = await start();
  await save(first, "halted", { at: "resting", n: 1 });
  await save(first, "engine", { at: "running", n: 2 });
  await save(first, "back", { at: "resting", n: 3 });
  await save(first, "back", { at: "running", n: 4 });
  const { identity } = first;
  await first.close();
  block();
  const store = await start();
  expect(store.deferred).toBe(true);
  expect(store.identity).toMatchObject({ ...identity, session: identity.session + 1n, previousBootId: "boot-1" });
  expect(await store.workloads()).toEqual([{ name: "halted", state: { at: "resting", n: 1 } }]);
  expect(store.trouble()).toMatch(/^\[STORE_WRITE_FAILED\] /);
  const refused = [
    save(store, "engine", { at: "running", n: 5 }),
    store.forgetWorkload("engine"),
    store.appendAudit([]),
    store.appendReadings([]),
    store.get("engine", "k"),
    store.put("engine", "k", new Uint8Array(), undefined),
    store.incidents(1, false),
    store.audit(1),
    store.decisions(1),
    store.saveTokenHash("engine", "h"),
    store.setHubEpoch(1n),
    store.orderSeen("o"),
    store.rememberOrder("o"),
    store.outbox.acknowledge(1n),
  ];
  expect(new Set(await Promise.all(refused.map(code)))).toEqual(new Set(["STORE_WRITE_FAILED"]));
  expect(await store.outbox.read(0n, 10, 1000)).toEqual([]);
});

test("PHX-9 the file beside the store held whole states of what rests: it holds what a rest needs, and an older version's is read", async () => {
  const first = await start();
  const whole = { at: "resting", n: 1, secret: "canary" } as const;
  await save(first, "halted", whole);
  const file = join(dir, "stopped.json");
  const { sum: _of, ...written } = JSON.parse(readFileSync(file, "utf8"));
  expect(written.resting).toEqual({ halted: { at: "resting", n: 1 } });
  await first.close();
  const older = { ...written, resting: { halted: whole } };
  writeFileSync(file, JSON.stringify(older));
  const unblock = block();
  const store = await start();
  expect(await store.workloads()).toEqual([{ name: "halted", state: whole }]);
  unblock();
  await until(() => !store.deferred);
  await until(() => !readFileSync(file, "utf8").includes("canary")); // the next writing makes it good
});

test("it opens by itself, wakes the uplink, and ends the incidents that nobody knows any more", async () => {
  const first = await start();
  const incident = create(IncidentSchema, {
    id: "i-1",
    workload: "engine",
    revision: 3n,
    state: IncidentState.PROBATION,
  });
  await first.saveStep({ workload: "engine", state: { at: "running" }, incident }, "synced");
  const { session, generation } = first.identity;
  await first.close();
  const unblock = block();
  const store = await start();
  let woken = 0;
  const toldFirst: boolean[] = [];
  const end = store.outbox.onAppend(() => {
    toldFirst.push(opened.length > 0);
    woken++;
  });
  unblock();
  await until(() => !store.deferred);
  await until(() => opened.length > 0);
  expect(opened).toEqual([false]);
  expect(store.trouble()).toBeUndefined();
  expect(store.identity).toMatchObject({ generation, session: session + 1n });
  expect(woken).toBeGreaterThan(0);
  // Else the hub heard what the opening had written before it heard what was found.
  expect(toldFirst[0]).toBe(true);
  await save(store, "engine", { at: "running", n: 9 });
  expect((await store.audit(10)).map(({ action }) => action)).toEqual(["store.opened_late", "audit.begin"]);
  expect(await store.incidents(10, true)).toEqual([]);
  expect((await store.incidents(10, false))[0]).toMatchObject({ id: "i-1", revision: 4n, state: IncidentState.CLOSED });
  end();
  const before = woken;
  await store.saveStep({ workload: "engine", state: { at: "running" }, incident }, "synced");
  expect(woken).toBe(before);
});

test("GRC-7 a stop that is not in the mirror is not acknowledged, and gets there by itself", async () => {
  const store = await start();
  mkdirSync(join(dir, "stopped.json.new")); // the new file cannot be written, the store can
  expect(await code(save(store, "engine", { at: "resting", n: 1 }))).toBe("STORE_WRITE_FAILED");
  expect(store.trouble()).toContain("stopped.json");
  rmSync(join(dir, "stopped.json.new"), { recursive: true });
  await until(() => store.trouble() === undefined);
  expect(readFileSync(join(dir, "stopped.json"), "utf8")).toContain("engine");
});

test("a mirror that lags behind the store is made good by the next start", async () => {
  const first = await start();
  await save(first, "engine", { at: "resting", n: 1 });
  await first.close();
  writeFileSync(join(dir, "stopped.json"), "torn{");
  await start();
  expect(readFileSync(join(dir, "stopped.json"), "utf8")).toContain("engine");
});

test("without a mirror, or with that of another node, a store that does not open is refused", async () => {
  const first = await start();
  await first.close();
  block();
  expect(await code(start("edge-2"))).toBe("DATA_DIR_OF_ANOTHER");
  rmSync(join(dir, "stopped.json"));
  expect(await code(start())).toBe("DATA_DIR_UNUSABLE");
});

test("two agents never guard one directory, whether the store opens or not", async () => {
  const first = await start();
  expect(await code(start())).toBe("STORE_LOCKED");
  await first.close();
  const unblock = block();
  await start();
  expect(await code(start())).toBe("STORE_LOCKED");
  unblock();
});

test("a store that is gone when the disk is back is not made anew, empty, under an agent that guards from memory", async () => {
  await (await start()).close();
  block();
  const store = await start();
  for (const name of ["store", "aside", "store.made"]) rmSync(join(dir, name), { recursive: true });
  await until(() => /STORE_MISSING/.test(store.trouble() ?? ""));
  expect(store.deferred).toBe(true);
  expect(existsSync(join(dir, "store"))).toBe(false);
});

test("an older copy that lies there when the disk is back is another life", async () => {
  await (await start()).close();
  cpSync(join(dir, "store"), join(dir, "older"), { recursive: true });
  await (await start()).close();
  block();
  const store = await start();
  for (const name of ["store", "store.witness"]) rmSync(join(dir, name));
  renameSync(join(dir, "older"), join(dir, "store"));
  await until(() => opened.length > 0);
  expect([opened, store.deferred]).toEqual([[true], false]);
});

test("PRA-7 GRC-8 one start on a full disk does not overwrite what the node remembered, nor what people have yet to be told", async () => {
  const first = await start();
  const remember = (store: StartedStore, key: "learning" | "node" | "alerts", value: unknown) =>
    store.saveStep({ workload: "", memory: { key, value } }, "synced");
  const tell = (store: StartedStore, ...untold: string[]) => store.saveStep({ workload: "engine", untold }, "synced");
  await remember(first, "learning", { lessons: 30 });
  await remember(first, "node", { cases: 1 });
  await tell(first, "old");
  await first.close();
  const unblock = block();
  const store = await start();
  expect(await store.memory("learning")).toBeUndefined();
  expect(await code(tell(store, "while full"))).toBe("STORE_WRITE_FAILED");
  unblock();
  await until(() => opened.length > 0);
  // It has begun with nothing, so nothing that it remembers takes the place of what is there.
  expect(await store.memory("learning")).toBeUndefined();
  expect(await code(remember(store, "learning", { lessons: 0 }))).toBe("STORE_WRITE_FAILED");
  const incident = create(IncidentSchema, { id: "n-1", revision: 1n, state: IncidentState.PROBATION });
  const audit = [create(AuditRecordSchema, { id: "a-1", action: "node.decided" })];
  const step = { workload: "", memory: { key: "node", value: { cases: 0 } }, incident } as const;
  const others = [create(IncidentSchema, { id: "n-2", revision: 1n, state: IncidentState.OPEN })];
  expect(await code(store.saveStep({ ...step, others }, "synced"))).toBe("STORE_WRITE_FAILED");
  await store.saveStep({ ...step, others, audit }, "synced");
  expect(await store.incidents(10, true)).toEqual([]);
  expect((await store.audit(1))[0]?.action).toBe("node.decided");
  const alerts = async () => (await (await next()).memory("alerts")) as string[];
  const next = async () => {
    for (const one of stores.splice(0)) await one.close();
    return start();
  };
  expect(await alerts()).toEqual(["old", "while full"]);
  const last = stores.at(-1) as StartedStore;
  expect(await last.memory("learning")).toEqual({ lessons: 30 });
  expect(await last.memory("node")).toEqual({ cases: 1 });
});

test("GRC-8 alerts that are raised or told after the opening leave those of the earlier agent to the next one", async () => {
  const first = await start();
  await first.saveStep({ workload: "engine", untold: ["old"] }, "synced");
  await first.close();
  const unblock = block();
  const store = await start();
  unblock();
  await until(() => opened.length > 0);
  await save(store, "engine", { at: "running", n: 1 });
  await store.saveStep({ workload: "engine", state: { at: "running", n: 2 }, untold: ["new"] }, "synced");
  await store.saveStep({ workload: "", memory: { key: "alerts", value: [] } }, "synced"); // told, and crossed off
  await store.saveStep({ workload: "engine", untold: ["newer"] }, "synced");
  for (const one of stores.splice(0)) await one.close();
  expect(await (await start()).memory("alerts")).toEqual(["old", "newer"]);
});

test("an incident of the node outlives the late opening: the next agent knows of it", async () => {
  const first = await start();
  const incident = create(IncidentSchema, { id: "n-1", revision: 1n, state: IncidentState.PROBATION });
  await first.saveStep({ workload: "", memory: { key: "node", value: { cases: 1 } }, incident }, "synced");
  await first.close();
  const unblock = block();
  const store = await start();
  unblock();
  await until(() => opened.length > 0);
  expect(await store.incidents(10, true)).toEqual([incident]);
});

test("GRC-7 a stop is not undone by an older copy that lies there when the disk is back", async () => {
  const first = await start();
  await save(first, "halted", { at: "running", n: 1 });
  await first.close();
  cpSync(join(dir, "store"), join(dir, "older"), { recursive: true });
  const second = await start();
  await save(second, "halted", { at: "resting", n: 2 }); // a person's word, acknowledged
  await second.close();
  block();
  const store = await start();
  expect(store.deferred).toBe(true);
  for (const name of ["store", "store.witness"]) rmSync(join(dir, name));
  renameSync(join(dir, "older"), join(dir, "store"));
  await until(() => opened.length > 0);
  expect(opened).toEqual([true]);
  expect(await store.workloads()).toEqual([{ name: "halted", state: { at: "resting", n: 2 } }]);
  expect(readFileSync(join(dir, "stopped.json"), "utf8")).toContain("halted");
});

test("GRC-7 a stop is not undone by an older copy of the whole data directory either: the agent that guards knows it", async () => {
  const first = await start();
  await save(first, "halted", { at: "running", n: 1 });
  await first.close();
  const copy = mkdtempSync(join(tmpdir(), "bf-older-"));
  cpSync(dir, copy, { recursive: true });
  const second = await start();
  await save(second, "halted", { at: "resting", n: 2 });
  await second.close();
  block();
  const store = await start();
  for (const name of readdirSync(dir)) rmSync(join(dir, name), { recursive: true });
  cpSync(copy, dir, { recursive: true });
  rmSync(copy, { recursive: true });
  await until(() => opened.length > 0);
  expect(opened).toEqual([true]);
  expect(await store.workloads()).toEqual([{ name: "halted", state: { at: "resting", n: 2 } }]);
});

test("tries that take long are made seldom: the agent that tries guards workloads meanwhile", async () => {
  await (await start()).close();
  block();
  const rests: number[] = [];
  // A thousand times as fast: a try of a millisecond is one of a second.
  const fast = {
    ...clock,
    monotonicMs: () => 1000 * clock.monotonicMs(),
    wakeAt: (atMs: number, wake: () => void) => {
      rests.push(Math.round(atMs - 1000 * clock.monotonicMs()));
      return clock.wakeAt(clock.monotonicMs() + 10, wake);
    },
  };
  await start("edge-1", fast);
  await until(() => rests.length > 5);
  expect(Math.max(...rests)).toBeLessThanOrEqual(60_000);
  expect(Math.min(...rests.slice(1))).toBeGreaterThan(1000);
});
