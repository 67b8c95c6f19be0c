import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import { IncidentSchema, IncidentState } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
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
async function start(nodeId: string | undefined = "edge-1"): Promise<StartedStore> {
  const store = await startStore(dir, {
    clock,
    random: Math.random,
    nodeId,
    bootId: "boot-1",
    isAtRest: (state) => (state as Simple).at === "resting",
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
