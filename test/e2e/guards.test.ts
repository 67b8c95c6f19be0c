// Agent and watchdog as they are shipped: who brings back whom, and what a person has said.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, beforeAll, expect, test } from "vitest";
import { signalIfThere } from "../../deploy/running.ts";
import { GuardedNode, type NodeOptions } from "../prove/guard-pair.ts";
import { built } from "./built.ts";
import { until } from "./programs.ts";

beforeAll(() => built("blueflame-agent", "blueflame-watchdog", "blueflame-emergency"));

let node: GuardedNode;
afterEach(() => node?.close());

const idle = { name: "idle", command: ["/bin/sh", "-c", "while :; do sleep 1; done"], probation: "1s" };
const backMs = 30_000;

async function open(how: "init" | "person", options: NodeOptions = {}): Promise<GuardedNode> {
  node = new GuardedNode([idle], options);
  if (how === "init") node.underInit();
  else node.byPerson();
  await node.allBack(["idle"], [], backMs);
  return node;
}

const one = (kind: "agent" | "watchdog") => {
  const [pid, ...more] = node.of(kind);
  if (pid === undefined || more.length > 0) throw new Error(`${more.length + 1} of kind ${kind}`);
  return pid;
};
const nobody = () => node.of("agent").length === 0 && node.of("watchdog").length === 0;

test("GRC-7 Ctrl-C on the agent ends its watchdog too, nobody comes back, and the workload goes on", async () => {
  await open("person");
  const pids = node.leads("idle");
  process.kill(one("agent"), "SIGINT");
  await until("both are gone", nobody);
  await pause(3000);
  expect(nobody()).toBe(true);
  expect(node.leads("idle")).toEqual(pids);
  node.byPerson();
  await node.allBack(["idle"], [], backMs);
  expect(node.leads("idle")).toEqual(pids);
});

test("GRC-7 a terminal that is closed (SIGHUP) ends neither agent nor watchdog: nobody has said that nothing is to be guarded", async () => {
  await open("person");
  const before = { agent: one("agent"), watchdog: one("watchdog"), idle: node.leads("idle") };
  for (const pid of [before.agent, before.watchdog]) process.kill(pid, "SIGHUP");
  await until("the agent has heard it", () => readFileSync(join(node.dir, "log"), "utf8").includes("SIGHUP"));
  await pause(2000);
  expect({ agent: one("agent"), watchdog: one("watchdog"), idle: node.leads("idle") }).toEqual(before);
  expect(existsSync(join(node.dataDir, "intent.json"))).toBe(false);
  await node.allBack(["idle"], [], backMs);
});

test("GRC-7 SYN-2 `down` is a person's word: neither watchdog nor init undoes it, `up` does", async () => {
  await open("init");
  expect((await node.run("down")).code).toBe(0);
  await until("the agent is gone", () => node.of("agent").length === 0 && node.leads("idle").length === 0);
  await pause(2000);
  expect(node.of("agent")).toEqual([]);
  // Init brings back the watchdog; the word stands in a file.
  const before = one("watchdog");
  process.kill(before, "SIGKILL");
  await until("init has started the next watchdog", () => node.of("watchdog").some((pid) => pid !== before));
  await pause(2000);
  expect(node.of("agent")).toEqual([]);
  expect(JSON.parse(readFileSync(join(node.dataDir, "intent.json"), "utf8"))).toMatchObject({ word: "down" });
  // A person starts it again: init's watchdog is told, and does it.
  const up = await node.run("up");
  expect(up).toMatchObject({ code: 0, said: expect.stringContaining("init") });
  await node.allBack(["idle"], [], backMs);
  expect(existsSync(join(node.dataDir, "intent.json"))).toBe(false);
});

test("GRC-7 kill PID, then `up` at once: `up` is the newest word, and an agent guards in the end", async () => {
  await open("init");
  const agent = one("agent");
  const wallMs = Date.now();
  process.kill(agent, "SIGTERM");
  // By itself it would be gone before `up` has started: it is held while it leaves.
  while (!node.transitions(wallMs).some(({ to }) => to === "leaving") && Date.now() < wallMs + 5000);
  signalIfThere(agent, "SIGSTOP");
  expect(await node.run("up")).toMatchObject({ code: 0, said: expect.stringContaining("was told that it is wanted") });
  signalIfThere(agent, "SIGCONT");
  await node.allBack(["idle"], [agent], backMs);
  expect(existsSync(join(node.dataDir, "intent.json"))).toBe(false);
});

test("GRC-7 a kill switch that was turned on in its file only is obeyed by an agent that nobody could ask", async () => {
  await open("person");
  // What `kill-switch on` leaves behind when the agent's door cannot be reached.
  writeFileSync(join(node.dataDir, "kill-switch.json"), "{}", { mode: 0o600 });
  await until("the workload is down", () => node.leads("idle").length === 0);
  expect(await node.status()).toMatchObject({ killSwitch: true, workloads: [{ name: "idle", pid: 0 }] });
  expect((await node.run("kill-switch", "off")).code).toBe(0);
  await node.allBack(["idle"], [], backMs);
});

