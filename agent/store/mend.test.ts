import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import { AuditRecordSchema, DecisionRecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readMirror, writeMirror } from "./deferred-mirror.ts";
import { type StartedStore, startStore } from "./deferred-store.ts";
import { type Mended, mendStore, verifyStore } from "./mend.ts";
import { startSnapshots } from "./snapshot.ts";
import { snapshotNumbers } from "./snapshot-file.ts";

const clock = realClock();
const isAtRest = (state: unknown) => (state as { rests?: boolean }).rests === true;
const restOf = (state: unknown) => state;
const options = {
  clock,
  random: Math.random,
  bootId: "boot-1",
  isAtRest,
  restOf,
  actor: "test",
  defaultNodeId: "host",
};
let dir: string;
const open = new Set<StartedStore>();
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-mend-"));
});
afterEach(async () => {
  for (const store of open) await store.close();
  open.clear();
  rmSync(dir, { recursive: true, force: true });
});

async function start(): Promise<StartedStore> {
  const store = await startStore(dir, { ...options, nodeId: "edge-1", onOpened: () => undefined });
  open.add(store);
  return store;
}
async function close(store: StartedStore): Promise<void> {
  open.delete(store);
  await store.close();
}
const save = (store: StartedStore, workload: string, n: number, rests = false) =>
  store.saveStep({ workload, state: { n, rests }, decision: create(DecisionRecordSchema, { id: `d${n}` }) }, "synced");
const states = async (store: StartedStore) =>
  Object.fromEntries((await store.workloads()).map(({ name, state }) => [name, (state as { n: number }).n]));
const inStore = (pattern: RegExp) => readdirSync(join(dir, "store")).find((file) => pattern.test(file)) ?? "none";
const copies = () => readdirSync(dir).filter((file) => file.startsWith("store.damaged-"));
const code = (error: unknown) => (isFault(error) ? error.code : String(error));
const filesOf = (folder: string) =>
  readdirSync(folder)
    .filter((file) => !/^(LOCK|LOG.*)$/.test(file))
    .map((file) => readFileSync(join(folder, file)).toString("base64"));

/** Three lives: tables of the first two, a write-ahead log of the third; a snapshot of the second. */
async function lived(snapshot = true): Promise<void> {
  let store = await start();
  await save(store, "risk", 1);
  await save(store, "halted", 1, true);
  await store.put("risk", "lock", Buffer.from("locked"), undefined);
  await close(store);
  store = await start();
  await save(store, "risk", 2);
  if (snapshot) await takeOne(store);
  await close(store);
  store = await start();
  await save(store, "risk", 3);
  await close(store);
}
async function takeOne(store: StartedStore): Promise<void> {
  const before = snapshotNumbers(join(dir, "snapshots")).length;
  const snapshots = startSnapshots({ store, clock, dataDir: dir, everyMs: 1, keep: 3 });
  while (snapshotNumbers(join(dir, "snapshots")).length === before)
    await new Promise((resolve) => setTimeout(resolve, 5));
  await snapshots.close();
}
function flip(file: string, at: number): void {
  const path = join(dir, "store", file);
  const bytes = readFileSync(path);
  bytes[at] = (bytes[at] ?? 0) ^ 16;
  writeFileSync(path, bytes);
}
async function mended(expected: Partial<Mended>): Promise<StartedStore> {
  const before = await owner();
  const damaged = filesOf(join(dir, "store"));
  const done = await mendStore(dir, options);
  expect(done).toMatchObject({ is: "mended", ...expected });
  expect(filesOf(done.kept ?? "")).toEqual(damaged); // SYN-9: nothing of it is deleted or changed
  const store = await start();
  expect(store.identity).toMatchObject({ nodeId: "edge-1", owner: before, incarnation: 2n });
  expect(store.identity.generation).not.toBe(before);
  expect((await store.audit(1))[0]).toMatchObject({ action: `store.${done.by}`, actor: "test" });
  expect((await store.get("risk", "lock"))?.value.toString()).toBe(Buffer.from("locked").toString());
  expect([...store.space("risk").contents().keys.keys()]).toEqual(["lock"]);
  expect(store.space("risk").risk().risk.lock).toMatchObject({ cause: "restored" });
  return store;
}
async function owner(): Promise<string> {
  return (JSON.parse(readFileSync(join(dir, "stopped.json"), "utf8")) as { owner: string }).owner;
}

