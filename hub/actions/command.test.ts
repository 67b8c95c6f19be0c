import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { runCommand } from "./command.driver.ts";
import { recoveryDrivers } from "./recovery.driver.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-command-"));
});
afterEach(() => rmSync(dir, { recursive: true }));

const script = (text: string, timeoutMs = 10_000) => ({ argv: [process.execPath, "-e", text], cwd: dir, timeoutMs });
const run = (text: string, timeoutMs?: number) =>
  runCommand(script(text, timeoutMs), join(dir, "out.log"), { SAID: "yes" });
const alive = (pid: number) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

test("exit code 0 is success; what the command said and its environment go where they belong", async () => {
  expect(await run("console.log(process.env.SAID, process.cwd())")).toMatchObject({ ok: true });
  expect(readFileSync(join(dir, "out.log"), "utf8")).toBe(`yes ${dir}\n`);
});

test("what a command said stood in plain text in incidents and audit: a failure is told with the known words of its last line, this time", async () => {
  await run("console.log('earlier')");
  const ended = await run("console.error('no such host: hunter2secret'); process.exit(3)");
  expect(ended.ok).toBe(false);
  expect(ended.because).toMatch(/ended with 3: no such host …$/);
  expect(await run("process.kill(process.pid, 'SIGTERM')")).toMatchObject({ ok: false });
});

test("a command whose output cannot be opened is a failed attempt: it ended the hub", async () => {
  const ended = await runCommand(script(""), join(dir, "out.log", "\0"), {});
  expect(ended).toMatchObject({ ok: false, because: expect.stringContaining("its output cannot be kept") });
});

test("a command that does not exist is a failure and no exception", async () => {
  const ended = await runCommand(
    { argv: ["/nonexistent/program"], cwd: "", timeoutMs: 1_000 },
    join(dir, "out.log"),
    {},
  );
  expect(ended).toMatchObject({ ok: false, because: expect.stringContaining("could not be started") });
});

test("a command that was written as one text was quoted twice when it could not be started", async () => {
  const argv = [join(dir, "respawn -k canary")];
  const { because } = await runCommand({ argv, cwd: "", timeoutMs: 1_000 }, join(dir, "out.log"), {});
  expect(because).toBe(`${join(dir, "respawn")} … could not be started: ENOENT`);
});

test("a command beyond its time is killed with its group; what it started in a session of its own lives on", async () => {
  const text = `const { spawn } = require("node:child_process");
    const sleep = (detached) => spawn(process.execPath, ["-e", "setTimeout(() => {}, 60000)"], { detached, stdio: "ignore" });
    console.log(sleep(false).pid, sleep(true).pid); setTimeout(() => {}, 60000);`;
  const ended = await run(text, 1_500);
  expect(ended).toMatchObject({ ok: false, because: expect.stringContaining("did not end within 1.5 s") });
  const [own = 0, detached = 0] = readFileSync(join(dir, "out.log"), "utf8").trim().split(" ").map(Number);
  expect(alive(detached)).toBe(true);
  process.kill(detached, "SIGKILL");
  while (alive(own)) await new Promise((resolve) => setTimeout(resolve, 10));
});

test("without a second path nobody says that the node lives; a respawn knows its node and its attempt", async () => {
  const drivers = new Map([
    [
      "edge-1",
      {
        probe: script("process.exit(0)"),
        exec: script("console.log(process.env.BLUEFLAME_NODE, process.env.BLUEFLAME_ATTEMPT)"),
      },
    ],
  ]);
  const recovery = recoveryDrivers(drivers, join(dir, "logs"));
  expect(await recovery.askSecondPath("edge-1")).toMatchObject({ alive: true });
  expect(await recovery.askSecondPath("edge-2")).toMatchObject({ alive: false });
  expect(await recovery.respawn("edge-2", 1)).toMatchObject({ ok: false });
  expect(await recovery.respawn("edge-1", 4)).toMatchObject({ ok: true });
  expect(readFileSync(join(dir, "logs", "edge-1-respawn.log"), "utf8")).toBe("edge-1 4\n");
});

test("a whole site that is asked in one moment does not start all its probes at once", async () => {
  const nodes = Array.from({ length: 20 }, (_, n) => `edge-${n}`);
  const text =
    "const fs = require('node:fs'); const me = 'p-' + process.pid; fs.writeFileSync(me, ''); setTimeout(() => { console.log(fs.readdirSync('.').filter((name) => name.startsWith('p-')).length); fs.rmSync(me); }, 400)";
  const driver = { probe: script(text, 60_000), exec: undefined };
  const recovery = recoveryDrivers(new Map(nodes.map((node) => [node, driver])), join(dir, "logs"));
  const answers = await Promise.all(nodes.map((node) => recovery.askSecondPath(node)));
  expect(answers.every(({ alive }) => alive)).toBe(true);
  const seen = nodes.map((node) => Number(readFileSync(join(dir, "logs", `${node}-probe.log`), "utf8")));
  expect(Math.max(...seen)).toBeLessThanOrEqual(8);
  expect(Math.max(...seen)).toBeGreaterThan(1);
});
