import { generateKeyPairSync, type KeyObject } from "node:crypto";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import { AuditRecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { seeded } from "@blueflame/shared/random/random.ts";
import { encodeNumber } from "@blueflame/shared/store/level/numbers.ts";
import { type Handle, makeHandle } from "@blueflame/shared/store/level/opening.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type OpenedAgentStore, openAgentStore } from "./agent-store.ts";
import { startStore } from "./deferred-store.ts";
import { plainForm } from "./form.ts";
import { openWithKey } from "./keys/open-with.ts";
import { mendStore, verifyStore } from "./mend.ts";
import { startSnapshots } from "./snapshot.ts";
import { snapshotNumbers } from "./snapshot-file.ts";
import { suspect } from "./suspect.ts";

const clock = realClock();
function pems({ publicKey, privateKey }: { publicKey: KeyObject; privateKey: KeyObject }) {
  const publicPem = String(publicKey.export({ type: "spki", format: "pem" }));
  return { publicKey: publicPem, privateKey: String(privateKey.export({ type: "pkcs8", format: "pem" })) };
}
let dir = "";
const stores = new Set<{ close(): Promise<void> }>();
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-sealed-"));
});
afterEach(async () => {
  for (const store of stores) await store.close();
  stores.clear();
  rmSync(dir, { recursive: true, force: true });
});

const options = { clock, random: seeded(7), nodeId: undefined, defaultNodeId: "host", bootId: "boot-1", repair: false };
const mending = {
  ...options,
  actor: "test",
  isAtRest: (state: unknown) => (state as { rests?: boolean }).rests === true,
  restOf: (state: unknown) => state,
};
async function open(): Promise<OpenedAgentStore> {
  const store = await openAgentStore(dir, options);
  stores.add(store);
  return store;
}
async function close(store: { close(): Promise<void> }): Promise<void> {
  stores.delete(store);
  await store.close();
}
const code = (error: unknown) => (isFault(error) ? error.code : String(error));
const text = (found: { value: Uint8Array } | undefined) => Buffer.from(found?.value ?? []).toString();
/** A store at rest, as LevelDB has it. */
async function raw<T>(work: (level: Handle) => Promise<T>): Promise<T> {
  const level = await makeHandle(join(dir, "store"));
  try {
    return await work(level);
  } finally {
    await level.close();
  }
}
async function lived(): Promise<void> {
  const store = await open();
  await store.saveStep({ workload: "risk", state: { streak: 3 } }, "synced");
  await store.put("risk", "canary-name", Buffer.from("canary-value"), undefined);
  await store.appendAudit([create(AuditRecordSchema, { id: "a1", because: "canary-words" })]);
  await close(store);
}
function everyByte(folder: string): string {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((file) => file.isFile())
    .map((file) => readFileSync(join(file.parentPath, file.name), "latin1"))
    .join("\n");
}

test("PHX-9 neither values nor the names that workloads choose stand in a file of the store, and all is there again", async () => {
  await lived();
  for (const canary of ["canary-name", "canary-value", "canary-words", "streak"]) {
    expect(everyByte(dir)).not.toContain(canary);
  }
  const store = await open();
  expect(text(await store.get("risk", "canary-name"))).toBe("canary-value");
  expect(await store.workloads()).toEqual([{ name: "risk", state: { streak: 3 } }]);
});

test.each<[string, string, () => void]>([
  ["is gone", "STORE_KEY_MISSING", () => rmSync(join(dir, "store.key"))],
  ["may be read by others", "STORE_KEY_LOOSE", () => chmodSync(join(dir, "store.key"), 0o644)],
  ["is another store's", "STORE_KEY_WRONG", () => writeFileSync(join(dir, "store.key"), "ab".repeat(32))],
  ["is cut", "STORE_KEY_UNREADABLE", () => writeFileSync(join(dir, "store.key"), "ab")],
])(
  "PHX-9 a store whose key %s is refused by name, nothing is made or mended, and with the key it opens",
  async (_, fault, harm) => {
    await lived();
    cpSync(join(dir, "store.key"), join(dir, "kept"));
    harm();
    const before = readdirSync(dir).sort();
    expect(await open().catch(code)).toBe(fault);
    expect(await mendStore(dir, mending).catch(code)).toBe(fault);
    expect(await verifyStore(dir, mending).catch(code)).toBe(fault);
    expect(readdirSync(dir).sort()).toEqual(before);
    rmSync(join(dir, "store.key"), { force: true });
    renameSync(join(dir, "kept"), join(dir, "store.key"));
    expect(text(await (await open()).get("risk", "canary-name"))).toBe("canary-value");
  },
);