test("a sound store is left as it is, and one that was never made too", async () => {
  expect(await mendStore(dir, options)).toMatchObject({ is: "absent", kept: undefined });
  await lived();
  expect(await mendStore(dir, options)).toMatchObject({ is: "sound", kept: undefined });
  const store = await start();
  expect(store.identity).toMatchObject({ incarnation: 1n, session: 4n });
});

test("a lost CURRENT and a cut manifest cost nothing", async () => {
  await lived();
  rmSync(join(dir, "store", "CURRENT"));
  const store = await mended({ by: "repair" });
  expect(await states(store)).toEqual({ halted: 1, risk: 3 });
  await close(store);
  truncateSync(join(dir, "store", inStore(/^MANIFEST/)), 10);
  expect(await mendStore(dir, options)).toMatchObject({ by: "repair" });
  expect(await states(await start())).toEqual({ halted: 1, risk: 3 });
});

test("PHX-9 a bit that flipped in a table is found, and the store is restored from its snapshot and what its log says since", async () => {
  await lived();
  flip(inStore(/\.ldb$/), 40);
  const store = await mended({ by: "restore" });
  expect(await states(store)).toEqual({ halted: 1, risk: 3 });
});

test("a log that is damaged too brings a snapshot forward as far as it is whole, and no further", async () => {
  await lived();
  flip(inStore(/\.ldb$/), 40);
  flip(inStore(/\.log$/), 30);
  const store = await mended({ by: "restore" });
  expect(await states(store)).toEqual({ halted: 1, risk: 2 });
});

test("a table that is gone is found, and without a snapshot the rest is kept and what a person stopped stays stopped", async () => {
  await lived(false);
  rmSync(join(dir, "store", inStore(/\.ldb$/))); // the first life: the stop is in it
  const done = await mendStore(dir, options);
  expect(done).toMatchObject({ is: "mended", by: "repair" });
  const store = await start();
  expect(await states(store)).toEqual({ halted: 1, risk: 3 });
  expect(store.identity.owner).toBe(await owner());
});

test("a bit that flipped in the newest records costs those, and no more", async () => {
  await lived();
  flip(inStore(/\.log$/), 30);
  const store = await mended({ by: "reopen" });
  expect(await states(store)).toMatchObject({ halted: 1 });
});

test.each([/\.ldb$/, /\.log$/])(
  "PHX-9 a flipped bit that LevelDB opens without a word (%s) is found by the agent's own start",
  async (file) => {
    await lived();
    flip(inStore(file), 40);
    const store = await start();
    expect(store.notes[0]).toMatch(/^the store was mended/);
    expect(store.identity).toMatchObject({ incarnation: 2n, owner: await owner() });
  },
);

test("a write-ahead log that is gone is another life: LevelDB itself does not miss it, and its seqs would be given again", async () => {
  await lived();
  rmSync(join(dir, "store", inStore(/\.log$/)));
  const store = await mended({ by: "reopen" });
  expect(await states(store)).toEqual({ halted: 1, risk: 2 });
});

test("a store that forgot its last opening is another life, also when it is just opened, and a stop is not forgotten", async () => {
  await lived(false);
  const store = await start();
  await save(store, "risk", 4, true);
  await close(store);
  truncateSync(join(dir, "store", inStore(/\.log$/)), 0);
  const again = await start();
  expect(again.identity).toMatchObject({ incarnation: 2n, session: 2n, owner: await owner() });
  expect(await states(again)).toEqual({ halted: 1, risk: 4 });
});

