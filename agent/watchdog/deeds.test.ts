import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { shedsEnvironment } from "../../test/support/shed-environment.ts";
import { requireTool } from "../../test/tools.ts";
import { places } from "../constants.ts";
import { markVariable as familiesMark } from "../supervise/family.driver.ts";
import { Critical, criticalText } from "./critical.ts";
import { parseFlags } from "./flags.ts";
import { goodProgram, isDamaged } from "./good.ts";
import { livesIn, livesText } from "./lives.ts";
import { Log } from "./log.ts";
import { allPids, environOf, identify, leads, lookAt, signalProcess } from "./process.ts";
import { programOf, revival } from "./program.ts";
import { clearWord, keepWord, wordOf } from "./word.ts";

/** Its own second would be too short for a busy machine. */
const until = (holds: () => boolean) => vi.waitUntil(holds, { timeout: 60_000 });
let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-deeds-"));
});
afterEach(async () => {
  for (const pid of living("w")) process.kill(pid, "SIGKILL");
  await until(() => living("w").length === 0);
  rmSync(dir, { recursive: true, force: true });
});

const owner = `deeds-${process.pid}`;
const living = (workload: string) =>
  allPids().filter((pid) => environOf(pid, "BLUEFLAME_MARK")?.startsWith(`${owner}:${workload}:`) && leads(pid));

