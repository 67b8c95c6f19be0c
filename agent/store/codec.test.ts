import { isFault } from "@blueflame/shared/errors/fault.ts";
import { expect, test } from "vitest";
import { Codec } from "./codec.ts";
import { kekOf } from "./keys/key-file.ts";
import { Ring } from "./keys/ring.ts";

const kek = kekOf(Buffer.alloc(32, 1), "test", "file");
const ring = Ring.make("owner-1", kek, undefined, 0);
const code = (run: () => unknown) => {
  try {
    run();
    return "no fault";
  } catch (error) {
    return isFault(error) ? error.code : String(error);
  }
};
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();

test("PHX-9 what is sealed opens at its own place only, and says nothing to who has no key", () => {
  const codec = new Codec(ring);
  const sealed = codec.seal("workload/a", Buffer.from("the loss streak is 3"));
  expect(text(codec.open("workload/a", sealed).value)).toBe("the loss streak is 3");
  expect(text(sealed)).not.toContain("loss");
  expect(sealed[0]).toBe(1);
  expect(sealed.byteLength).toBe(1 + 4 + 12 + 20 + 16);
  expect(code(() => codec.open("workload/b", sealed))).toBe("STORE_RECORD_CHANGED");
  const others = Ring.make("owner-2", kek, undefined, 0);
  expect(code(() => new Codec(others).open("workload/a", sealed))).toBe("STORE_RECORD_CHANGED");
});

test("the same value is never sealed to the same bytes", () => {
  const codec = new Codec(ring);
  const seen = new Set(
    Array.from({ length: 1000 }, () => Buffer.from(codec.seal("a/b", Buffer.from("v"))).toString("hex")),
  );
  expect(seen.size).toBe(1000);
});

test("every bit that changes, and every byte that is missing, is noticed by name", () => {
  const codec = new Codec(ring);
  const sealed = Buffer.from(codec.seal("audit/1", Buffer.from("value")));
  for (let bit = 0; bit < sealed.length * 8; bit++) {
    const changed = Buffer.from(sealed);
    changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    expect(code(() => codec.open("audit/1", changed))).toMatch(/^STORE_(RECORD_CHANGED|DATA_KEY_UNKNOWN)$/);
  }
  for (let length = 0; length < sealed.length; length++) {
    expect(code(() => codec.open("audit/1", sealed.subarray(0, length)))).toMatch(/^STORE_RECORD_(CUT|CHANGED)$/);
  }
  expect(code(() => codec.open("audit/1", sealed.subarray(0, 32)))).toBe("STORE_RECORD_CUT");
});

test("a tag cut to four bytes does not open, although the cipher itself would take it", () => {
  const codec = new Codec(ring);
  const sealed = codec.seal("audit/1", Buffer.from("a value that is long enough"));
  expect(code(() => codec.open("audit/1", sealed.subarray(0, sealed.byteLength - 12)))).toBe("STORE_RECORD_CHANGED");
});

test("what an unknown key sealed is named so", () => {
  const later = ring.rotated([kek], undefined, 1);
  const sealed = new Codec(later).seal("audit/1", Buffer.from("v"));
  expect(code(() => new Codec(ring).open("audit/1", sealed))).toBe("STORE_DATA_KEY_UNKNOWN");
  expect(text(new Codec(later).open("audit/1", new Codec(ring).seal("audit/1", Buffer.from("old"))).value)).toBe("old");
});

test("PHX-9 a name that a workload chose stands in no key: it is a keyed hash, the same through every rotation", () => {
  const codec = new Codec(ring);
  const place = codec.placeOf("kv/firewall\0api-secret");
  expect(place).toMatch(/^kv\/firewall\0[0-9a-f]{32}$/);
  const later = ring.rotated([kek], undefined, 1).rewrapped([kekOf(Buffer.alloc(32, 2), "other", "file")], undefined);
  expect(new Codec(later).placeOf("kv/firewall\0api-secret")).toBe(place);
  expect(codec.placeOf("kv/other\0api-secret").slice(-32)).not.toBe(place.slice(-32));
  expect(new Codec(Ring.make("owner-1", kek, undefined, 0)).placeOf("kv/firewall\0api-secret")).not.toBe(place);
  const sealed = codec.seal("kv/firewall\0api-secret", Buffer.from("v"));
  expect(codec.open(place, sealed)).toEqual({ key: "kv/firewall\0api-secret", value: Buffer.from("v") });
});

test.each([
  ["audit/1", "audit/1"],
  ["kv/w\0", "kv/w|"],
  ["log/w\0näme\x0000ff", "log/w|#|00ff"],
  ["kv/w\0\0x", "kv/w|#|x"],
])("the place of %j, and back", (key, place) => {
  const codec = new Codec(ring);
  const found = codec.placeOf(key);
  expect(found.replaceAll("\0", "|").replace(/[0-9a-f]{32}/, "#")).toBe(place);
  if (key !== "kv/w\0") expect(codec.open(found, codec.seal(key, new Uint8Array())).key).toBe(key);
});
