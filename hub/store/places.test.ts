import { RecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { memoryLog } from "@blueflame/shared/store/memory/memory-log.ts";
import { memoryState } from "@blueflame/shared/store/memory/memory-state.ts";
import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { openHubStore } from "./hub-store.ts";
import { rowBytes } from "./rows.ts";

const keep = { readingsMs: 1000, decisionsMs: 1000, incidentsMs: 5000 };
const one = (seq: number) =>
  create(RecordSchema, { seq: BigInt(seq), kind: { case: "orderResult", value: { orderId: `o${seq}` } } });

async function rig() {
  const now = { ms: 2000, heardMs: 2000 };
  const state = memoryState();
  const store = await openHubStore(
    state,
    memoryLog(),
    () => now.ms,
    () => now.heardMs,
  );
  const send = (generation: string, seq: number) =>
    store.keep({ nodeId: "n1", site: "", generation, records: [one(seq)] });
  const lives = async () => (await state.list("through/")).entries.map(({ key }) => key.split("/")[2]).sort();
  return { now, state, store, send, lives };
}

test("the places of outboxes of lives that are over, and of nodes that are gone, were never forgotten", async () => {
  const { now, store, send, lives } = await rig();
  await send("g1", 7);
  now.ms += 1000;
  await send("g2", 3);
  await store.trim(keep, []);
  expect(await lives()).toEqual(["g1", "g2"]);
  // The node lives, and has nothing to say: what it sends next must still count from where it was.
  [now.ms, now.heardMs] = [1_000_000, 999_000];
  await store.trim(keep, []);
  expect(await lives()).toEqual(["g2"]);
  expect(await store.durableThrough("n1", "g2")).toBe(3n);
  now.ms += 1_000_000;
  await store.trim(keep, []);
  expect(await lives()).toEqual([]);
});

test("a place that an earlier version wrote counts as moved now, and goes when its time has come", async () => {
  const { now, state, store, send, lives } = await rig();
  await state.commit([], [{ put: "through/n1/g0", value: rowBytes({ through: "9" }) }]);
  await store.trim(keep, []);
  expect(await store.durableThrough("n1", "g0")).toBe(9n);
  now.ms += 1000;
  await send("g1", 1);
  [now.ms, now.heardMs] = [now.ms + 6000, now.ms + 6000];
  await store.trim(keep, []);
  expect(await lives()).toEqual(["g1"]);
});

test("a node that began a life with each session filled the hub's memory with places", async () => {
  const { now, store, send, lives } = await rig();
  for (let n = 100; n < 350; n++) {
    now.ms += 1;
    await send(`g${n}`, 1);
  }
  await store.trim({ ...keep, incidentsMs: 1e9 }, []);
  const left = await lives();
  expect([left.length, left[0], left.at(-1)]).toEqual([200, "g150", "g349"]);
});
