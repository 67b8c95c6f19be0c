import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { certificateOf, type HubFolder, hubFolder, hubIn } from "../../test/support/hub.ts";
import { kekOf } from "../store/keys/key-file.ts";
import { Ring } from "../store/keys/ring.ts";
import { SnapshotWriter, snapshotsIn } from "../store/snapshot-file.ts";
import { parcelMax, partBytes } from "../store/snapshot-parcel.ts";
import type { HubTarget } from "./ports.ts";
import { checkRoom, fetchSnapshot } from "./snapshot-fetching.driver.ts";
import { snapshotLine } from "./snapshot-line.driver.ts";
import { sendSnapshots } from "./snapshot-sending.driver.ts";

const clock = realClock();
let folder: HubFolder;
let hub: Awaited<ReturnType<typeof hubIn>>;
let target: HubTarget;
let warned: string[];
beforeEach(async () => {
  folder = hubFolder();
  hub = await hubIn(folder);
  target = { addresses: [hub.grpcAddress], ...(await certificateOf(folder, "edge-1")) };
  warned = [];
});
afterEach(() => folder.clear());

const log = { info: () => undefined, warn: (_facts: object, text: string) => void warned.push(text) };
const dataDir = (name: string) => join(folder.dir, name);
const ring = Ring.make("g", kekOf(Buffer.alloc(32, 1), "test", "file"), undefined, 0).stored;
/** Of a table that only a later version knows, so that its values are taken as they are; the first byte says how they are sealed. */
async function snapshot(name: string, seal: number, bytes: number): Promise<void> {
  const writer = await SnapshotWriter.begin(snapshotsIn(dataDir(name)));
  const value = new Uint8Array(bytes).map((_, at) => (at * 31) & 255);
  value[0] = seal;
  await writer.add("later/1", value);
  await writer.finish(
    { nodeId: "edge-1", generation: "g", owner: "g", incarnation: "4", session: "1", ring },
    1_700_000_000_000,
    () => undefined,
  );
}
function sending(name: string) {
  const link = () => ({ state: "connected", hub: hub.grpcAddress, because: "" }) as const;
  const sender = sendSnapshots({ target, dataDir: dataDir(name), link, clock, log, lookMs: 20 });
  folder.closeLater(() => sender.close());
  return sender;
}
async function kept() {
  const line = snapshotLine(target, hub.grpcAddress);
  try {
    return (await line.service.listSnapshots({}, line.within)).snapshots;
  } finally {
    line.close();
  }
}
async function until(what: string, holds: () => Promise<boolean> | boolean): Promise<void> {
  for (let n = 0; n < 1000; n++, await pause(20)) if (await holds()) return;
  throw new Error(`in vain: ${what}`);
}
const filesOf = (name: string) =>
  Object.fromEntries(
    ["entries", "manifest.json"].map((file) => [
      file,
      readFileSync(join(snapshotsIn(dataDir(name)), "1", file), "base64"),
    ]),
  );

test("PRA-10 CARD-4 a snapshot goes to the hub by itself, over a sending that was cut, and a new machine gets it as it was", async () => {
  await snapshot("old", 1, 2 * partBytes);
  const first = sending("old");
  await until("a part is there", async () => (await kept()).some(({ storedBytes }) => storedBytes > 0n));
  await first.close();
  sending("old");
  await until("it is whole", async () => (await kept()).some(({ storedBytes, bytes }) => storedBytes === bytes));
  expect(warned).toEqual([]);

  // A try of the new machine that was cut has left a part and a half.
  const [one] = await kept();
  mkdirSync(snapshotsIn(dataDir("new")), { recursive: true });
  const fetched = await fetchSnapshot(target, dataDir("new"), one?.id.slice(0, 8));
  expect(fetched.place).toBe(join(snapshotsIn(dataDir("new")), "1"));
  expect(filesOf("new")).toEqual(filesOf("old"));
  expect(readdirSync(snapshotsIn(dataDir("new")))).toEqual(["1"]);
});

