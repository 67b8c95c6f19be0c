// What a machine that has lost everything gets back from its hub: a real store, a real hub, its own key.
import { execFile } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { inRoot } from "../../deploy/root.ts";
import { built } from "../../test/e2e/built.ts";
import { agentOf, certificateOf, type HubFolder, hubFolder, hubIn } from "../../test/support/hub.ts";
import { type StartedStore, startStore } from "../store/deferred-store.ts";
import { holdersOf } from "../store/keys/ring.ts";
import { startSnapshots } from "../store/snapshot.ts";
import { manifestOf, snapshotNumbers, snapshotsIn } from "../store/snapshot-file.ts";
import { snapshotLine } from "../uplink/snapshot-line.driver.ts";
import { sendSnapshots } from "../uplink/snapshot-sending.driver.ts";
import { fetch, restore } from "./store.ts";

const clock = realClock();
let folder: HubFolder;
let hub: Awaited<ReturnType<typeof hubIn>>;
let config: string;
beforeEach(async () => {
  folder = hubFolder();
  hub = await hubIn(folder);
  config = join(folder.dir, "agent.yaml");
  const issued = await certificateOf(folder, "edge-1");
  for (const name of ["ca", "cert", "key"] as const)
    writeFileSync(join(folder.dir, name), issued[name], { mode: 0o600 });
  const own = { addresses: [hub.grpcAddress], ca: "ca", cert: "cert", key: "key" };
  writeFileSync(config, JSON.stringify({ node: { id: "edge-1" }, hub: own }));
  vi.spyOn(process.stdout, "write").mockReturnValue(true);
});
afterEach(async () => {
  vi.restoreAllMocks();
  await folder.clear();
});

const dirOf = (name: string) => join(folder.dir, name);
const start = (name: string): Promise<StartedStore> =>
  startStore(dirOf(name), {
    clock,
    random: Math.random,
    nodeId: "edge-1",
    bootId: "b",
    isAtRest: () => false,
    restOf: (state) => state,
    onOpened: () => undefined,
  });
async function until(what: string, holds: () => Promise<boolean> | boolean): Promise<void> {
  for (let n = 0; n < 1500; n++, await pause(20)) if (await holds()) return;
  throw new Error(`in vain: ${what}`);
}

/** A node that has lived, and whose snapshot is at the hub. */
async function lived(
  before: (store: StartedStore) => Promise<unknown> = async () => undefined,
): Promise<{ generation: string; owner: string }> {
  const store = await start("old");
  await before(store);
  await store.saveStep(
    { workload: "risk", state: { streak: 3, secret: "canary", phase: { at: "backoff" } } },
    "synced",
  );
  await store.put("risk", "limit", Buffer.from("12"), undefined);
  const shots = startSnapshots({ store, clock, dataDir: dirOf("old"), everyMs: 1, keep: 1 });
  await until("a snapshot is taken", () => snapshotNumbers(snapshotsIn(dirOf("old"))).length > 0);
  await shots.close();
  await store.close();
  const target = { addresses: [hub.grpcAddress], ...(await certificateOf(folder, "edge-1")) };
  const link = () => ({ state: "connected", hub: hub.grpcAddress, because: "" }) as const;
  const log = { info: () => undefined, warn: (_facts: object, text: string) => expect.fail(text) };
  const sender = sendSnapshots({ target, dataDir: dirOf("old"), link, clock, log, lookMs: 20 });
  const line = snapshotLine(target, hub.grpcAddress);
  await until("it is at the hub", async () =>
    (await line.service.listSnapshots({}, line.within)).snapshots.some((one) => one.storedBytes === one.bytes),
  );
  line.close();
  await sender.close();
  return store.identity;
}
const options = (name: string) => ({ dataDir: dirOf(name), headers: true, output: "json" as const, config });
const code = (error: unknown) => (isFault(error) ? error.code : String(error));

