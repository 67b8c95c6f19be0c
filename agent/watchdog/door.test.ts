import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { claim, type Door, holderOf, knock, openDoor } from "./door.ts";
import { keyFor, readKey } from "./key.ts";
import type { Line } from "./line.ts";
import { identify } from "./process.ts";
import type { GuardKey, Message } from "./wire.ts";
import { Lines } from "./wire.ts";

let dir: string;
let key: GuardKey;
const doors: Door[] = [];
const children: ChildProcess[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-door-"));
  key = keyFor(dir) as GuardKey;
});
afterEach(() => {
  for (const door of doors.splice(0)) door.close();
  for (const child of children.splice(0)) child.kill("SIGKILL");
  rmSync(dir, { recursive: true, force: true });
});

const self = identify(process.pid);
const agent = { ...self, role: "agent" as const };

async function opened(): Promise<{ met: { line: Line; hello: Message & { is: "hello" } }[] }> {
  const met: { line: Line; hello: Message & { is: "hello" } }[] = [];
  const door = await openDoor(key, dir, self, (line, hello) => {
    met.push({ line, hello });
    line.send({ is: "welcome", init: true, flags: "--restarts 7" });
  });
  if (door === "taken") throw new Error("the name is taken");
  doors.push(door);
  return { met };
}

/** A process of its own that takes the door's name and does nothing with who comes. */
async function holder(options: { uid?: number } = {}): Promise<ChildProcess> {
  const listen = `require("node:net").createServer((s) => process.env.HEARD && s.on("data", (d) => require("node:fs").appendFileSync(process.env.HEARD, d)))
    .listen(${JSON.stringify(`\0${key.name}`)}, () => console.log("listens"));`;
  const heard = join(dir, "heard");
  const child = spawn(process.execPath, ["-e", listen], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, HEARD: heard },
    ...options,
  });
  children.push(child);
  await new Promise((resolve) => child.stdout?.once("data", resolve));
  return child;
}

test("who shows the secret is met, hears whom it has met, and each hears the other", async () => {
  const { met } = await opened();
  const knocked = await knock(key, dir, { ...agent, command: ["a", "up"], guards: true });
  expect(knocked).toMatchObject({ is: "open", peer: self, welcome: { init: true, flags: "--restarts 7" } });
  expect(met[0]?.hello).toMatchObject({ role: "agent", command: ["a", "up"], guards: true });
  if (knocked.is !== "open") return;
  const heard: Message[] = [];
  const ended = new Promise<void>((resolve) => {
    met[0]?.line.listen((message) => heard.push(message), resolve);
  });
  knocked.line.send({ is: "beat", guards: true });
  knocked.line.send({ is: "leaving", farewell: "down" });
  knocked.line.end();
  await ended;
  expect(heard).toEqual([
    { is: "beat", guards: true },
    { is: "leaving", farewell: "down" },
  ]);
});

test("who shows another secret, or says that it is somebody else, is turned away", async () => {
  const { met } = await opened();
  expect(await knock({ ...key, secret: "x".repeat(64) }, dir, agent)).toEqual({ is: "refused" });
  expect(await knock(key, dir, { ...agent, pid: 1 })).toEqual({ is: "refused" });
  expect(met).toEqual([]);
});

test("who says nothing is turned away after two seconds, and one who says too much at once", async () => {
  await opened();
  const silent = connect({ path: `\0${key.name}` }).resume();
  await new Promise((resolve) => silent.once("close", resolve));
  const loud = connect({ path: `\0${key.name}` }).resume();
  loud.on("error", () => undefined);
  loud.write("x".repeat(100_000));
  await new Promise((resolve) => loud.once("close", resolve));
});

test("the name is given to one process at a time, and free in the moment of its death, killed or not", async () => {
  const child = await holder();
  const name = key.name;
  expect(await claim(name, dir, () => undefined)).toBe("taken");
  expect(holderOf(name)).toEqual(identify(child.pid ?? 0));
  child.kill("SIGKILL");
  await new Promise((resolve) => child.once("exit", resolve));
  const door = await claim(name, dir, () => undefined);
  expect(door).not.toBe("taken");
  if (door !== "taken") door.close();
  expect(await knock(key, dir, agent)).toEqual({ is: "nobody" });
});

