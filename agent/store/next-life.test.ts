import { expect, test } from "vitest";
import { heir, restAgain } from "./next-life.ts";

const stored = { nodeId: "n", generation: "g2", owner: "g1", incarnation: "2", session: "7", bootId: "b", repairs: 1 };
const mirror = { nodeId: "n", generation: "g3", owner: "g1", incarnation: "3", session: "1", resting: {} };
const isAtRest = (state: unknown) => (state as { rests: boolean }).rests;
const rests = { rests: true };
const runs = { rests: false };

test("the heir is the same node and owner, in a life that is no older than any that is known", () => {
  expect(heir(stored, mirror)).toMatchObject({ nodeId: "n", owner: "g1", incarnation: "3", repairs: -1 });
  expect(heir({ ...stored, incarnation: "9" }, mirror)?.incarnation).toBe("9");
  expect(heir(undefined, mirror)).toMatchObject({ nodeId: "n", owner: "g1", incarnation: "3", bootId: "" });
  expect(heir(stored, undefined)).toMatchObject({ owner: "g1", incarnation: "2" });
  expect(heir(undefined, undefined)).toBeUndefined();
});

test("the processes of a store from before there was an owner carry its generation", () => {
  const { owner: _none, ...old } = stored;
  expect(heir(old, undefined)?.owner).toBe("g2");
});

test("SYN-5 GRC-7 what a person stopped stays stopped, whatever the mended store remembers", () => {
  const before = new Map([["a", runs]]);
  expect(restAgain(before, { a: rests, b: rests }, isAtRest, false)).toEqual([
    { workload: "a", state: rests },
    { workload: "b", state: rests },
  ]);
  expect(restAgain(new Map([["a", { rests: true, n: 2 }]]), { a: rests }, isAtRest, false)).toEqual([]);
});

test("the file of what rests holds no incident: the one that is open in the store stays known", () => {
  const before = new Map([["a", { rests: false, incident: { id: "i-1" } }]]);
  const again = { workload: "a", state: { rests: true, incident: { id: "i-1" } } };
  expect(restAgain(before, { a: rests }, isAtRest, false)).toEqual([again]);
  // An earlier version wrote it, and knew better.
  const older = { rests: true, incident: { id: "i-2" } };
  expect(restAgain(before, { a: older }, isAtRest, false)).toEqual([{ workload: "a", state: older }]);
});

test("in an older store, what rests there and not in the mirror was started since; in a newer one it was just stopped", () => {
  const before = new Map<string, unknown>([
    ["a", rests],
    ["b", runs],
  ]);
  expect(restAgain(before, {}, isAtRest, true)).toEqual([{ workload: "a", state: undefined }]);
  expect(restAgain(before, {}, isAtRest, false)).toEqual([]);
});
