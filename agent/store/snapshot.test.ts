import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import { seeded } from "@blueflame/shared/random/random.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { canMount, smallDisk } from "../../test/contract/small-disk.ts";
import { Codec } from "./codec.ts";
import { sealedForm } from "./form.ts";
import { kekOf } from "./keys/key-file.ts";
import { Ring } from "./keys/ring.ts";
import { unreadable } from "./readable.ts";
import { startSnapshots } from "./snapshot.ts";
import { entriesOf, SnapshotWriter, snapshotNumbers, verifySnapshot } from "./snapshot-file.ts";
import { Arriving, parcelOf, partBytes } from "./snapshot-parcel.ts";

const hour = 3_600_000;
const ring = Ring.make("g1", kekOf(Buffer.alloc(32, 1), "test", "file"), undefined, 0);
const codec = new Codec(ring);
const check = (key: string, sealed: Uint8Array) => unreadable(sealedForm(codec), key, sealed);
const sealText = (key: string, text: string) => codec.seal(key, Buffer.from(text));
/** Knows when the next look was ordered: the one before is done then. */
class CountingClock extends VirtualClock {
  ordered = 0;
  override wakeAt(atMs: number, wake: () => void) {
    this.ordered++;
    return super.wakeAt(atMs, wake);
  }
}
let dir: string;
let clock: CountingClock;
let missed: (string | undefined)[];
let running: { close(): Promise<void> } | undefined;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-snapshot-"));
  clock = new CountingClock();
  missed = [];
});
afterEach(async () => {
  await running?.close();
  running = undefined;
  rmSync(dir, { recursive: true, force: true });
});

/** A store of these rows, as the snapshots see it. */
function storeOf(rows: Map<string, Uint8Array>, generation = "g1") {
  return {
    identity: { nodeId: "n", generation, owner: "g1", incarnation: 1n, session: 2n, previousBootId: "" },
    trouble: () => undefined as string | undefined,
    ring: () => ring.stored,
    onRewrapped: () => () => undefined,
    problem: check,
    async copyTo(each: (key: string, sealed: Uint8Array) => Promise<void> | void) {
      for (const [key, sealed] of [...rows].sort(([a], [b]) => (a < b ? -1 : 1))) await each(key, sealed);
    },
  };
}
const rows = () =>
  new Map([
    ["token/a", sealText("token/a", "hash")],
    ["workload/a", sealText("workload/a", "{}")],
  ]);
function begin(store = storeOf(rows()), dataDir = dir): void {
  running = startSnapshots({
    store,
    clock,
    dataDir,
    everyMs: hour,
    keep: 3,
    missed: (because) => missed.push(because),
  });
}
const numbers = () => snapshotNumbers(join(dir, "snapshots"));
const place = (number: number) => join(dir, "snapshots", String(number));
/** Lets time pass up to a look, and the disk answer. */
async function pass(ms: number): Promise<void> {
  const before = clock.ordered;
  clock.advance(ms);
  for (let n = 0; n < 1000 && clock.ordered === before; n++) await pause(5);
  expect(clock.ordered).toBeGreaterThan(before);
}
const code = (error: unknown) => (isFault(error) ? error.code : String(error));

test("a snapshot is taken soon after the start, then every hour, and the three youngest are kept", async () => {
  begin();
  clock.advance(4999);
  expect(numbers()).toEqual([]);
  await pass(1);
  expect(numbers()).toEqual([1]);
  clock.advance(hour - 1);
  expect(numbers()).toEqual([1]);
  await pass(1);
  expect(numbers()).toEqual([2, 1]);
  await pass(hour);
  await pass(hour);
  await pass(hour);
  expect(numbers()).toEqual([5, 4, 3]);
  expect(statSync(join(place(5), "entries")).mode & 0o777).toBe(0o600);
  expect(statSync(place(5)).mode & 0o777).toBe(0o700);
});

test("after a restart the next one is due an hour after the last, at once in a new life or when the date went back", async () => {
  begin();
  await pass(5000);
  await running?.close();
  begin();
  await pass(5000);
  expect(numbers()).toEqual([1]);
  await running?.close();
  begin(storeOf(rows(), "g2"));
  await pass(5000);
  expect(numbers()).toEqual([2, 1]);
  await running?.close();
  clock.stepWall(-hour);
  begin(storeOf(rows(), "g2"));
  await pass(5000);
  expect(numbers()).toEqual([3, 2, 1]);
});

test("it holds what the store held, also values larger than what is read at once", async () => {
  const chance = seeded(3);
  const large = new Map<string, Uint8Array>();
  for (let at = 0; at < 300; at++) {
    const text = `"${"x".repeat(Math.floor(chance() ** 8 * 900_000))}"`;
    const key = `workload/${String(at).padStart(3, "0")}`;
    large.set(key, sealText(key, text));
  }
  begin(storeOf(large));
  clock.advance(5000);
  while (numbers().length === 0) await pause(10);
  const found: [string, string][] = [];
  for await (const [key, sealed] of entriesOf(place(1), await verifySnapshot(place(1), check))) {
    found.push([key, Buffer.from(sealed).toString("base64")]);
  }
  expect(found).toEqual([...large].map(([key, sealed]) => [key, Buffer.from(sealed).toString("base64")]));
});

