import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { keyFor } from "../watchdog/key.ts";
import { ask, stoppedAgent } from "./ask.driver.ts";

let dir: string;
const children: ChildProcess[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-ask-"));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  rmSync(dir, { recursive: true, force: true });
});

/** It has the names of an agent and says nothing, as one that is stopped does. */
async function mute(): Promise<ChildProcess> {
  const name = keyFor(dir)?.name;
  const source = `const { createServer } = require("node:net");
    createServer(() => {}).listen(${JSON.stringify(join(dir, "agent.sock"))}, () =>
      createServer(() => {}).listen(${JSON.stringify(`\0${name}-agent`)}, () => console.log("listens")));`;
  const child = spawn(process.execPath, ["-e", source], { stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  await new Promise((resolve) => child.stdout?.once("data", resolve));
  return child;
}
const status = () => ask(dir, (desk) => desk.getStatus({}, { timeoutMs: 1000 })).catch((error: Error) => error.message);

test("an agent that a signal has stopped: `status` named a deadline of gRPC and no process, and asked for a flag that it does not have", async () => {
  const agent = await mute();
  const late = await status();
  expect(late).toMatch(/^\[TIMED_OUT\] the peer did not answer in time\. /);
  expect(stoppedAgent(dir)).toBeUndefined();
  agent.kill("SIGSTOP");
  const said = await status();
  expect(said).toContain(`[TIMED_OUT] the agent (process ${agent.pid}) was stopped by a signal`);
  expect(said).toContain("`blueflame-agent emergency`");
  expect(said).not.toMatch(/DEADLINE|LB pick|name resolution/);
  expect(stoppedAgent(dir)).toBe(agent.pid);
});

test("a socket that nobody may open is told with its mode, and what cannot be reached in no words of the library", async () => {
  const path = join(dir, "agent.sock");
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  chmodSync(path, 0);
  try {
    // Root is let in anyway.
    if (process.getuid?.() !== 0) expect(await status()).toContain("it may not be opened (mode 000)");
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
  expect(await status()).not.toContain("Resolution note");
});
