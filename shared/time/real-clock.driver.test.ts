import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { realClock } from "./real-clock.driver.ts";

const timers = () => process.getActiveResourcesInfo().filter((one) => one === "Timeout").length;

test("who is to be woken at the same whole millisecond is woken together, by one timer, and not after it was cancelled", async () => {
  const clock = realClock();
  const atMs = Math.ceil(clock.monotonicMs()) + 30;
  const before = timers();
  const woken: string[] = [];
  clock.wakeAt(atMs, () => {
    woken.push("a");
    cancelC();
  });
  clock.wakeAt(atMs, () => woken.push("b"));
  const cancelC = clock.wakeAt(atMs, () => woken.push("c"));
  const cancelD = clock.wakeAt(atMs, () => woken.push("d"));
  expect(timers() - before).toBe(1);
  cancelD();
  await new Promise<void>((resolve) => clock.wakeAt(atMs, resolve));
  expect(woken).toEqual(["a", "b"]);
  cancelD();
  // Counted anew: timers of whoever shares this process may have ended meanwhile.
  const after = timers();
  const alone = clock.wakeAt(atMs + 60_000, () => undefined);
  const apart = clock.wakeAt(atMs + 0.5, () => undefined);
  expect(timers() - after).toBe(2);
  alone();
  alone();
  apart();
  expect(timers() - after).toBe(0);
});

test("values of two processes compare: the clock of a new one was 2 ms behind the machine's, and its wakes half a millisecond early", () => {
  const module = new URL("./real-clock.driver.ts", import.meta.url).href;
  const text = `const { realClock } = await import(${JSON.stringify(module)});
    const clock = realClock();
    const behind = () => -clock.monotonicMs() + Number(process.hrtime.bigint()) / 1e6;
    console.log(Math.min(...Array.from({ length: 2000 }, behind)));`;
  const args = ["--no-warnings", "--input-type=module", "--eval", text];
  const behindMs = Number(execFileSync(process.execPath, args, { encoding: "utf8" }));
  expect(Math.abs(behindMs)).toBeLessThan(0.5);
});