test("a value that nobody can read keeps the good snapshots: no other pushes them out, and it is said once", async () => {
  const kept = rows();
  begin(storeOf(kept));
  await pass(5000);
  kept.set("workload/b", sealText("workload/b", "{ cut"));
  for (let round = 0; round < 5; round++) await pass(hour);
  expect(numbers()).toEqual([1]);
  expect(missed.filter((one) => one !== undefined)).toEqual([
    expect.stringMatching(/^\[STORE_DAMAGED\] 'workload\/b'/),
  ]);
  kept.delete("workload/b");
  await pass(hour);
  expect(numbers()).toEqual([2, 1]);
  expect(missed.at(-1)).toBeUndefined();
  expect(readdirSync(join(dir, "snapshots")).sort()).toEqual(["1", "2"]);
});

test("one that was cut, changed, lengthened or lost its manifest is of no use", async () => {
  begin();
  await pass(5000);
  await verifySnapshot(place(1), check);
  appendFileSync(join(place(1), "entries"), "x");
  expect(await verifySnapshot(place(1), check).catch(code)).toBe("STORE_DAMAGED");
  writeFileSync(join(place(1), "entries"), "");
  expect(await verifySnapshot(place(1), check).catch(code)).toBe("STORE_DAMAGED");
  writeFileSync(join(place(1), "manifest.json"), "{");
  expect(await verifySnapshot(place(1), check).catch(code)).toBe("STORE_DAMAGED");
  rmSync(place(1), { recursive: true });
  expect(await verifySnapshot(place(1), check).catch(code)).toBe("STORE_DAMAGED");
});

test("what a writer left that died is removed by the next one", async () => {
  mkdirSync(join(dir, "snapshots", "1.new"), { recursive: true });
  writeFileSync(join(dir, "snapshots", "1.new", "entries"), "half");
  begin();
  await pass(5000);
  expect(readdirSync(join(dir, "snapshots"))).toEqual(["1"]);
});

test("fetchings that were given up do not heap up: the next one keeps its own part only", async () => {
  const parts = () => readdirSync(join(dir, "snapshots"));
  const [one, two] = ["a", "b"].map((digit) => digit.repeat(64)) as [string, string];
  const first = await Arriving.begin(dir, one);
  await first.add(new Uint8Array(partBytes));
  await first.close();
  const again = await Arriving.begin(dir, one);
  expect(again.bytes).toBe(partBytes);
  await again.close();
  await (await Arriving.begin(dir, two)).close();
  expect(parts()).toEqual([`hub-${two.slice(0, 16)}.part`]);
});

test("one that came from the hub and one that the running agent was writing took each other's folder, and what had come was gone", async () => {
  const folder = join(dir, "snapshots");
  const who = { nodeId: "edge-1", generation: "g1", owner: "g1", incarnation: "1", session: "1", ring: ring.stored };
  const write = async (to: string, key: string) => {
    const writer = await SnapshotWriter.begin(to);
    await writer.add(key, Buffer.from([1, 2]));
    return writer;
  };
  await (await write(join(dir, "other"), "kv/a")).finish(who, 5, () => undefined);
  const parcel = await parcelOf(join(dir, "other", "1"));
  const arriving = await Arriving.begin(dir, parcel.id);
  await arriving.add(await parcel.part(0));
  const writer = await write(folder, "kv/b");
  expect(await arriving.finish()).toBe(join(folder, "1"));
  expect(await writer.finish(who, 6, () => undefined)).toBe(2);
  expect(readdirSync(folder).sort()).toEqual(["1", "2"]);
});

test.skipIf(!canMount())(
  "a disk that was full when a snapshot from the hub was unwrapped cost all that had been fetched (needs the right to mount)",
  async () => {
    const disk = smallDisk(48 * 1024 * 1024);
    try {
      const who = {
        nodeId: "edge-1",
        generation: "g1",
        owner: "g1",
        incarnation: "1",
        session: "1",
        ring: ring.stored,
      };
      const writer = await SnapshotWriter.begin(join(dir, "other"));
      for (let n = 0; n < 8; n++) await writer.add(`kv/${n}`, Buffer.alloc(partBytes, 1));
      await writer.finish(who, 5, () => undefined);
      const parcel = await parcelOf(join(dir, "other", "1"));
      const fetched = async () => {
        const arriving = await Arriving.begin(disk.dir, parcel.id);
        const missing = arriving.bytes;
        while (arriving.bytes < parcel.bytes) await arriving.add(await parcel.part(arriving.bytes));
        return { arriving, missing };
      };
      const { arriving } = await fetched();
      disk.fill(parcel.bytes / 2);
      await expect(arriving.finish()).rejects.toThrow(
        /^\[STORE_WRITE_FAILED\] unwrapping a snapshot of \d+ bytes failed: ENOSPC/,
      );
      expect(readdirSync(join(disk.dir, "snapshots"))).toEqual([`hub-${parcel.id.slice(0, 16)}.part`]);
      disk.free();
      const again = await fetched();
      expect(parcel.bytes - again.missing).toBeLessThan(partBytes);
      expect(await again.arriving.finish()).toBe(join(disk.dir, "snapshots", "1"));
      expect(readdirSync(join(disk.dir, "snapshots"))).toEqual(["1"]);
    } finally {
      disk.remove();
    }
  },
);

test.skipIf(!canMount())("a disk that is nearly full is left to the store (needs the right to mount)", async () => {
  const disk = smallDisk(48 * 1024 * 1024);
  try {
    disk.fill(1024 * 1024);
    begin(storeOf(rows()), disk.dir);
    await pass(5000);
    expect(existsSync(join(disk.dir, "snapshots", "1"))).toBe(false);
    expect(missed[0]).toMatch(/^\[STORE_WRITE_FAILED\] no snapshot of the store was taken: \d+ bytes are free/);
    await running?.close();
  } finally {
    disk.remove();
  }
});
