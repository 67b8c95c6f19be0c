import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { type LocalApi, serveLocalApi } from "@blueflame/agent/api/server.driver.ts";
import { readAgentConfig } from "@blueflame/agent/config/config.driver.ts";
import { seeded } from "@blueflame/shared/random/random.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { inRoot } from "../../deploy/root.ts";
import { bundled } from "../../test/support/bundle.ts";
import type { MemorySpace } from "../../test/support/memory-space.ts";
import { memoryNode } from "../../test/support/node.ts";
import { type Progress, readProgress, type Summary } from "./batch.ts";

let dir: string;
let api: LocalApi;
let space: MemorySpace;
let life: ChildProcess | undefined;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "bf-kept-"));
  const node = memoryNode(["kept"]);
  const found = node.workloads.get("kept");
  if (!found) throw new Error("there is a workload");
  space = found.state;
  api = await serveLocalApi({ node, socketPath: join(dir, "agent.sock"), log: () => {} });
});
afterEach(async () => {
  if (life?.pid) process.kill(-life.pid, "SIGKILL");
  await api.close();
  rmSync(dir, { recursive: true, force: true });
});

/** Starts a life of the program; true when it ended well by itself, false when it was killed, `ms` after it had got on. */
async function live(command: readonly string[], env: Record<string, string>, ms: number): Promise<boolean> {
  const [file = "", ...args] = command;
  const agent = { BLUEFLAME_SOCKET: join(dir, "agent.sock"), BLUEFLAME_TOKEN: "token-of-kept" };
  const before = space.contents().revision;
  const child = spawn(file, args, { env: { ...process.env, ...agent, ...env }, stdio: "ignore", detached: true });
  life = child;
  let whole: boolean | undefined;
  const ended = new Promise<void>((resolve) =>
    child.once("exit", (code) => {
      whole = code === 0;
      resolve();
    }),
  );
  while (whole === undefined && space.contents().revision === before) await pause(5);
  await Promise.race([ended, pause(ms)]);
  const killed = whole === undefined;
  if (killed && child.pid) process.kill(-child.pid, "SIGKILL");
  await ended;
  if (life === child) life = undefined; // a test that was cut short goes on beside the next one
  return !killed && whole === true;
}
async function logged(log: string): Promise<string[]> {
  if (!space.contents().logs.has(log)) return [];
  return (await space.readLog(log, 0, 10_000)).map(({ data }) => Buffer.from(data).toString());
}

test("PHX-9 the importer, killed at random moments, takes each row once", async () => {
  const rows = Array.from({ length: 40 }, (_, at) => `row ${at} ${"x".repeat(at % 7)}`);
  const file = join(dir, "rows.csv");
  writeFileSync(file, ["header", ...rows].join("\n"));
  const program = await bundled("examples/importer/main.ts");
  const random = seeded(11);
  const env = { IMPORTER_BATCH: "3", IMPORTER_PAUSE_MS: "20" };
  let lives = 0;
  while (!(await live([process.execPath, program, file], env, lives < 6 ? random() * 60 : 60_000))) lives += 1;
  const whole: Progress = { next: rows.length, characters: rows.reduce((sum, row) => sum + row.length, 0) };
  expect(readProgress(space.peek("importer/progress")?.value)).toEqual(whole);
  const summaries = (await logged("batches")).map((entry) => JSON.parse(entry) as Summary);
  expect(summaries.flatMap(({ from, to }) => rows.slice(from, to + 1))).toEqual(rows);
  expect(lives).toBeGreaterThan(0);
});

test("PHX-9 a shell script keeps its steps at the agent by buf curl, and none is counted twice when it is killed", async () => {
  const script = inRoot("examples", "shell-steps", "steps.sh");
  const env = { BUF: inRoot("node_modules", ".bin", "buf"), PAUSE_S: "0.05" };
  const random = seeded(13);
  for (let lives = 0; lives < 3; lives += 1) await live(["/bin/sh", script], env, random() * 300);
  const steps = await logged("steps");
  expect(steps.length).toBeGreaterThanOrEqual(3);
  expect(steps).toEqual(steps.map((_, at) => `step ${at + 1}`));
  expect(Buffer.from(space.peek("steps")?.value ?? []).toString()).toBe(String(steps.length));
});

test("a shell script whose agent is gone ends, instead of asking for ever", async () => {
  await api.close();
  const command = ["/bin/sh", inRoot("examples", "shell-steps", "steps.sh")];
  const env = { BUF: inRoot("node_modules", ".bin", "buf"), PAUSE_S: "0.05", GIVE_UP_AFTER: "2" };
  // Nothing is written any more, so only its own end lets this go on.
  expect(await live(command, env, 0)).toBe(false);
});

test("a shell script goes on step by step where the agent's revision is not the step's number, as after a restore", async () => {
  space.plant("steps", Buffer.from("7"), 40);
  const env = { BUF: inRoot("node_modules", ".bin", "buf"), PAUSE_S: "0.05" };
  const living = live(["/bin/sh", inRoot("examples", "shell-steps", "steps.sh")], env, 60_000);
  while ((await logged("steps")).length < 2) await pause(20);
  if (life?.pid) process.kill(-life.pid, "SIGKILL");
  await living;
  expect((await logged("steps")).slice(0, 2)).toEqual(["step 8", "step 9"]);
});

test.each(["importer", "shell-steps"])("the config of %s is one that the agent takes", (name) => {
  const { workloads } = readAgentConfig(inRoot("examples", name, "blueflame.yaml"), process.env);
  expect(workloads.map((one) => one.name)).toEqual([name]);
});
