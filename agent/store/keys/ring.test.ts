import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import { expect, test } from "vitest";
import { kekOf } from "./key-file.ts";
import { encodeRing, keysMax, merged, parseRing, Ring, type StoredRing } from "./ring.ts";
import { EscrowHolder, escrowOf } from "./wrap.ts";

const day = 24 * 3_600_000;
/** What a key is; two key objects look the same to `expect`. */
const key = (ring: Ring, id: number) => ring.key(id)?.export().toString("hex");
const kek = kekOf(Buffer.alloc(32, 1), "one", "file");
const other = kekOf(Buffer.alloc(32, 2), "two", "file");
const code = (run: () => unknown) => {
  try {
    run();
    return "no fault";
  } catch (error) {
    return isFault(error) ? error.code : String(error);
  }
};
function pems({ publicKey, privateKey }: { publicKey: KeyObject; privateKey: KeyObject }) {
  const publicPem = String(publicKey.export({ type: "spki", format: "pem" }));
  return { publicKey: publicPem, privateKey: String(privateKey.export({ type: "pkcs8", format: "pem" })) };
}
const pairs = {
  x25519: pems(generateKeyPairSync("x25519")),
  rsa: pems(generateKeyPairSync("rsa", { modulusLength: 2048 })),
};

test("a ring opens with its own key and with no other, and holds the same keys again", () => {
  const ring = Ring.make("o", kek, undefined, 5);
  const again = Ring.open(ring.stored, [other, kek]);
  expect(key(again, 1)).toBe(key(ring, 1));
  expect(key(ring, 1)).toMatch(/^[0-9a-f]{64}$/);
  expect(again.derive("names")).toEqual(ring.derive("names"));
  expect(again.derive("names")).not.toEqual(ring.derive("else"));
  expect(code(() => Ring.open(ring.stored, [other]))).toBe("STORE_KEY_WRONG");
  expect(code(() => Ring.open(ring.stored, []))).toBe("STORE_KEY_WRONG");
  expect(code(() => Ring.open({ ...ring.stored, owner: "x" }, [kek]))).toBe("STORE_KEY_WRONG");
  expect(code(() => Ring.open({ ...ring.stored, version: 2 }, [kek]))).toBe("STORE_NEWER");
});

test("a data key is worn after 90 days, and after 2^31 values", () => {
  const ring = Ring.make("o", kek, undefined, 0);
  expect(ring.worn(90 * day - 1)).toBeUndefined();
  expect(ring.worn(90 * day)).toBe("age");
  expect(ring.counted(2 ** 31 - 1).worn(0)).toBeUndefined();
  expect(ring.counted(2 ** 31).worn(0)).toBe("values");
  const next = ring.counted(2 ** 31).rotated([kek], undefined, 91 * day);
  expect([next.current, next.worn(91 * day), key(next, 1)]).toEqual([2, undefined, key(ring, 1)]);
});

test("so many data keys are kept and no more; the root and the youngest stay", () => {
  let ring = Ring.make("o", kek, undefined, 0);
  for (let n = 0; n < keysMax + 5; n++) ring = ring.rotated([kek], undefined, n);
  const ids = ring.stored.keys.map(({ id }) => id);
  expect(ids).toHaveLength(keysMax + 1);
  expect([ids[0], ids.at(-1)]).toEqual([0, keysMax + 6]);
  expect(Ring.open(ring.stored, [kek]).current).toBe(keysMax + 6);
});

test("while the key-encryption key is changed the ring opens with both, then with the new one only", () => {
  const ring = Ring.make("o", kek, undefined, 0).rotated([kek], undefined, 1);
  const both = ring.rewrapped([kek, other], undefined);
  expect(key(Ring.open(both.stored, [kek]), 2)).toBe(key(ring, 2));
  expect(key(Ring.open(both.stored, [other]), 1)).toBe(key(ring, 1));
  const done = both.rewrapped([other], undefined);
  expect(code(() => Ring.open(done.stored, [kek]))).toBe("STORE_KEY_WRONG");
  expect([done.isFor(other, undefined), both.isFor(other, undefined)]).toEqual([true, false]);
});

test.each(["x25519", "rsa"] as const)(
  "the holder of the %s escrow key opens a ring, another holder does not",
  (kind) => {
    const escrow = escrowOf(pairs[kind].publicKey);
    const ring = Ring.make("o", kek, escrow, 0);
    expect(key(Ring.open(ring.stored, [new EscrowHolder(pairs[kind].privateKey)]), 1)).toBe(key(ring, 1));
    const stranger = pems(generateKeyPairSync("x25519")).privateKey;
    expect(code(() => Ring.open(ring.stored, [new EscrowHolder(stranger)]))).toBe("STORE_KEY_WRONG");
    expect(ring.isFor(kek, escrow)).toBe(true);
    expect(ring.isFor(kek, undefined)).toBe(false);
  },
);

test.each([
  ["nonsense", "nonsense"],
  ["an Ed25519 key", pems(generateKeyPairSync("ed25519")).publicKey],
  ["a short RSA key", pems(generateKeyPairSync("rsa", { modulusLength: 1024 })).publicKey],
])("%s is no escrow key", (_, key) => {
  expect(code(() => escrowOf(key))).toBe("CONFIG_INVALID");
});

test("one changed byte of a ring makes it no ring, and two copies heal each other", () => {
  const old = Ring.make("o", kek, undefined, 0);
  const next = old.rotated([kek], undefined, 1);
  const bytes = Buffer.from(encodeRing(next.stored));
  expect(parseRing(bytes)).toEqual(next.stored);
  for (const at of [5, 40, bytes.length - 5]) {
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ 1;
    expect(parseRing(changed)).toBeUndefined();
  }
  expect(merged(old.stored, next.stored)).toEqual(next.stored);
  expect(merged(undefined, old.stored)).toEqual(old.stored);
  const torn: StoredRing = { ...next.stored, keys: next.stored.keys.filter(({ id }) => id !== 0) };
  expect(Ring.open(merged(torn, old.stored) as StoredRing, [kek]).current).toBe(2);
  const strange = Ring.make("x", kek, undefined, 9).stored;
  expect(merged(old.stored, strange)).toEqual(old.stored);
});