test("a snapshot that the hub had was read from end to end at every look", async () => {
  await snapshot("old", 1, partBytes);
  sending("old");
  await until("it is whole", async () => (await kept()).some(({ storedBytes, bytes }) => storedBytes === bytes));
  await pause(100); // a look or two
  rmSync(join(snapshotsIn(dataDir("old")), "1", "entries"));
  await pause(200);
  expect(warned).toEqual([]);
});

test("what is not sealed never leaves the node, and that is said once", async () => {
  await snapshot("old", 0, 100);
  sending("old");
  await until("it is said", () => warned.length > 0);
  await pause(200);
  expect(warned).toEqual([expect.stringContaining("is not sealed")]);
  expect(await kept()).toEqual([]);
});

test("a snapshot that is too large for the hub was read to its end and offered again each minute", async () => {
  await snapshot("old", 1, 100);
  const manifest = join(snapshotsIn(dataDir("old")), "1", "manifest.json");
  writeFileSync(manifest, JSON.stringify({ ...JSON.parse(readFileSync(manifest, "utf8")), bytes: 200_000_000 }));
  rmSync(join(snapshotsIn(dataDir("old")), "1", "entries"));
  sending("old");
  await until("it is said", () => warned.length > 0);
  await pause(200);
  expect(warned).toEqual([expect.stringMatching(/200000000 bytes, the hub takes at most \d+/)]);
  // The next one goes.
  await snapshot("old", 1, 100);
  await until("it is whole", async () => (await kept()).some(({ storedBytes, bytes }) => storedBytes === bytes));
});

test("a hub that named a snapshot larger than any store filled the disk of a new machine", async () => {
  const refused = (bytes: number) => checkRoom(dataDir("new"), bytes).catch((error) => isFault(error) && error.code);
  expect([await refused(2 * parcelMax), await refused(0)]).toEqual(["STORE_DAMAGED", "STORE_DAMAGED"]);
  expect(await refused(partBytes)).toBeUndefined();
});

test("a node sees its own snapshots only, whatever it asks for, and one that was taken back sees none", async () => {
  await snapshot("old", 1, 100);
  const sender = sending("old");
  await until("it is whole", async () => (await kept()).length === 1);
  await sender.close();
  const [one] = await kept();
  target = { addresses: [hub.grpcAddress], ...(await certificateOf(folder, "edge-2")) };
  expect(await kept()).toEqual([]);
  const refused = await fetchSnapshot(target, dataDir("other"), one?.id).catch((error) => isFault(error) && error.code);
  expect(refused).toBe("NOT_FOUND");
});

test("what came damaged is refused by name, and the next try begins anew", async () => {
  await snapshot("old", 1, partBytes + 100);
  const sender = sending("old");
  await until("it is whole", async () => (await kept()).some(({ storedBytes, bytes }) => storedBytes === bytes));
  await sender.close();
  const [one] = await kept();
  mkdirSync(snapshotsIn(dataDir("new")), { recursive: true });
  const part = join(snapshotsIn(dataDir("new")), `hub-${one?.id.slice(0, 16)}.part`);
  writeFileSync(part, new Uint8Array(partBytes + 5)); // somebody else's bytes
  const refused = await fetchSnapshot(target, dataDir("new"), undefined).catch((error) => isFault(error) && error.code);
  expect(refused).toBe("STORE_DAMAGED");
  await fetchSnapshot(target, dataDir("new"), undefined);
  expect(filesOf("new")).toEqual(filesOf("old"));
  rmSync(dataDir("new"), { recursive: true });
});

test("a snapshots folder that cannot be listed ended the agent, a minute after each start", async () => {
  mkdirSync(dataDir("edge-9"), { recursive: true });
  writeFileSync(snapshotsIn(dataDir("edge-9")), "no folder");
  sending("edge-9");
  await until("people are told", () => warned.some((text) => text.includes("ENOTDIR")));
});