test("CARD-4 SYN-5 an agent whose key is gone guards from memory, and goes on by itself once the key is there", async () => {
  const start = () => startStore(dir, { ...mending, onOpened: () => opened.resolve() });
  const opened = Promise.withResolvers<void>();
  await (await start()).close();
  renameSync(join(dir, "store.key"), join(dir, "kept"));
  const store = await start();
  stores.add(store);
  expect(store.deferred).toBe(true);
  expect(store.trouble()).toMatch(/STORE_KEY_MISSING.*store open-with/);
  renameSync(join(dir, "kept"), join(dir, "store.key"));
  await opened.promise;
  expect(store.deferred).toBe(false);
});

test("PHX-9 two records that were swapped are named, and neither is read in the place of the other", async () => {
  const first = await open();
  await first.put("a", "key", Buffer.from("of a"), undefined);
  await first.put("b", "key", Buffer.from("of b"), undefined);
  await close(first);
  await raw(async (level) => {
    const rows = await level.iterator({ gte: "kv/", lt: "kv0" }).all();
    const [[one, ofOne], [two, ofTwo]] = rows as [[string, Uint8Array], [string, Uint8Array]];
    await level.batch([
      { type: "put", key: one, value: ofTwo },
      { type: "put", key: two, value: ofOne },
    ]);
  });
  const store = await open();
  expect(await store.get("a", "key").catch(code)).toBe("STORE_RECORD_SWAPPED");
  expect(store.trouble()).toMatch(/STORE_RECORD_SWAPPED.*'kv\/a \w+' is that of 'kv\/b \w+'/);
  await close(store);
  expect((await verifyStore(dir, mending)).notes.join()).toMatch(/STORE_RECORD_SWAPPED/);
});

test("a record that does not open while the agent runs is mended at the next start", async () => {
  await (await startStore(dir, { ...mending, onOpened: () => undefined })).close();
  await lived();
  await raw((level) => level.put("memory/slo", Buffer.concat([Buffer.from([1, 0, 0, 0, 1]), Buffer.alloc(60)])));
  const store = await open();
  expect(await store.memory("slo").catch(code)).toBe("STORE_RECORD_CHANGED");
  await close(store);
  const next = await startStore(dir, { ...mending, onOpened: () => undefined });
  stores.add(next);
  expect(await next.memory("slo")).toBeUndefined();
  expect(next.notes.join()).toMatch(/mended.*1 values of the store cannot be read/);
  expect(next.identity.incarnation).toBe(2n);
  expect(existsSync(join(dir, "store.suspect"))).toBe(false);
});

test("a damaged record does not hide from the next opening that the store was rolled back", async () => {
  const start = () => startStore(dir, { ...mending, onOpened: () => undefined });
  const first = await start();
  stores.add(first);
  suspect(dir, "a record did not open, and is whole again");
  expect(first.rolledBack("the hub remembers more")).toBe(true);
  await close(first);
  const next = await start();
  stores.add(next);
  expect(next.identity.generation).not.toBe(first.identity.generation);
  expect(existsSync(join(dir, "store.suspect"))).toBe(false);
});

test("PHX-9 a store of which the hub remembers a later state begins a new life at its next opening, once", async () => {
  const start = () => startStore(dir, { ...mending, onOpened: () => undefined });
  const first = await start();
  stores.add(first);
  expect([first.rolledBack("the hub remembers more"), first.rolledBack("again")]).toEqual([true, false]);
  expect(first.storeEpoch("now")).toBeGreaterThan(0n);
  await close(first);
  const next = await start();
  stores.add(next);
  expect(next.identity.generation).not.toBe(first.identity.generation);
  expect(next.identity).toMatchObject({ incarnation: 2n, owner: first.identity.owner });
  const told = next.storeEpoch("now");
  await close(next);
  const last = await start();
  stores.add(last);
  expect(last.identity.generation).toBe(next.identity.generation);
  // Exact: never below what was told before, and before anything that the opening writes.
  expect(last.storeEpoch("opened")).toBeGreaterThanOrEqual(told);
  expect(last.storeEpoch("opened")).toBeLessThan(last.storeEpoch("now"));
});