test("GRC-7 an agent that is killed in the middle of `down` is not started again", async () => {
  node = new GuardedNode([
    { ...idle, command: ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done"], stop: { grace: "20s" } },
  ]);
  node.underInit();
  await node.allBack(["idle"], [], backMs);
  const asked = node.run("down");
  await until("the word is written", () => existsSync(join(node.dataDir, "intent.json")));
  await pause(300);
  process.kill(one("agent"), "SIGKILL");
  expect((await asked).code).not.toBe(0);
  await pause(4000);
  expect(node.of("agent")).toEqual([]);
});

test("GRC-7 `down` with no agent to ask, while its watchdog tries in vain, is heard and kept", async () => {
  await open("person", { figures: ["--restarts", "1", "--cooldown", "60s"] });
  const workload = node.leads("idle");
  // From now on no agent can be started: the store belongs to another node.
  writeFileSync(node.config, JSON.stringify({ node: { id: "another" }, workloads: [idle] }));
  process.kill(one("agent"), "SIGKILL");
  await until("the watchdog has given up for a while", () => node.transitions(0).some(({ to }) => to === "cooldown"));
  const ran = await node.run("down");
  expect(ran).toMatchObject({ code: 5, said: expect.stringContaining("its watchdog was told to start none") });
  await until("the watchdog has left", nobody);
  expect(node.leads("idle")).toEqual(workload);
  expect(JSON.parse(readFileSync(join(node.dataDir, "intent.json"), "utf8"))).toMatchObject({ word: "down" });
});

test("SYN-6 an agent that hangs in a loop, alive and busy, is noticed within 3 s and followed by another", async () => {
  await open("init", { env: { NODE_OPTIONS: "--inspect-port=0" } });
  const pids = node.leads("idle");
  const agent = one("agent");
  await spin(agent);
  const wallMs = Date.now();
  await node.allBack(["idle"], [agent], backMs);
  const seen = node.transitions(wallMs).find(({ to }) => to === "ending");
  expect(seen?.because).toMatch(/silent for \d+ ms, its process runs: hung/);
  // On a busy machine it waits for a processor, too, and that is no silence.
  const heldMs = Number(/(\d+) ms of them it waited/.exec(seen?.because ?? "")?.[1] ?? 0);
  expect((seen?.wallMs ?? 0) - wallMs).toBeLessThanOrEqual(3000 + heldMs);
  expect(node.leads("idle")).toEqual(pids);
});

/** Lets a Node process run an endless loop in its main thread, by its own inspector. */
async function spin(pid: number): Promise<void> {
  process.kill(pid, "SIGUSR1");
  const url = /Debugger listening on (ws:\S+)/g;
  let address = "";
  await until("the inspector listens", () => {
    address = [...node.output().matchAll(url)].at(-1)?.[1] ?? "";
    return address !== "";
  });
  const socket = new WebSocket(address);
  await new Promise((resolve) => socket.addEventListener("open", resolve));
  const expression = "setTimeout(() => { for (;;); }, 50)";
  const answered = new Promise((resolve) => socket.addEventListener("message", resolve));
  socket.send(JSON.stringify({ id: 1, method: "Runtime.evaluate", params: { expression } }));
  await answered;
  socket.close();
  await pause(50);
}

test("a watchdog that is started beside a frozen agent finds it by its name, and ends it", async () => {
  await open("init");
  const [agent, watchdog] = [one("agent"), one("watchdog")];
  process.kill(agent, "SIGSTOP");
  process.kill(watchdog, "SIGKILL");
  await node.allBack(["idle"], [agent, watchdog], backMs);
});

test("an agent that is started beside a frozen watchdog ends it, and starts another", async () => {
  await open("person");
  const [agent, watchdog] = [one("agent"), one("watchdog")];
  process.kill(watchdog, "SIGSTOP");
  process.kill(agent, "SIGKILL");
  await pause(500);
  node.byPerson();
  await node.allBack(["idle"], [agent, watchdog], backMs);
});

test("SYN-2 of two watchdogs that are started at once one leaves with code 0 and a line in the log; so does the second agent", async () => {
  node = new GuardedNode([idle]);
  const both = [node.watchdogAlone(), node.watchdogAlone()];
  const first = await Promise.race(
    both.map((child) => new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)))),
  );
  expect(first).toBe(0);
  await node.allBack(["idle"], [], backMs);
  expect(readFileSync(join(node.dataDir, "logs", "watchdog.log"), "utf8")).toContain("another watchdog guards already");
  // A person is told; one that a watchdog has started leaves quietly.
  const second = await node.run("up", "--no-watchdog");
  expect(second).toMatchObject({ code: 1, said: expect.stringContaining("[STORE_LOCKED]") });
});

test("a watchdog that the agent has started makes way for the one of init", async () => {
  await open("person");
  const [agent, watchdog] = [one("agent"), one("watchdog")];
  node.underInit();
  await node.allBack(["idle"], [watchdog], backMs);
  expect(one("agent")).toBe(agent);
  expect(readFileSync(join(node.dataDir, "logs", "watchdog.log"), "utf8")).toContain(
    "makes way for the watchdog of init",
  );
});

test("SYN-2 what is guarded can neither stop nor disable its watchdog", async () => {
  await open("person");
  const watchdog = one("watchdog");
  process.kill(watchdog, "SIGTERM");
  await node.allBack(["idle"], [watchdog], backMs);
});
