import { expect, test } from "vitest";
import { type ConfigMemory, judged, type KeptConfig, lastHealthy, noMemory, pruned, received, used } from "./memory.ts";

const config = (sum: string, atMs = 0): Omit<KeptConfig, "verdict" | "because"> => {
  return { sum, bytes: 1, origin: "file", from: "/a.yaml", receivedWallMs: atMs };
};
const sums = (memory: ConfigMemory) => memory.versions.map(({ sum }) => sum);
const ran = (memory: ConfigMemory, sum: string) => used(received(memory, config(sum)), sum);

test("PHX-5 every config is kept with its origin and what became of it", () => {
  let memory = judged(ran(noMemory, "a"), "healthy", "");
  memory = judged(ran(memory, "b"), "unhealthy", "'engine' could not be brought back");
  memory = received(memory, { ...config("c"), origin: "operator" }, "line 3 is wrong");
  expect(memory.versions.map(({ sum, origin, verdict, because }) => [sum, origin, verdict, because])).toEqual([
    ["c", "operator", "refused", "line 3 is wrong"],
    ["b", "file", "unhealthy", "'engine' could not be brought back"],
    ["a", "file", "healthy", ""],
  ]);
  expect(memory.inUse).toBe("b");
});

test("what failed later was not the fault of one that was healthy, and one that was not may still become so", () => {
  let memory = judged(ran(noMemory, "a"), "unhealthy", "x");
  memory = judged(memory, "healthy", "");
  expect(judged(memory, "unhealthy", "y")).toBe(memory);
  expect(lastHealthy(memory)?.sum).toBe("a");
});

test("the same again is no new version; one that comes back is the newest and keeps its verdict", () => {
  const one = judged(ran(noMemory, "a"), "healthy", "");
  expect(received(one, config("a", 5))).toBe(one);
  const back = received(ran(one, "b"), config("a", 9));
  expect(sums(back)).toEqual(["a", "b"]);
  expect(back.versions[0]).toMatchObject({ verdict: "healthy", receivedWallMs: 9 });
});

test("PHX-5 the last healthy config and the one in use are never dropped, however many bad ones come after", () => {
  let memory = judged(ran(noMemory, "good"), "healthy", "");
  memory = ran(memory, "running");
  for (let n = 0; n < 100; n++) memory = pruned(received(memory, config(`bad-${n}`), "no config"));
  expect(memory.versions).toHaveLength(32);
  expect(sums(memory).slice(-2)).toEqual(["running", "good"]);
  expect(lastHealthy(memory)?.sum).toBe("good");
});
