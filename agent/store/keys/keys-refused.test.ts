// Keys of a real store on a disk that refuses at the wrong moment, and beside a file that was spoilt.
import { generateKeyPairSync } from "node:crypto";
import fs, { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import { seeded } from "@blueflame/shared/random/random.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type OpenedAgentStore, openAgentStore } from "../agent-store.ts";
import { entrusted } from "./entrusted.ts";
import { kekOf } from "./key-file.ts";
import { openWithKey } from "./open-with.ts";
import { Ring } from "./ring.ts";
import { readRingFile } from "./ring-file.ts";
import { HalfChanged } from "./store-keys.ts";
import { escrowOf } from "./wrap.ts";

const clock = realClock();
const fsync = fs.fsyncSync;
let dir = "";
let store: OpenedAgentStore | undefined;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-keys-"));
});
afterEach(async () => {
  setFsync(fsync);
  await close();
  rmSync(dir, { recursive: true, force: true });
});

async function open(): Promise<OpenedAgentStore> {
  store = await openAgentStore(dir, {
    ...{ clock, random: seeded(3), nodeId: undefined, defaultNodeId: "host", bootId: "b", repair: false },
  });
  return store;
}
async function close(): Promise<void> {
  const open = store;
  store = undefined;
  await open?.close();
}
function setFsync(next: typeof fsync): void {
  fs.fsyncSync = next;
  syncBuiltinESMExports();
}
const key = () => readFileSync(join(dir, "store.key"), "utf8");
const code = (error: unknown) => (isFault(error) ? error.code : String(error));
const text = (found: { value: Uint8Array } | undefined) => Buffer.from(found?.value ?? []).toString();
function escrowPair(): { publicKey: string; privateKey: Buffer } {
  const { publicKey, privateKey } = generateKeyPairSync("x25519");
  return {
    publicKey: String(publicKey.export({ type: "spki", format: "pem" })),
    privateKey: Buffer.from(privateKey.export({ type: "pkcs8", format: "pem" })),
  };
}

test.each(["the new key lies there", "the old key lies there again"])(
  "PHX-9 after a change of the key whose folder was not synced, the next data key was wrapped for the lost key alone (%s)",
  async (after) => {
    const live = await open();
    const before = key();
    setFsync((file) => {
      if (key() !== before) throw Object.assign(new Error("EIO: i/o error, fsync"), { code: "EIO" });
      fsync(file);
    });
    expect(await live.rotateKey("kek").catch(code)).toBe("STORE_WRITE_FAILED");
    setFsync(fsync);
    await live.rotateKey("data");
    await live.put("risk", "later", Buffer.from("too"), undefined);
    await close();
    expect(key()).not.toBe(before);
    if (after.startsWith("the old")) writeFileSync(join(dir, "store.key"), before);
    expect(text(await (await open()).get("risk", "later"))).toBe("too");
    // The next change is a whole one.
    await store?.rotateKey("kek");
    await close();
    writeFileSync(join(dir, "store.key"), before);
    expect(await open().catch(code)).toBe("STORE_KEY_WRONG");
  },
);

test("a key that was changed on a disk that refused the last word of it counted as not changed: no snapshot was taken for it, and the error did not say", async () => {
  const live = await open();
  const before = key();
  let woken = 0;
  live.onRewrapped(() => woken++);
  let syncs = 0;
  setFsync((file) => {
    if (key() !== before && ++syncs > 1) throw Object.assign(new Error("EIO: i/o error, fsync"), { code: "EIO" });
    fsync(file);
  });
  const error: unknown = await live.rotateKey("kek").catch((one: unknown) => one);
  setFsync(fsync);
  expect(key()).not.toBe(before);
  expect(error).toBeInstanceOf(HalfChanged);
  const { id, message } = error as HalfChanged;
  expect(message).toContain(`the key-encryption key is ${id} from now on, but the earlier one opens the store too`);
  expect(woken).toBe(1);
  // The next start finishes it.
  await close();
  await open();
  await close();
  writeFileSync(join(dir, "store.key"), before);
  expect(await open().catch(code)).toBe("STORE_KEY_WRONG");
});