test.each(["store.keys", "row", "both"])("the wrapped keys heal when they are lost (%s)", async (lost) => {
  await lived();
  const store = await open();
  const snapshots = startSnapshots({ store, clock, dataDir: dir, everyMs: 1, keep: 3 });
  while (snapshotNumbers(join(dir, "snapshots")).length === 0) await new Promise((done) => setTimeout(done, 5));
  await snapshots.close();
  await close(store);
  if (lost !== "row") rmSync(join(dir, "store.keys"));
  if (lost !== "store.keys") await raw((level) => level.del("!ring"));
  expect(text(await (await open()).get("risk", "canary-name"))).toBe("canary-value");
  expect(existsSync(join(dir, "store.keys"))).toBe(true);
});

test("a store whose wrapped keys are nowhere is refused as damaged, never taken for an empty one", async () => {
  await lived();
  rmSync(join(dir, "store.keys"));
  await raw((level) => level.del("!ring"));
  expect(await open().catch(code)).toBe("STORE_DAMAGED");
  expect(await mendStore(dir, mending).catch(code)).toBe("STORE_DAMAGED");
});

test("PHX-9 the data key is changed while writers write: nothing is lost, and all of it is sealed anew", async () => {
  const store = await open();
  for (let n = 0; n < 150; n++) await store.put("risk", `k${n}`, Buffer.from(`v${n}`), undefined);
  const writing = (async () => {
    for (let round = 0; round < 5; round++) {
      for (let n = 0; n < 150; n += 10) await store.put("risk", `k${n}`, Buffer.from(`r${round}-${n}`), undefined);
    }
  })();
  expect(await store.rotateKey("data")).toBe("2");
  await writing;
  while (store.ring().swept < 2) await new Promise((done) => setTimeout(done, 10));
  for (let n = 0; n < 150; n++) {
    expect(text(await store.get("risk", `k${n}`))).toBe(n % 10 === 0 ? `r4-${n}` : `v${n}`);
  }
  await close(store);
  const ids = await raw(async (level) => {
    const values = await level.values({ gte: "a", lt: "\x7f" }).all();
    return new Set(values.map((value) => Buffer.from(value).readUInt32BE(1)));
  });
  expect(ids).toEqual(new Set([2]));
  expect(text(await (await open()).get("risk", "k149"))).toBe("v149");
});

test("the key-encryption key is changed while the store is used; the old one opens it no more", async () => {
  await lived();
  const store = await open();
  const before = readFileSync(join(dir, "store.key"));
  const id = await store.rotateKey("kek");
  expect(id).toMatch(/^[0-9a-f]{16}$/);
  await store.put("risk", "later", Buffer.from("too"), undefined);
  await close(store);
  expect(text(await (await open()).get("risk", "later"))).toBe("too");
  for (const one of stores) await close(one);
  writeFileSync(join(dir, "store.key"), before);
  expect(await open().catch(code)).toBe("STORE_KEY_WRONG");
});

test("PHX-9 with the keys of before a change put back, a restore that named no snapshot gave up a sound store for an older one", async () => {
  await lived();
  const store = await open();
  const snapshots = startSnapshots({ store, clock, dataDir: dir, everyMs: 1, keep: 9 });
  while (snapshotNumbers(join(dir, "snapshots")).length === 0) await new Promise((done) => setTimeout(done, 5));
  await snapshots.close();
  const files = ["store.key", "store.keys"].map((name) => join(dir, name));
  const before = files.map((file) => readFileSync(file));
  await store.rotateKey("kek");
  await store.put("risk", "later", Buffer.from("too"), undefined);
  await close(store);
  const after = files.map((file) => readFileSync(file));
  const put = (bytes: Buffer[]) => files.forEach((file, at) => void writeFileSync(file, bytes[at] ?? ""));
  put(before);
  expect(await mendStore(dir, mending, { is: "restore", from: undefined }).catch(code)).toBe("STORE_KEY_WRONG");
  put(after);
  expect(text(await (await open()).get("risk", "later"))).toBe("too");
});

