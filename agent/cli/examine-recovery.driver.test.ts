import { type ChildProcess, spawn } from "node:child_process";
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { writeGoodCopy } from "../bootstrap/good-copy.ts";
import { readAgentConfig } from "../config/config.driver.ts";
import { keepLastGood } from "../config/last-good.driver.ts";
import { KillSwitch } from "../recovery/kill-switch.driver.ts";
import { type Door, openDoor } from "../watchdog/door.ts";
import { keyFor } from "../watchdog/key.ts";
import { identify } from "../watchdog/process.ts";
import { keepWord } from "../watchdog/word.ts";
import { examineRecovery } from "./examine-recovery.driver.ts";

let dir: string;
const doors: Door[] = [];
const children: ChildProcess[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-examine-"));
});
afterEach(() => {
  for (const door of doors.splice(0)) door.close();
  for (const child of children.splice(0)) child.kill("SIGKILL");
  rmSync(dir, { recursive: true, force: true });
});

test("a folder in which no agent has run has nothing, and nothing is made there by looking", async () => {
  const { native, ...found } = await examineRecovery(join(dir, "none"), []);
  expect(found).toEqual({
    watchdog: { is: "none" },
    goodCopy: { is: "absent" },
    snapshots: { count: 0 },
    limits: [],
  });
  expect(typeof native).toBe("boolean");
});

test("GRC-7 kill switch and a person's word are read from their files", async () => {
  new KillSwitch(dir).turnOn({ person: "asha", reason: "drill", at: "2026-11-25T10:00:00.000Z" });
  await keepWord(dir, "down", "asha");
  expect(await examineRecovery(dir, [])).toMatchObject({
    killed: { person: "asha", reason: "drill", at: "2026-11-25T10:00:00.000Z" },
    word: "down",
  });
});

test("a good copy is sound until one byte of it differs", async () => {
  const program = join(dir, "agent.cjs");
  writeFileSync(program, "// the program");
  writeGoodCopy(dir, [{ source: program, target: program, name: "blueflame-agent.cjs" }], "1.2.3");
  expect((await examineRecovery(dir, [])).goodCopy).toEqual({ is: "sound", version: "1.2.3", files: 1 });
  appendFileSync(join(dir, "good", "blueflame-agent.cjs"), "x");
  expect((await examineRecovery(dir, [])).goodCopy).toMatchObject({
    is: "damaged",
    because: expect.stringContaining("blueflame-agent.cjs"),
  });
});

test("a watchdog that answers is told from one that is hung, and from none", async () => {
  const key = keyFor(dir);
  if (!key) throw new Error("no key");
  expect((await examineRecovery(dir, [])).watchdog).toEqual({ is: "none" });
  const self = identify(process.pid);
  const door = await openDoor(key, dir, self, (line) => line.send({ is: "welcome", init: true, flags: "" }));
  if (door === "taken") throw new Error("the name is taken");
  expect((await examineRecovery(dir, [])).watchdog).toEqual({ is: "answers", pid: process.pid, init: true });
  door.close();
  const listen = `require("node:net").createServer(() => {}).listen(${JSON.stringify(`\0${key.name}`)}, () => console.log("listens"))`;
  const hung = spawn(process.execPath, ["-e", listen], { stdio: ["ignore", "pipe", "inherit"] });
  children.push(hung);
  await new Promise((resolve) => hung.stdout?.once("data", resolve));
  expect((await examineRecovery(dir, [])).watchdog).toEqual({ is: "silent", pid: hung.pid });
  hung.kill("SIGSTOP");
  expect((await examineRecovery(dir, [])).watchdog).toEqual({ is: "silent", pid: hung.pid, stopped: true });
});

test("DOL-5 a limit counts as held only when the process is in a cgroup of its workload", async () => {
  writeFileSync(
    join(dir, "agent.yaml"),
    "workloads:\n  - {name: web, command: [sleep, '60'], limits: {memory: 1GiB, cpu: 50%}}\n",
  );
  keepLastGood(dir, readAgentConfig(join(dir, "agent.yaml"), process.env), {
    text: "",
    origin: "file",
    from: "agent.yaml",
  });
  const child = spawn("sleep", ["60"]);
  children.push(child);
  const { limits } = await examineRecovery(dir, [
    { name: "web", pid: child.pid ?? 0 },
    { name: "stopped", pid: 0 },
  ]);
  expect(limits).toEqual([
    { workload: "web", what: "tasks", by: "watching" },
    { workload: "web", what: "memory", by: "watching" },
    { workload: "web", what: "cpu", by: "nobody" },
  ]);
});
