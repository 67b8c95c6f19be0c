import { spawn } from "node:child_process";
import { setTimeout as pause } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { mayHaveStoppedChild } from "./stopped.driver.ts";

test("PHX-3 a child that a signal has stopped is seen until it goes on, and its exit is still told", async () => {
  const child = spawn("/bin/sleep", ["60"], { stdio: "ignore" });
  onTestFinished(() => void child.kill("SIGKILL"));
  const seen = async (as: boolean) => {
    for (let n = 0; n < 500 && mayHaveStoppedChild() !== as; n++) await pause(10);
    return mayHaveStoppedChild();
  };
  expect(await seen(false)).toBe(false);
  child.kill("SIGSTOP");
  expect([await seen(true), mayHaveStoppedChild()]).toEqual([true, true]);
  child.kill("SIGCONT");
  expect(await seen(false)).toBe(false);
  const ended = new Promise((resolve) => child.once("exit", (_code, signal) => resolve(signal)));
  child.kill("SIGTERM");
  expect(await ended).toBe("SIGTERM");
});
