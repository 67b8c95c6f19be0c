import { readFileSync } from "node:fs";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { expect, test } from "vitest";
import { koffi, type Native } from "./libc.driver.ts";
import { giveBackUnused } from "./unused-memory.driver.ts";

test("what was freed is given back after the start and then every ten minutes, until it is cancelled", () => {
  const clock = new VirtualClock(1000);
  let trims = 0;
  const cancel = giveBackUnused(clock, () => {
    trims++;
  });
  clock.advance(19_000);
  expect(trims).toBe(0);
  clock.advance(2000);
  expect(trims).toBe(1);
  clock.advance(1_800_000);
  expect(trims).toBe(4);
  cancel();
  clock.advance(3_600_000);
  expect(trims).toBe(4);
});

const glibc = "glibcVersionRuntime" in (process.report.getReport() as { header: object }).header;
test.skipIf(!glibc || !koffi())(
  "the system has the pages of freed memory again (needs glibc and the prebuilt addon)",
  () => {
    const libc = koffi()?.load(null);
    const malloc = libc?.func("uintptr_t malloc(size_t bytes)") as Native;
    const free = libc?.func("void free(uintptr_t memory)") as Native;
    const memset = libc?.func("uintptr_t memset(uintptr_t memory, int value, size_t bytes)") as Native;
    const residentMb = () => (Number(readFileSync("/proc/self/statm", "utf8").split(" ")[1]) * 4096) / 2 ** 20;
    // Below the size from which each block is mapped by itself; those that stay keep the others from the heap's end.
    const blocks = Array.from({ length: 2000 }, () => malloc(64 * 1024));
    for (const block of blocks) memset(block, 1, 64 * 1024);
    const stays = (at: number) => at % 20 === 19;
    for (const [at, block] of blocks.entries()) if (!stays(at)) free(block);
    const heldMb = residentMb();
    const clock = new VirtualClock(0);
    const cancel = giveBackUnused(clock);
    clock.advance(30_000);
    cancel();
    expect(heldMb - residentMb()).toBeGreaterThan(60);
    for (const [at, block] of blocks.entries()) if (stays(at)) free(block);
  },
);
