import { createHash, randomBytes } from "node:crypto";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import { memoryLog } from "@blueflame/shared/store/memory/memory-log.ts";
import { memoryState } from "@blueflame/shared/store/memory/memory-state.ts";
import { beforeEach, expect, test } from "vitest";
import { type HubSnapshots, hubSnapshots, partBytes } from "./snapshots.ts";

const state = memoryState();
const log = memoryLog();
let nowMs = 1_000_000;
const heardMs = new Map<string, number>();
const heard = { wallMs: () => nowMs, heardMs: (one: string) => heardMs.get(one) ?? 0 };
const commits = { write: async (ops: Parameters<typeof state.commit>[1]) => void (await state.commit([], ops)) };
const bounds = { keep: 2, bytes: 4 * partBytes, allBytes: 8 * partBytes };
let snapshots: HubSnapshots;
let node = 0;
let nodeId: string;
beforeEach(async () => {
  snapshots = await hubSnapshots(state, log, commits, heard, bounds);
  nodeId = `edge-${++node}`;
});

const made = (length: number) => {
  const bytes = randomBytes(length);
  const id = createHash("sha256").update(bytes).digest("hex");
  return { bytes, row: { id, takenWallMs: 1, incarnation: "3", generation: "g", bytes: length } };
};
const partOf = (bytes: Uint8Array, offset: number) => bytes.subarray(offset, offset + partBytes);
async function send(one: ReturnType<typeof made>, from = 0, to = Number.POSITIVE_INFINITY): Promise<number> {
  let stored = from;
  while (stored < Math.min(to, one.bytes.length))
    stored = await snapshots.put(nodeId, one.row, stored, partOf(one.bytes, stored));
  return stored;
}
async function back(id: string): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for (let offset = 0; ; offset += partBytes) {
    const data = await snapshots.part(nodeId, id, offset);
    if (data.byteLength === 0) return Buffer.concat(parts);
    parts.push(data);
  }
}
/** A hub that has nothing yet. */
async function fresh(): Promise<void> {
  const own = memoryState();
  const write = async (ops: Parameters<typeof own.commit>[1]) => void (await own.commit([], ops));
  snapshots = await hubSnapshots(own, memoryLog(), { write }, heard, bounds);
}
const code = (error: unknown) => (isFault(error) ? error.code : String(error));
const ids = async () => (await snapshots.list(nodeId)).map(({ id }) => id);

test("CARD-4 PRA-10 a snapshot comes back byte for byte, also when its sending was cut and the hub was started again", async () => {
  const one = made(2 * partBytes + 17);
  expect(await send(one, 0, partBytes)).toBe(partBytes);
  await expect(snapshots.part(nodeId, one.row.id, 0).catch(code)).resolves.toBe("NOT_FOUND");
  snapshots = await hubSnapshots(state, log, commits, heard, bounds);
  expect(await snapshots.list(nodeId)).toMatchObject([{ stored: partBytes, bytes: one.bytes.length }]);
  // Sent twice, and too far: both are answered with where to go on.
  expect(await snapshots.put(nodeId, one.row, 0, partOf(one.bytes, 0))).toBe(partBytes);
  expect(await snapshots.put(nodeId, one.row, 2 * partBytes, partOf(one.bytes, 2 * partBytes))).toBe(partBytes);
  await send(one, partBytes);
  expect((await back(one.row.id)).equals(one.bytes)).toBe(true);
});

test("the newest are kept, the one before them goes with all its parts, and another node sees none of it", async () => {
  const all = [made(partBytes), made(5), made(partBytes + 1)];
  for (const one of all) await send(one);
  expect(await ids()).toEqual([all[2]?.row.id, all[1]?.row.id]);
  expect(await log.range(`snapshot/${nodeId}/${all[0]?.row.id.slice(0, 40)}`, { limit: 10 })).toEqual([]);
  expect(await snapshots.list("somebody-else")).toEqual([]);
  await expect(snapshots.part("somebody-else", all[2]?.row.id ?? "", 0).catch(code)).resolves.toBe("NOT_FOUND");
});

test("another one that begins takes the place of one that was never finished", async () => {
  await fresh();
  const [whole, cut, next] = [made(9), made(3 * partBytes), made(7)];
  await send(whole);
  await send(cut, 0, partBytes);
  await send(next);
  expect(await ids()).toEqual([next.row.id, whole.row.id]);
});

test("what is not what its name says is forgotten, and the good ones stay", async () => {
  const [good, bad] = [made(9), made(partBytes + 3)];
  await send(good);
  bad.bytes[5] = (bad.bytes[5] ?? 0) ^ 1;
  await expect(send(bad).catch(code)).resolves.toBe("BAD_REQUEST");
  expect(await ids()).toEqual([good.row.id]);
});

test("a snapshot that is too large, parts of a wrong length and names that are none are refused", async () => {
  const large = made(bounds.bytes + 1);
  await expect(send(large).catch(code)).resolves.toBe("LIMIT_REACHED");
  const one = made(partBytes + 3);
  const put = (offset: number, length: number, id = one.row.id) =>
    snapshots.put(nodeId, { ...one.row, id }, offset, new Uint8Array(length)).catch(code);
  expect(await put(0, 17)).toBe("BAD_REQUEST");
  expect(await put(3, partBytes)).toBe("BAD_REQUEST");
  expect(await put(partBytes * 2, 3)).toBe("BAD_REQUEST");
  expect(await put(0, partBytes, "../etc")).toBe("BAD_REQUEST");
  expect(await ids()).toEqual([]);
});