describe("SYN-2 critical workloads while there is no agent", () => {
  const workload = (command: [string, ...string[]]) => ({
    name: "w",
    command,
    cwd: dir,
    env: { BLUEFLAME_WORKLOAD: "w" },
    output: join(dir, "w.log"),
  });
  const write = (command: [string, ...string[]]) =>
    writeFileSync(join(dir, places.critical), criticalText(owner, [workload(command)]));

  test("SYN-2 one that does not live is started once, with the marker by which an agent adopts it, and its output kept", async () => {
    write(["/bin/sh", "-c", "echo here; exec sleep 60"]);
    const critical = new Critical(dir, () => undefined);
    await critical.tend(0, () => true);
    await until(() => living("w").length === 1);
    const [pid = 0] = living("w");
    expect(environOf(pid, familiesMark)).toMatch(
      /^deeds-\d+:w:[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    );
    expect(environOf(pid, "BLUEFLAME_TOKEN")).toMatch(/^[0-9a-f]{64}$/);
    await critical.tend(60_000, () => true);
    expect(living("w")).toEqual([pid]);
    await until(() => readFileSync(join(dir, "w.log"), "utf8") === "here\n");
  });

  test("GRC-7 nothing is started while the kill switch is on, or when an agent has come meanwhile", async () => {
    write(["/bin/sleep", "60"]);
    const critical = new Critical(dir, () => undefined);
    await critical.tend(0, () => false);
    writeFileSync(join(dir, places.killSwitch), "{}");
    await critical.tend(0, () => true);
    expect(living("w")).toEqual([]);
    rmSync(join(dir, places.killSwitch));
    await critical.tend(0, () => true);
    await until(() => living("w").length === 1);
  });

  test("one that ends again at once is started ever more rarely; one whose marker is gone is known by its number", async () => {
    write(["/bin/true"]);
    const said: string[] = [];
    const critical = new Critical(dir, (msg) => said.push(msg));
    for (let second = 0; second < 60; second += 1) {
      const before = said.length;
      await critical.tend(second * 1000, () => true);
      // The seconds pass at once here, and to end takes it a while on a busy machine.
      if (said.length > before) await until(() => living("w").length === 0);
    }
    expect(said.length).toBeGreaterThanOrEqual(3);
    expect(said.length).toBeLessThanOrEqual(5);
    const known = { ...workload(["/bin/sleep", "60"]), process: identify(process.pid) };
    writeFileSync(join(dir, places.critical), criticalText(owner, [known]));
    await new Critical(dir, () => undefined).tend(0, () => true);
    expect(living("w")).toEqual([]);
  });

  test("PHX-4 a critical workload that overwrote its environment was started again at each look of the watchdog: four of a kind", async (context) => {
    write([requireTool(context, "python3"), "-c", shedsEnvironment()]);
    const started: number[] = [];
    const watchdog = () => new Critical(dir, (_msg, { pid }) => started.push(Number(pid)));
    const lasting = () => started.filter((pid) => leads(pid));
    try {
      let critical = watchdog();
      for (let look = 0; look < 4; look += 1) {
        if (look === 3) critical = watchdog(); // the next one, which has started nothing itself
        await critical.tend(look * 600_000, () => true);
        await until(() => started.every((pid) => environOf(pid, familiesMark) === undefined));
      }
      expect(lasting()).toHaveLength(1);
      expect(statSync(join(dir, places.criticalLives)).mode & 0o777).toBe(0o600);
      // Once it has ended it is started again.
      process.kill(started[0] ?? 0, "SIGKILL");
      await until(() => lasting().length === 0);
      await critical.tend(3_000_000, () => true);
      expect(lasting()).toEqual([started[1]]);
    } finally {
      for (const pid of lasting()) process.kill(pid, "SIGKILL");
      await until(() => lasting().length === 0);
    }
  });

  test("what was written down of another boot or owner, and what is torn, is nobody's life", () => {
    const life = { workload: "w", id: "i", pid: 7, startTicks: 70 };
    const text = livesText("o", "b", [life]);
    expect(livesIn(text, "o", "b")).toEqual([life]);
    expect([livesIn(text, "p", "b"), livesIn(text, "o", "c"), livesIn(text.slice(0, -9), "o", "b")]).toEqual([
      [],
      [],
      [],
    ]);
    const nonsense = [null, 7, { ...life, pid: "7" }] as unknown as [typeof life];
    expect(livesIn(livesText("o", "b", nonsense), "o", "b")).toEqual([]);
    expect(livesIn(livesText("o", "b", Array(5000).fill(life)), "o", "b")).toHaveLength(1000);
  });

  test("a command that is nowhere, and a file that is torn, are told or passed over", async () => {
    const said: unknown[] = [];
    write(["/nowhere/at/all"]);
    await new Critical(dir, (_msg, fields) => said.push(fields)).tend(0, () => true);
    expect(said).toEqual([{ workload: "w", because: "cannot start /nowhere/at/all" }]);
    writeFileSync(join(dir, places.critical), '{"format":1,"own');
    await new Critical(dir, () => expect.unreachable()).tend(0, () => true);
  });
});

describe("the good copy", () => {
  const kept = (name: string, text: string) => {
    const target = join(dir, "installed", name);
    for (const path of [target, join(dir, "good", name)]) {
      mkdirSync(join(path, ".."), { recursive: true });
      writeFileSync(path, text);
    }
    return { name, target, size: text.length, sha256: createHash("sha256").update(text).digest("hex"), mode: 0o755 };
  };
  const install = (...names: string[]) => {
    const files = names.map((name) => kept(name, `the text of ${name}`));
    writeFileSync(join(dir, "good", "manifest.json"), JSON.stringify({ format: 1, version: "1", files }));
  };

  test("SYN-1 what is installed is damaged when it is cut, changed or missing, and its config may change", async () => {
    expect(await isDamaged(dir)).toBe(false); // nothing to compare with
    install("binary", "config.yaml");
    const binary = join(dir, "installed", "binary");
    expect(await isDamaged(dir)).toBe(false);
    writeFileSync(join(dir, "installed", "config.yaml"), "changed");
    expect(await isDamaged(dir)).toBe(false);
    writeFileSync(binary, "the text of binarx");
    expect(await isDamaged(dir)).toBe(true);
    truncateSync(binary, 3);
    expect(await isDamaged(dir)).toBe(true);
    rmSync(binary);
    expect(await isDamaged(dir)).toBe(true);
  });

  test("the good copy is run only when it is whole: the executable, or the bundle on the Node that was kept with it", async () => {
    install("binary");
    expect(await goodProgram(dir)).toEqual([join(dir, "good", "binary")]);
    writeFileSync(join(dir, "good", "binary"), "the text of binarx");
    expect(await goodProgram(dir)).toBeUndefined();
    install("node", "blueflame-agent.cjs", "native/a.node");
    expect(await goodProgram(dir)).toEqual([join(dir, "good", "node"), join(dir, "good", "blueflame-agent.cjs")]);
    rmSync(join(dir, "good", "native", "a.node"));
    expect(await goodProgram(dir)).toBeUndefined();
    rmSync(join(dir, "good"), { recursive: true });
    expect(await goodProgram(dir)).toBeUndefined();
  });

  test("a revived agent goes on with the last good config, by whichever program", () => {
    const command = ["/n/node", "/d/agent.cjs", "up", "--config", "c.yaml", "--", "x", "up"];
    expect(programOf(command)).toEqual(["/n/node", "/d/agent.cjs"]);
    const revived = ["up", "--last-good", "--config", "c.yaml", "--", "x", "up"];
    expect(revival(command, undefined)).toEqual(["/n/node", "/d/agent.cjs", ...revived]);
    expect(revival(command, ["/good/binary"])).toEqual(["/good/binary", ...revived]);
    expect(revival(["/b", ...revived], undefined)).toEqual(["/b", ...revived]);
    const again = ["/b", "up", "--data-dir", "/d", "--last-good", "--", "x"];
    expect(revival(again, undefined)).toEqual(again); // a command must not grow from life to life
    expect(revival(["/b", "up", "--", "--last-good"], undefined)).toEqual([
      "/b",
      "up",
      "--last-good",
      "--",
      "--last-good",
    ]);
  });
});

test("GRC-7 a person's word is durable: `down` over reboots, `stop` until the next; a torn one is none", async () => {
  expect(wordOf(dir)).toBeUndefined();
  expect(await keepWord(dir, "stop", "a test")).toBe(true);
  expect(wordOf(dir)).toBe("stop");
  const path = join(dir, places.intent);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  writeFileSync(path, readFileSync(path, "utf8").replace(/"boot":"[^"]*"/, '"boot":"another"'));
  expect(wordOf(dir)).toBeUndefined();
  await keepWord(dir, "down", "a test");
  writeFileSync(path, readFileSync(path, "utf8").replace(/"boot":"[^"]*"/, '"boot":"another"'));
  expect(wordOf(dir)).toBe("down");
  clearWord(dir, "stop");
  expect(wordOf(dir)).toBe("down");
  // Ctrl-C while it goes down: after a reboot the node came up again.
  expect(await keepWord(dir, "stop", "a test")).toBe(true);
  expect(wordOf(dir)).toBe("down");
  clearWord(dir);
  expect(existsSync(path)).toBe(false);
  writeFileSync(path, '{"word":');
  expect(wordOf(dir)).toBeUndefined();
  expect(await keepWord("/proc/nowhere", "down", "a test")).toBe(false);
});

test("SYN-2 the log is JSON lines in a file of at most 1 MiB and the one before it", async () => {
  const path = join(dir, "logs", "watchdog.log");
  const log = new Log(path);
  for (let round = 0; round < 30; round++) {
    for (let n = 0; n < 60; n++) log.say(30, "y".repeat(1000), { n });
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await until(() => existsSync(`${path}.1`));
  await until(() => readFileSync(path, "utf8").endsWith("\n"));
  expect(statSync(path).size).toBeLessThan(1.3 * 1024 * 1024);
  const [first = ""] = readFileSync(path, "utf8").split("\n");
  expect(JSON.parse(first)).toMatchObject({ level: 30, part: "watchdog", msg: expect.stringContaining("yyy") });
});

test("a process is told apart: running, stopped, gone, a zombie, and another one with its number", async () => {
  const child = spawn("/bin/sleep", ["60"]);
  const who = identify(child.pid ?? 0);
  expect(lookAt(who).sight).toBe("running");
  expect(lookAt({ ...who, startTicks: who.startTicks + 1 }).sight).toBe("gone");
  child.kill("SIGSTOP");
  await until(() => lookAt(who).sight === "stopped");
  signalProcess({ ...who, startTicks: who.startTicks + 1 }, "SIGKILL"); // not who it was: not touched
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(lookAt(who).sight).toBe("stopped");
  signalProcess(who, "SIGTERM"); // wakes it too
  await until(() => lookAt(who).sight === "gone");
});

test("the figures of the policy can be set, and are handed on as they were given", () => {
  const flags = parseFlags(
    ["--data-dir", "/d", "--init", "--well-after", "2s", "--restarts", "9", "--", "up", "--x"],
    "/e",
  );
  expect(flags).toMatchObject({
    dataDir: "/d",
    init: true,
    figures: "--well-after 2s --restarts 9",
    words: ["up", "--x"],
  });
  expect("policy" in flags && flags.policy).toMatchObject({
    wellAfterMs: 2000,
    restartsMax: 9,
    cooldownMs: 300_000,
    stays: true,
  });
  expect(parseFlags(["--data-dir", "/d", "watchdog", "--init"], "/e")).toMatchObject({ dataDir: "/d", init: true });
  for (const wrong of [["--silent", "5"], ["--restarts", "0"], ["--cooldown"], ["--nonsense", "5s"]])
    expect(parseFlags(wrong, "/e")).toEqual({ refused: expect.stringContaining("[USAGE]") });
  expect(parseFlags(["--help"], "/e")).toEqual({ refused: expect.stringContaining("--cooldown 5m") });
});