test("a store that is gone comes back from its snapshot; without one it is reported and nothing is made", async () => {
  await lived();
  rmSync(join(dir, "store"), { recursive: true });
  expect(await mendStore(dir, options)).toMatchObject({ is: "mended", by: "restore", kept: undefined });
  expect(await states(await start())).toEqual({ halted: 1, risk: 2 });
  for (const store of open) await close(store);
  rmSync(join(dir, "store"), { recursive: true });
  rmSync(join(dir, "snapshots"), { recursive: true });
  expect(await mendStore(dir, options).catch(code)).toBe("STORE_MISSING");
  expect(readdirSync(dir)).not.toContain("store");
});

test("the agent's own start mends too, and says so", async () => {
  await lived();
  rmSync(join(dir, "store"), { recursive: true });
  const store = await start();
  expect(store.notes[0]).toMatch(/^the store was mended \(restore\): the store is gone/);
  expect(await states(store)).toEqual({ halted: 1, risk: 2 });
});

test("a store that went together with its marker is not made anew, empty: it is restored, and without a snapshot reported", async () => {
  await lived();
  const before = readMirror(dir);
  const remove = () => {
    for (const name of ["store", "store.made", "store.witness"])
      rmSync(join(dir, name), { recursive: true, force: true });
  };
  remove();
  const store = await start();
  expect(await states(store)).toEqual({ halted: 1, risk: 2 });
  expect(store.identity.generation).not.toBe(before?.generation);
  await close(store);
  remove();
  rmSync(join(dir, "snapshots"), { recursive: true });
  expect(await start().catch(code)).toBe("STORE_MISSING");
  expect(readdirSync(dir)).not.toContain("store");
});

test("a snapshot that was changed is not used, the one before it is", async () => {
  await lived();
  const before = snapshotNumbers(join(dir, "snapshots"));
  let store = await start();
  await save(store, "risk", 5);
  await takeOne(store);
  await close(store);
  // On a fast machine there may be two.
  for (const newer of snapshotNumbers(join(dir, "snapshots")).filter((number) => !before.includes(number))) {
    const path = join(dir, "snapshots", String(newer), "entries");
    const bytes = readFileSync(path);
    bytes[bytes.length - 3] = (bytes.at(-3) ?? 0) ^ 7;
    writeFileSync(path, bytes);
  }
  rmSync(join(dir, "store"), { recursive: true });
  const done = await mendStore(dir, options);
  expect(done.notes.join()).toMatch(/is of no use/);
  store = await start();
  expect(await states(store)).toEqual({ halted: 1, risk: 2 });
});

test("what was started since the snapshot does not rest after it was restored, and what was stopped since does", async () => {
  await lived();
  let store = await start();
  await save(store, "halted", 6);
  await save(store, "risk", 6, true);
  await close(store);
  rmSync(join(dir, "store"), { recursive: true });
  await mendStore(dir, options);
  store = await start();
  expect(await states(store)).toEqual({ risk: 6 });
});

test("at three damaged copies nothing is touched until a person takes one away", async () => {
  await lived(false);
  for (let round = 0; round < 3; round++) {
    rmSync(join(dir, "store", "CURRENT"));
    await mendStore(dir, options);
  }
  rmSync(join(dir, "store", "CURRENT"));
  expect(await mendStore(dir, options).catch(code)).toBe("STORE_DAMAGED");
  const wish = { is: "restore", from: undefined } as const;
  expect(await mendStore(dir, options, wish).catch(code)).toBe("LIMIT_REACHED");
  renameSync(join(dir, copies()[0] ?? ""), join(dir, "elsewhere"));
  expect(await mendStore(dir, options)).toMatchObject({ is: "mended" });
  expect(copies()).toHaveLength(3);
});

test("a store that an agent holds is not looked at", async () => {
  await start();
  expect(await mendStore(dir, options).catch(code)).toBe("STORE_LOCKED");
  expect(await verifyStore(dir, options).catch(code)).toBe("STORE_LOCKED");
});

