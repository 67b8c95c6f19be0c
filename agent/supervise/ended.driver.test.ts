import { spawn } from "node:child_process";
import { readdirSync, readlinkSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { koffi } from "../libc.driver.ts";
import { EndWatch } from "./ended.driver.ts";
import { procStat } from "./proc.driver.ts";

function started() {
  const child = spawn("/bin/sleep", ["60"], { stdio: "ignore" });
  onTestFinished(() => void child.kill("SIGKILL"));
  const pid = child.pid ?? 0;
  return { child, pid, startTicks: procStat(pid)?.startTicks ?? 0 };
}
const watching = () => {
  const watch = new EndWatch();
  onTestFinished(() => watch.close());
  return watch;
};

test.skipIf(!koffi())(
  "PHX-3 the end of one among many that are not asked by themselves is known at once (needs the prebuilt addon)",
  async () => {
    const watch = watching();
    const all = [started(), started(), started()];
    expect(watch.mayHaveEnded(all)).toBe(false);
    all[1]?.child.kill("SIGKILL");
    for (let n = 0; n < 500 && !watch.mayHaveEnded(all); n++) await pause(10);
    expect(watch.mayHaveEnded(all)).toBe(true);
    const left = all.filter((_, at) => at !== 1);
    expect(watch.mayHaveEnded(left)).toBe(false);
  },
);

test("a number that another process has by now is no proof that ours lives", () => {
  const one = started();
  expect(watching().mayHaveEnded([{ pid: one.pid, startTicks: one.startTicks - 1 }])).toBe(true);
});

test("without the calls nobody is certain of anything, but that nobody has not ended", () => {
  const watch = new EndWatch(undefined);
  expect(watch.mayHaveEnded([])).toBe(false);
});

test.skipIf(!koffi())(
  "descriptors are closed when nobody asks about their processes any more (needs the prebuilt addon)",
  () => {
    const closed = started();
    const watch = watching();
    const others = Array.from({ length: 5 }, started);
    expect(watch.mayHaveEnded([closed, ...others])).toBe(false);
    const before = descriptors();
    expect(watch.mayHaveEnded([closed])).toBe(false);
    expect(before - descriptors()).toBe(5);
    watch.close();
    expect(before - descriptors()).toBe(6);
  },
);

function descriptors(): number {
  return readdirSync("/proc/self/fd").filter((name) => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`).includes("pidfd");
    } catch {
      return false;
    }
  }).length;
}