test("of ten that want it at the same time, one gets it", async () => {
  const all = await Promise.all(Array.from({ length: 10 }, () => claim(key.name, dir, () => undefined)));
  const won = all.filter((door) => door !== "taken");
  expect(won).toHaveLength(1);
  for (const door of won) door.close();
});

test("one that is stopped keeps the name, and is named", async () => {
  const child = await holder();
  child.kill("SIGSTOP");
  expect(await knock(key, dir, agent)).toEqual({ is: "silent", holder: identify(child.pid ?? 0) });
});

test.skipIf(process.getuid?.() !== 0)(
  "another user who has taken the name never hears the secret (needs root)",
  async () => {
    chmodSync(dir, 0o777);
    const talk = `const s = require("node:net").createServer((c) => {
      c.write(JSON.stringify({ is: "door", pid: process.pid, startTicks: Number(require("node:fs").readFileSync("/proc/self/stat", "latin1").split(") ")[1].split(" ")[19]) }) + "\\n");
      c.on("data", (d) => require("node:fs").appendFileSync(${JSON.stringify(join(dir, "heard"))}, d));
    });
    s.listen(${JSON.stringify(`\0${key.name}`)}, () => console.log("listens"));`;
    const stranger = spawn(process.execPath, ["-e", talk], {
      stdio: ["ignore", "pipe", "inherit"],
      uid: 65_534,
      gid: 65_534,
    });
    children.push(stranger);
    await new Promise((resolve) => stranger.stdout.once("data", resolve));
    expect(await knock(key, dir, agent)).toEqual({ is: "stranger" });
    expect(holderOf(key.name)).toBeUndefined();
    expect(existsSync(join(dir, "heard"))).toBe(false);
    // The watchdog takes another name then, which the agent reads.
    const renewed = keyFor(dir, key);
    expect(renewed?.name).not.toBe(key.name);
    expect(readKey(dir)).toEqual(renewed);
  },
);

test("the key is this user's alone, one for all who ask at once, and another one in a copied folder", () => {
  const file = join(dir, "guard.key");
  expect(readKey(dir)).toEqual(key);
  chmodSync(file, 0o644);
  expect(readKey(dir)).toBeUndefined(); // others could have read it
  const second = keyFor(dir) as GuardKey;
  expect(second.secret).not.toBe(key.secret);
  const copy = join(dir, "copy");
  mkdirSync(copy);
  cpSync(file, join(copy, "guard.key"));
  chmodSync(join(copy, "guard.key"), 0o600);
  expect(keyFor(copy)?.name).not.toBe(second.name);
  writeFileSync(file, readFileSync(file).subarray(0, 20), { mode: 0o600 });
  expect(keyFor(dir)?.name).not.toBe(second.name);
  expect(keyFor("/proc/nowhere")).toBeUndefined();
});

test("processes that make the key at once have the same one", async () => {
  rmSync(join(dir, "guard.key"));
  const program = `import { keyFor } from ${JSON.stringify(join(import.meta.dirname, "key.ts"))}; console.log(keyFor(process.argv[1])?.name);`;
  const names = await Promise.all(
    Array.from({ length: 6 }, async () => {
      const child = spawn(process.execPath, ["--no-warnings", "--input-type=module", "-e", program, dir]);
      let said = "";
      child.stdout.on("data", (text) => (said += String(text)));
      await new Promise((resolve) => child.once("close", resolve));
      return said.trim();
    }),
  );
  expect(new Set(names).size).toBe(1);
  expect(names[0]).toBe(readKey(dir)?.name);
});

test("what is no message of ours is passed over", () => {
  const lines = new Lines();
  const text =
    '{"is":"beat","guards":true}\nnonsense\n{"is":"later"}\n[]\nnull\n{"is":"leaving","farewell":"x"}\n{"is":"wo';
  expect(lines.push(text)).toEqual([{ is: "beat", guards: true }]);
  expect(lines.push('rd"}\n')).toEqual([{ is: "word", again: false }]);
  expect(() => lines.push("x".repeat(70_000))).toThrow();
});