test("a mending that died before, between or after its two renames is ended by whoever comes next", async () => {
  for (const moment of ["before", "between", "after"] as const) {
    await lived();
    rmSync(join(dir, "store", "CURRENT"));
    await mendStore(dir, options);
    // As it was at that moment: the new store is whole and has not its name yet.
    const [aside = ""] = copies();
    if (moment !== "after") {
      renameSync(join(dir, "store"), join(dir, "store.mending"));
      if (moment === "before") renameSync(join(dir, aside), join(dir, "store"));
    }
    writeFileSync(join(dir, "store.mending.json"), "{}");
    const store = await start();
    expect(await states(store)).toEqual({ halted: 1, risk: 3 });
    expect(store.identity.incarnation).toBe(2n);
    expect(copies()).toHaveLength(1);
    await close(store);
    rmSync(dir, { recursive: true });
    dir = mkdtempSync(join(tmpdir(), "bf-mend-"));
  }
});

test("a person may ask for a new life, for a snapshot from elsewhere, and for an empty store, which keeps the node and its stops", async () => {
  await lived();
  expect(await mendStore(dir, options, { is: "newLife" })).toMatchObject({
    by: "reopen",
    because: "a new life was asked for",
  });
  let store = await start();
  expect(store.identity.incarnation).toBe(2n);
  expect(await states(store)).toEqual({ halted: 1, risk: 3 });
  await close(store);
  const elsewhere = join(dir, "usb");
  renameSync(join(dir, "snapshots", "1"), elsewhere);
  await mendStore(dir, options, { is: "restore", from: elsewhere });
  store = await start();
  expect(store.identity.incarnation).toBe(3n);
  expect(await states(store)).toEqual({ halted: 1, risk: 2 });
  await close(store);
  await mendStore(dir, options, { is: "empty" });
  store = await start();
  expect(store.identity).toMatchObject({ nodeId: "edge-1", incarnation: 4n, owner: await owner() });
  expect(await states(store)).toEqual({ halted: 1 });
});

test("the snapshot of another node is refused", async () => {
  await lived();
  const mirror = readMirror(dir);
  if (!mirror) throw new Error("there is no mirror");
  writeMirror(dir, { ...mirror, nodeId: "edge-2" });
  const wish = { is: "restore", from: join(dir, "snapshots", "1") } as const;
  expect(await mendStore(dir, options, wish).catch(code)).toBe("DATA_DIR_OF_ANOTHER");
});

test("readings that wait for the hub are not in a snapshot, audit is", async () => {
  await lived();
  const store = await start();
  await store.appendAudit([create(AuditRecordSchema, { id: "a1" })]);
  await store.appendReadings([]);
  const keys: string[] = [];
  await store.copyTo((key) => void keys.push(key));
  expect(keys.filter((key) => /^outbox\/.{14}r/.test(key))).toEqual([]);
  expect(keys.filter((key) => key.startsWith("audit/"))).toHaveLength(2); // audit.begin too
  expect(keys).toContain("meta/identity");
});

test("CARD-4 PHX-9 while the key is away damaged files stay as they are, and with it the agent mends them from a snapshot, and says so", async () => {
  await lived();
  const opened = Promise.withResolvers<readonly string[]>();
  renameSync(join(dir, "store.key"), join(dir, "kept"));
  rmSync(join(dir, "store", "CURRENT"));
  flip(inStore(/\.ldb$/), 40);
  const damaged = filesOf(join(dir, "store"));
  const store = await startStore(dir, {
    ...options,
    nodeId: "edge-1",
    onOpened: (_newLife, notes) => opened.resolve(notes),
  });
  open.add(store);
  expect(store.trouble()).toMatch(/STORE_KEY_MISSING/);
  await new Promise((resolve) => setTimeout(resolve, 2500)); // two tries
  expect(store.trouble()).toMatch(/STORE_KEY_MISSING/);
  expect(filesOf(join(dir, "store"))).toEqual(damaged);
  expect(copies()).toEqual([]);
  renameSync(join(dir, "kept"), join(dir, "store.key"));
  expect((await opened.promise).join()).toMatch(/the store was mended \(restore\)/);
  expect(await states(store)).toEqual({ halted: 1, risk: 2 }); // without an index nobody knows which log is the newest
  expect(filesOf(join(dir, copies()[0] ?? ""))).toEqual(damaged);
});
