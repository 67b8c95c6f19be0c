// The pace at the hub's snapshot desk, on virtual time.
import { isFault } from "@blueflame/shared/errors/fault.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { beforeEach, expect, test } from "vitest";
import { type HubSnapshots, partBytes } from "../store/snapshots.ts";
import { snapshotHandlers } from "./snapshots.driver.ts";

let clock: VirtualClock;
let refuses = false;
let given = 0;
const snapshots: HubSnapshots = {
  list: async () => [],
  async put(_node, _snapshot, offset, data) {
    if (refuses) throw new Error("no");
    return offset + data.byteLength;
  },
  async part() {
    given += partBytes;
    return new Uint8Array(partBytes);
  },
  forget: async () => [],
};
const call = { getAuthContext: () => ({}) } as never;
const code = (error: unknown) => (isFault(error) ? error.code : String(error));
let desk: ReturnType<typeof snapshotHandlers>;
beforeEach(() => {
  clock = new VirtualClock();
  [refuses, given] = [false, 0];
  const certified = () => ({ nodeId: "edge-1", revoked: () => false }) as never;
  desk = snapshotHandlers({ snapshots, clock, certified, incarnationOf: () => 1n });
});
const put = async (bytes: number) => {
  const snapshot = {
    id: "a".repeat(64),
    takenAt: timestampFromMs(1),
    incarnation: 1n,
    storeGeneration: "g",
    bytes: 9n,
  };
  return desk.putSnapshotPart({ snapshot, offset: 0n, data: new Uint8Array(bytes) } as never, call);
};

test("parts that a node asked for were given as fast as it asked", async () => {
  const asked = Array.from({ length: 40 }, () =>
    Promise.resolve(desk.getSnapshotPart({ id: "a".repeat(64), offset: 0n } as never, call)).catch(code),
  );
  for (let ms = 0; ms < 3000; ms += 50) {
    clock.advance(50);
    await Promise.resolve();
  }
  await new Promise((done) => setImmediate(done));
  // A megabyte a second, and the first one at once.
  expect(given / 1024 / 1024).toBeGreaterThan(2);
  expect(given / 1024 / 1024).toBeLessThan(4);
  clock.advance(10_000);
  const ended = await Promise.all(asked);
  expect(ended.filter((one) => one === "LIMIT_REACHED").length).toBeGreaterThan(10);
});

test("parts that were refused could be sent again and again without a pause", async () => {
  refuses = true;
  await expect(put(100).then(String, String)).resolves.toContain("no");
  expect(await put(100).then(String, String)).toContain("no"); // within the tolerance between two clocks
  const refused = await Promise.all([put(100), put(100)].map((one) => one.catch(code)));
  expect(refused).toContain("LIMIT_REACHED");
  clock.advance(1000);
  refuses = false;
  await put(100);
});