test("a hub that is full refuses what would be one too many, by name", async () => {
  await fresh();
  let refused = "";
  for (let at = 0; at < 12 && refused === ""; at++) {
    nodeId = `full-${at}`;
    refused = await send(made(partBytes)).then(() => "", code);
  }
  expect([refused, nodeId]).toEqual(["LIMIT_REACHED", "full-8"]);
});

test("a snapshot that was told smaller at first than it is got past the bound of the hub", async () => {
  snapshots = await hubSnapshots(state, log, commits, heard, { ...bounds, allBytes: 1e9 });
  const one = made(3 * partBytes);
  await snapshots.put(nodeId, { ...one.row, bytes: 2 * partBytes }, 0, partOf(one.bytes, 0));
  const more = snapshots.put(nodeId, one.row, partBytes, partOf(one.bytes, partBytes)).catch(code);
  await expect(more).resolves.toBe("BAD_REQUEST");
});

test("a snapshot of which the hub had lost a part could never be finished, nor begun anew", async () => {
  snapshots = await hubSnapshots(state, log, commits, heard, { ...bounds, allBytes: 1e9 });
  const one = made(2 * partBytes);
  await send(one, 0, partBytes);
  await log.trim(`snapshot/${nodeId}/${one.row.id.slice(0, 40)}`, Number.MAX_SAFE_INTEGER);
  await expect(send(one, partBytes).catch(code)).resolves.toBe("BAD_REQUEST");
  await send(one);
  expect((await back(one.row.id)).equals(one.bytes)).toBe(true);
});

test("PRA-10 the snapshots of nodes that were gone shut out those that live", async () => {
  await fresh();
  for (let at = 0; at < 8; at++) {
    nodeId = `gone-${at}`;
    await send(made(partBytes));
    nowMs += 1000;
  }
  nowMs += 40 * 86_400_000;
  // It has not sent for a while, and is heard all the same.
  heardMs.set("gone-0", nowMs - 1000);
  nodeId = "living";
  await send(made(2 * partBytes));
  const left = [];
  for (let at = 0; at < 8; at++) if ((await snapshots.list(`gone-${at}`)).length > 0) left.push(at);
  expect(left).toEqual([0, 3, 4, 5, 6, 7]);
  expect(await ids()).toHaveLength(1);
});

test("PRA-10 the older snapshots of others make room for the first one of a node, and the last good one of a living node never does", async () => {
  await fresh();
  const newest: string[] = [];
  for (const name of ["one", "two", "three", "four"]) {
    nodeId = name;
    for (let n = 0; n < 2; n++) {
      const shot = made(partBytes);
      await send(shot);
      newest[n === 0 ? newest.length : newest.length - 1] = shot.row.id;
      nowMs += 1000;
    }
  }
  for (const name of ["five", "six", "seven", "eight"]) {
    nodeId = name;
    await send(made(partBytes));
  }
  nodeId = "nine";
  await expect(send(made(partBytes)).catch(code)).resolves.toBe("LIMIT_REACHED");
  const left = await Promise.all(["one", "two", "three", "four"].map((name) => snapshots.list(name)));
  expect(left.map((all) => all.map(({ id }) => id))).toEqual(newest.map((id) => [id]));
});

test("a few large snapshots could shut out all the small ones", async () => {
  await fresh();
  for (const name of ["a", "b", "c", "d"]) {
    nodeId = name;
    await send(made(partBytes));
  }
  nodeId = "large";
  await expect(send(made(3 * partBytes)).catch(code)).resolves.toBe("LIMIT_REACHED");
  nodeId = "e";
  await send(made(partBytes));
  expect(await ids()).toHaveLength(1);
});

test("what is kept of a node of which nothing was heard for longer than anything is kept is forgotten", async () => {
  await fresh();
  for (const name of ["silent", "heard", "sends"]) {
    nodeId = name;
    await send(made(5));
  }
  nowMs += 1_000_000;
  heardMs.set("heard", nowMs);
  await send(made(6));
  expect(await snapshots.forget(nowMs - 1000)).toEqual(["silent"]);
  expect(await snapshots.list("silent")).toEqual([]);
  expect([(await snapshots.list("heard")).length, (await snapshots.list("sends")).length]).toEqual([1, 2]);
});

test("a later part of a snapshot that nobody had begun made others' snapshots go, gave up the node's own, and was not kept itself", async () => {
  await fresh();
  const others = ["one", "two", "three"];
  for (const name of others) {
    nodeId = name;
    for (let n = 0; n < 2; n++) await send(made(Math.floor(1.3 * partBytes)));
  }
  nodeId = "early";
  const one = made(2 * partBytes);
  expect(await snapshots.put(nodeId, one.row, partBytes, partOf(one.bytes, partBytes))).toBe(0);
  expect(await Promise.all(others.map(async (name) => (await snapshots.list(name)).length))).toEqual([2, 2, 2]);
  await send(one, 0, partBytes);
  const another = made(2 * partBytes);
  expect(await snapshots.put(nodeId, another.row, partBytes, partOf(another.bytes, partBytes))).toBe(0);
  expect(await snapshots.list(nodeId)).toMatchObject([{ id: one.row.id, stored: partBytes }]);
});
