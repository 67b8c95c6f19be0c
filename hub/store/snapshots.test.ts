import { createHash, randomBytes } from "node:crypto";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import { memoryLog } from "@blueflame/shared/store/memory/memory-log.ts";
import { memoryState } from "@blueflame/shared/store/memory/memory-state.ts";
import { beforeEach, expect, test } from "vitest";
import { type HubSnapshots, hubSnapshots, partBytes } from "./snapshots.ts";

const state = memoryState();
const log = memoryLog();
const commits = { write: async (ops: Parameters<typeof state.commit>[1]) => void (await state.commit([], ops)) };
const bounds = { keep: 2, bytes: 4 * partBytes, allBytes: 8 * partBytes };
let snapshots: HubSnapshots;
let node = 0;
let nodeId: string;
beforeEach(async () => {
  snapshots = await hubSnapshots(state, log, commits, bounds);
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
const code = (error: unknown) => (isFault(error) ? error.code : String(error));
const ids = async () => (await snapshots.list(nodeId)).map(({ id }) => id);

test("CARD-4 PRA-10 a snapshot comes back byte for byte, also when its sending was cut and the hub was started again", async () => {
  const one = made(2 * partBytes + 17);
  expect(await send(one, 0, partBytes)).toBe(partBytes);
  await expect(snapshots.part(nodeId, one.row.id, 0).catch(code)).resolves.toBe("NOT_FOUND");
  snapshots = await hubSnapshots(state, log, commits, bounds);
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
  let refused = "";
  for (let at = 0; at < 12 && refused === ""; at++) {
    nodeId = `full-${at}`;
    refused = await send(made(bounds.bytes)).then(() => "", code);
  }
  expect(refused).toBe("LIMIT_REACHED");
});

test("a snapshot that was told smaller at first than it is got past the bound of the hub", async () => {
  snapshots = await hubSnapshots(state, log, commits, { ...bounds, allBytes: 1e9 });
  const one = made(3 * partBytes);
  await snapshots.put(nodeId, { ...one.row, bytes: 2 * partBytes }, 0, partOf(one.bytes, 0));
  const more = snapshots.put(nodeId, one.row, partBytes, partOf(one.bytes, partBytes)).catch(code);
  await expect(more).resolves.toBe("BAD_REQUEST");
});

test("a snapshot of which the hub had lost a part could never be finished, nor begun anew", async () => {
  snapshots = await hubSnapshots(state, log, commits, { ...bounds, allBytes: 1e9 });
  const one = made(2 * partBytes);
  await send(one, 0, partBytes);
  await log.trim(`snapshot/${nodeId}/${one.row.id.slice(0, 40)}`, Number.MAX_SAFE_INTEGER);
  await expect(send(one, partBytes).catch(code)).resolves.toBe("BAD_REQUEST");
  await send(one);
  expect((await back(one.row.id)).equals(one.bytes)).toBe(true);
});