test("PRA-10 PHX-9 CARD-4 a new machine with the node's certificate and key gets its store from the hub, as a life above all that the hub knows", async () => {
  const old = await lived();
  // The node went on for some lives after its snapshot, and the hub knows of them.
  const later = await agentOf(folder, hub, { nodeId: "edge-1", incarnation: 7n });
  await until("the hub knows the life", () => later.uplink.view().state === "connected");
  await later.close();

  mkdirSync(dirOf("new"));
  copyFileSync(join(dirOf("old"), "store.key"), join(dirOf("new"), "store.key"));
  await restore({ ...options("new"), fromHub: true, empty: false });
  const store = await start("new");
  folder.closeLater(() => store.close());
  expect(store.identity).toMatchObject({ nodeId: "edge-1", owner: old.owner, incarnation: 8n });
  expect(store.identity.generation).not.toBe(old.generation);
  expect(await store.workloads()).toMatchObject([{ name: "risk", state: { streak: 3, secret: "canary" } }]);
  expect(Buffer.from((await store.get("risk", "limit"))?.value ?? []).toString()).toBe("12");
  expect((await store.audit(1))[0]).toMatchObject({ action: "store.restore" });
});

/** A program of its own, as a person types it. */
async function typed(...words: string[]): Promise<{ code: number; said: string }> {
  const program = inRoot("dist", "blueflame-agent.cjs");
  return new Promise((resolve) => {
    execFile(process.execPath, [program, ...words], (error, out, err) =>
      resolve({ code: error ? 1 : 0, said: `${out}${err}` }),
    );
  });
}

test.each(["the escrow key", "the key of that time"])(
  "PRA-10 PHX-9 a new machine that has only %s could not get the node's store back from the hub",
  async (which) => {
    await built("blueflame-agent");
    const pair = generateKeyPairSync("x25519");
    await lived((store) => store.entrust(String(pair.publicKey.export({ type: "spki", format: "pem" }))));
    const secret = join(folder.dir, "secret");
    if (which === "the escrow key") writeFileSync(secret, pair.privateKey.export({ type: "pkcs8", format: "pem" }));
    else copyFileSync(join(dirOf("old"), "store.key"), secret);
    // An agent has run here before anybody thought of the hub: it has made a key and a store of its own.
    const fresh = await start("new");
    await fresh.close();

    const command = ["store", "restore", "--from-hub", "--data-dir", dirOf("new"), "--config", config];
    expect((await typed(...command)).said).toContain("STORE_KEY_WRONG");
    expect(await typed(...command, "--open-with", secret)).toMatchObject({ code: 0 });
    const store = await start("new");
    folder.closeLater(() => store.close());
    expect(await store.workloads()).toMatchObject([{ name: "risk", state: { streak: 3, secret: "canary" } }]);
    expect(Buffer.from((await store.get("risk", "limit"))?.value ?? []).toString()).toBe("12");
  },
);

test("after a change of the key the hub kept only snapshots that need the earlier one, for up to an hour", async () => {
  const store = await start("old");
  folder.closeLater(() => store.close());
  const shots = startSnapshots({ store, clock, dataDir: dirOf("old"), everyMs: 3_600_000, keep: 3 });
  folder.closeLater(() => shots.close());
  await until("a snapshot is taken", () => snapshotNumbers(snapshotsIn(dirOf("old"))).length === 1);
  await store.rotateKey("kek");
  await until("another one is taken", () => snapshotNumbers(snapshotsIn(dirOf("old"))).length === 2);
  const { ring } = await manifestOf(join(snapshotsIn(dirOf("old")), "2"));
  expect(ring && holdersOf(ring)).toBe(holdersOf(store.ring()));
});

test("without the node's key nobody gets anything out of what the hub keeps", async () => {
  await lived();
  mkdirSync(dirOf("thief"));
  await fetch(options("thief")).catch(() => undefined);
  expect(await restore({ ...options("thief"), fromHub: true, empty: false }).catch(code)).toMatch(/^STORE_KEY_/);
  expect(existsSync(join(dirOf("thief"), "store"))).toBe(false);
});