test("with its key lost the holder of the escrow key opens the store again, also when it was entrusted late", async () => {
  await lived();
  const pair = pems(generateKeyPairSync("x25519"));
  const store = await open();
  expect(await store.entrust(pair.publicKey)).toMatch(/^escrow:/);
  await close(store);
  rmSync(join(dir, "store.key"));
  const stranger = pems(generateKeyPairSync("x25519")).privateKey;
  expect(await openWithKey(dir, Buffer.from(stranger), "test").catch(code)).toBe("STORE_KEY_WRONG");
  expect(existsSync(join(dir, "store.key"))).toBe(false);
  await openWithKey(dir, Buffer.from(pair.privateKey), "test");
  expect(text(await (await open()).get("risk", "canary-name"))).toBe("canary-value");
});

test("only a person's word makes an empty store where the key is lost for good", async () => {
  await lived();
  rmSync(join(dir, "store.key"));
  expect(await mendStore(dir, mending, { is: "empty" })).toMatchObject({ is: "mended", by: "empty" });
  const store = await open();
  expect(await store.workloads()).toEqual([]);
  expect(store.identity.incarnation).toBeGreaterThan(0n);
});

/** What a version before the sealed store left: the same rows, plain. */
async function plainStore(): Promise<void> {
  const plain = (key: string, value: string | Buffer) => plainForm.put(key, Buffer.from(value));
  const identity = {
    nodeId: "edge-7",
    generation: "g1",
    owner: "o1",
    incarnation: "2",
    session: "4",
    bootId: "b",
    repairs: 0,
  };
  await raw((level) =>
    level.batch([
      { type: "put", key: "!format", value: encodeNumber(1) },
      { type: "put", key: "!flush", value: encodeNumber(12) },
      plain("meta/identity", JSON.stringify(identity)),
      plain("workload/risk", '{"streak":"plain-canary"}'),
      plain("kv/risk\0plain-name", Buffer.concat([Buffer.from([0, 0, 0, 0, 0, 0, 0, 3]), Buffer.from("plain-value")])),
    ]),
  );
  writeFileSync(join(dir, "store.made"), "{}");
}

test("PHX-9 an older plain store is sealed at its opening, after a snapshot, and nothing plain is left behind", async () => {
  await plainStore();
  const store = await open();
  expect(store.identity).toMatchObject({
    nodeId: "edge-7",
    generation: "g1",
    owner: "o1",
    incarnation: 2n,
    session: 5n,
  });
  expect(await store.get("risk", "plain-name")).toMatchObject({ revision: 3n });
  expect(await store.workloads()).toEqual([{ name: "risk", state: { streak: "plain-canary" } }]);
  await close(store);
  for (const canary of ["plain-canary", "plain-name", "plain-value"]) expect(everyByte(dir)).not.toContain(canary);
  expect(snapshotNumbers(join(dir, "snapshots"))).toEqual([1]);
  await mendStore(dir, mending, { is: "restore", from: join(dir, "snapshots", "1") });
  expect(await (await open()).get("risk", "plain-name")).toMatchObject({ revision: 3n });
});

test("a migration that was cut short goes on, and a newer store is refused with the version needed", async () => {
  await plainStore();
  await close(await open());
  await raw(async (level) => {
    await level.put("!format", encodeNumber(1)); // it died before its last word …
    const late = plainForm.put("workload/late", Buffer.from("{}")); // … and before this row
    if (late.type === "put") await level.put(late.key, late.value);
  });
  const store = await open();
  expect((await store.workloads()).map(({ name }) => name)).toEqual(["late", "risk"]);
  await close(store);
  await raw((level) => level.put("!format", encodeNumber(3)));
  const error = await open().catch((reason: unknown) => reason);
  expect(code(error)).toBe("STORE_NEWER");
  expect(String(error)).toMatch(/format 3, this version knows 2/);
});
