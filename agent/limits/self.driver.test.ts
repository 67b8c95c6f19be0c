import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { expect, test } from "vitest";
import { guardSelf } from "./self.driver.ts";

test("DOL-5 an agent over its own memory asks for its own restart after a minute, and after an absence only after another one", () => {
  const clock = new VirtualClock();
  const asked: string[] = [];
  let residentBytes = 100 * 2 ** 20;
  const guard = guardSelf({
    self: { memoryBytes: 512 * 2 ** 20, oomScore: 0 },
    workloads: 1,
    clock,
    restartSelf: (because) => asked.push(because),
    log: () => undefined,
    residentBytes: () => residentBytes,
  });
  clock.advance(600_000);
  residentBytes = 600 * 2 ** 20;
  clock.advance(50_000);
  clock.stall(30_000);
  clock.advance(55_000);
  expect(asked).toEqual([]);
  clock.advance(10_000);
  expect(asked).toEqual(["the agent has held 600 MiB for 60 s, its limit is 512 MiB"]);
  guard.close();
  clock.advance(600_000);
  expect(asked.length).toBe(1);
});