test.each<[string, (pem: string) => string | undefined]>([
  ["is no key any more", (pem) => pem.replace("-----BEGIN", "-----BEGJN")],
  ["has become another key by one bit", (pem) => `${pem.slice(0, 60)}${pem[60] === "A" ? "B" : "A"}${pem.slice(61)}`],
  ["is gone", () => undefined],
])(
  "PHX-9 a store.escrow.pem that %s kept the agent from starting, or lost its holder without a word",
  async (_, harm) => {
    const pair = escrowPair();
    const path = join(dir, "store.escrow.pem");
    const id = await (await open()).entrust(pair.publicKey);
    await close();
    const spoilt = harm(readFileSync(path, "utf8"));
    if (spoilt === undefined) rmSync(path);
    else writeFileSync(path, spoilt);
    const live = await open();
    expect(live.notes.join()).toContain("store.escrow.pem");
    expect(live.notes.join()).toContain("store entrust");
    await live.rotateKey("data");
    await live.put("risk", "later", Buffer.from("too"), undefined);
    await close();
    rmSync(join(dir, "store.key"));
    await openWithKey(dir, pair.privateKey, "test");
    expect(text(await (await open()).get("risk", "later"))).toBe("too");
    expect(readRingFile(dir)?.keys.every(({ wraps }) => id in wraps)).toBe(true);
  },
);

test("a store that is entrusted to nobody any more is opened by its own key only, and a lost file brings nobody back", async () => {
  const pair = escrowPair();
  const live = await open();
  await live.entrust(pair.publicKey);
  expect(await live.entrust("nobody")).toBe("nobody");
  expect(existsSync(join(dir, "store.escrow.pem"))).toBe(false);
  await close();
  expect((await open()).notes).toEqual([]);
  await close();
  rmSync(join(dir, "store.key"));
  expect(await openWithKey(dir, pair.privateKey, "test").catch(code)).toBe("STORE_KEY_WRONG");
  expect(existsSync(join(dir, "store.key"))).toBe(false);
});

test("a holder from whom the store was taken back came back at the next start without a word, when its file could not be removed", async () => {
  const pair = escrowPair();
  const live = await open();
  const id = await live.entrust(pair.publicKey);
  const remove = fs.rmSync;
  fs.rmSync = (path, options) => {
    if (String(path).endsWith("store.escrow.pem")) throw new Error("EROFS: read-only file system, rm");
    remove(path, options);
  };
  syncBuiltinESMExports();
  expect(await live.entrust("nobody").catch(code)).toBe("STORE_WRITE_FAILED");
  fs.rmSync = remove;
  syncBuiltinESMExports();
  // What was refused has not happened, then and after the next start; what is done stays done.
  expect(Object.keys(live.ring().keys.at(-1)?.wraps ?? {})).toContain(id);
  await live.entrust("nobody");
  await close();
  expect(Object.keys((await open()).ring().keys.at(-1)?.wraps ?? {})).not.toContain(id);
});

test("what an earlier version entrusted stays so when its file is spoilt, and is in the ring from the next start on when it is whole", () => {
  const kek = kekOf(Buffer.alloc(32, 1), "test", "file");
  const escrow = escrowOf(escrowPair().publicKey);
  const { escrow: _, ...earlier } = Ring.make("o", kek, escrow, 0).stored;
  const ring = Ring.open(earlier, [kek]);
  writeFileSync(join(dir, "store.escrow.pem"), "spoilt");
  const spoilt = entrusted(dir, ring);
  expect([spoilt.escrow, spoilt.note]).toEqual(["asBefore", expect.stringContaining(escrow.id)]);
  expect(ring.isFor(kek, "asBefore")).toBe(true);
  expect(ring.rewrapped([kek], "asBefore").stored.keys.every(({ wraps }) => escrow.id in wraps)).toBe(true);
  writeFileSync(join(dir, "store.escrow.pem"), escrow.pem);
  const whole = entrusted(dir, ring);
  expect([whole.escrow, whole.note]).toEqual([expect.objectContaining({ id: escrow.id }), undefined]);
  expect(ring.isFor(kek, escrow)).toBe(false);
  expect(ring.rewrapped([kek], escrow).stored.escrow).toBe(escrow.pem);
});
