import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type LocalApi, serveLocalApi } from "@blueflame/agent/api/server.driver.ts";
import { seeded } from "@blueflame/shared/random/random.ts";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { bundled } from "../../test/support/bundle.ts";
import { looks } from "../../test/support/looks.ts";
import { memoryAgent } from "../../test/support/memory-agent.ts";
import type { MemorySpace } from "../../test/support/memory-space.ts";
import { type MemoryNode, memoryNode } from "../../test/support/node.ts";
import { parseBars } from "./bars.ts";
import { begin, defaultRules, type State, step, verify } from "./firewall.ts";
import { memoryAt } from "./memory.ts";

const file = fileURLToPath(new URL("../data/sp500-2000.csv", import.meta.resolve("vega-datasets")));
const bars = parseBars(readFileSync(file, "utf8"));

let program: string;
let dir: string;
let node: MemoryNode;
let api: LocalApi;
let lives: ChildProcess[];

beforeAll(async () => {
  program = await bundled("examples/risk-firewall/main.ts");
});

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "bf-firewall-"));
  node = memoryNode(["firewall"]);
  lives = [];
  api = await serveLocalApi({ node, socketPath: join(dir, "agent.sock"), log: () => {} });
});

afterEach(async () => {
  for (const life of lives) life.kill("SIGKILL");
  await api.close();
  rmSync(dir, { recursive: true, force: true });
});

interface Life {
  readonly child: ChildProcess;
  readonly output: () => string;
  readonly exit: Promise<number | null>;
}

function start(env: Record<string, string> = {}): Life {
  const own = { RISK_FIREWALL_DATA: file, RISK_FIREWALL_STEP_MS: "1", RISK_FIREWALL_PORT: "0" };
  const agent = { BLUEFLAME_SOCKET: join(dir, "agent.sock"), BLUEFLAME_TOKEN: "token-of-firewall" };
  const child = spawn(process.execPath, [program], {
    env: { ...own, ...agent, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  lives.push(child);
  let text = "";
  const collect = (chunk: Buffer) => {
    text += chunk;
  };
  child.stdout.on("data", collect);
  child.stderr.on("data", collect);
  return { child, output: () => text, exit: new Promise((ended) => child.once("exit", ended)) };
}

function space(): MemorySpace {
  const found = node.workloads.get("firewall")?.state;
  if (!found) throw new Error("there is a workload");
  return found;
}

/** What is in the program's key, without its first line. */
function position(): { next: number } | undefined {
  const kept = space().peek("firewall");
  const text = kept && Buffer.from(kept.value).toString("utf8");
  return text === undefined ? undefined : JSON.parse(text.slice(text.indexOf("\n") + 1));
}

function barOf(): number {
  return position()?.next ?? 0;
}

/** Everything that it will recall; undefined before its first bar. */
async function remembered(): Promise<State | undefined> {
  if (!position()) return undefined;
  return (await memoryAt(memoryAgent(space()), "test").recall()).state;
}

async function until<T>(look: () => T | undefined | false | Promise<T | undefined | false>): Promise<T> {
  for await (const _ of looks(20_000, 50)) {
    const seen = await look();
    if (seen) return seen;
  }
  throw new Error("waited 20 s in vain");
}

function tradesIn(output: string): number[] {
  return [...output.matchAll(/ trade (\d+): /g)].map((match) => Number(match[1]));
}

test("PHX-9 killed at random moments it goes on where it was: no trade twice, none lost, a lock stays a lock", async () => {
  const random = seeded(20_261_122);
  const told: number[] = [];
  // On a busy machine a life comes less far: then it takes more of them.
  const trades = () => space().risk().risk.trades;
  for (let life = 0; life < 15 || (trades() <= 10 && life < 200); life += 1) {
    const before = await remembered();
    const { child, output, exit } = start();
    await until(() => barOf() > (before?.next ?? 0));
    await pause(random() * 120);
    child.kill("SIGKILL");
    await exit;
    told.push(...tradesIn(output()));
    const after = await remembered();
    if (after === undefined) throw new Error("something was remembered");
    expect(verify(defaultRules, bars, after)).toEqual({ ok: true });
    if (before) expect(output()).toContain(`go on at bar ${before.next} of run 1`);
  }
  expect(new Set(told).size, "no trade is told twice").toBe(told.length);
  expect(trades()).toBeGreaterThan(10);
});

test("PHX-9 killed again and again while its session is locked, it never trades before the next session", async () => {
  // The first lock that has a week of its session before it.
  let locked = begin(1);
  const weekLater = () => bars[locked.next + 5]?.session === locked.session.name;
  while (locked.session.lock === null || !weekLater()) locked = step(defaultRules, bars, locked).state;
  const memory = memoryAt(memoryAgent(space()), "x");
  let kept = await memory.recall();
  while (kept.state.next < locked.next) {
    const { state, happened } = step(defaultRules, bars, kept.state);
    kept = await memory.keep(state, kept, happened);
  }
  const session = locked.session.name;
  for (let lives = 0; ; lives += 1) {
    const before = barOf();
    const { child, output, exit } = start({ RISK_FIREWALL_STEP_MS: "300" });
    await until(() => barOf() > before);
    child.kill("SIGKILL");
    await exit;
    expect(output()).toContain(`LOCKED since ${locked.session.lock?.date}`);
    const now = await remembered();
    if (now?.session.name !== session) {
      expect(lives).toBeGreaterThanOrEqual(3);
      break;
    }
    expect(now.session).toEqual(locked.session);
    expect(now.ledger).toEqual(locked.ledger);
  }
});

test("PHX-9 the agent dies and comes back many times under it: same process, same ledger", async () => {
  const { child } = start();
  for (let times = 0; times < 8; times += 1) {
    const before = barOf();
    await until(() => barOf() > before + 5);
    await api.close();
    await pause(150);
    api = await serveLocalApi({ node, socketPath: join(dir, "agent.sock"), log: () => {} });
  }
  const before = barOf();
  await until(() => barOf() > before);
  expect(child.exitCode).toBeNull();
  expect(child.signalCode).toBeNull();
  const state = await remembered();
  expect(state && verify(defaultRules, bars, state)).toEqual({ ok: true });
});

test("its probes answer on loopback, and readiness names the check that fails when the agent is away", async () => {
  const { output } = start();
  const url = await until(() => /http:\/\/127\.0\.0\.1:\d+/.exec(output())?.[0]);
  const ask = async (path: string) => {
    const answer = await fetch(url + path);
    return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
  };
  await until(async () => (await ask("/ready")).status === 200);
  expect(await ask("/live")).toMatchObject({ status: 200, body: { alive: true } });
  const { body } = await ask("/performance");
  expect(Object.keys(body).sort()).toEqual([
    "avg_latency_ms",
    "cpu_usage",
    "error_rate",
    "memory_usage_mb",
    "p95_latency_ms",
    "p99_latency_ms",
    "requests_per_second",
  ]);
  for (const figure of Object.values(body)) expect(figure).toBeGreaterThanOrEqual(0);
  expect((await ask("/state")).body).toMatchObject({ run: 1, verified: { ok: true } });
  expect(node.workloads.get("firewall")?.beats.at(-1)?.status).toMatch(/^run 1, bar \d+ of 5105, \d+ trades/);
  await api.close();
  // The beat fails at once; the put is tried for a while before the memory counts as away.
  await until(async () => {
    const answer = await ask("/ready");
    const checks = answer.body.checks as { name: string; ok: boolean }[];
    return answer.status === 503 && checks.some((check) => check.name === "memory" && !check.ok);
  });
  expect((await ask("/live")).status).toBe(200);
});

test("SIGTERM ends it in good order, also in a long pause and while the agent is away", async () => {
  const slow = start({ RISK_FIREWALL_STEP_MS: "60000" });
  await until(() => barOf() > 0);
  slow.child.kill("SIGTERM");
  expect(await slow.exit).toBe(0);
  expect(slow.output()).toContain("leaving in good order");
  const orphan = start();
  await until(() => orphan.output().includes("go on at bar"));
  await api.close();
  await pause(200);
  orphan.child.kill("SIGTERM");
  expect(await orphan.exit).toBe(0);
});

test("SIGUSR2 is the drill of a spinning program: alive, and silent on every door", async () => {
  const { child, output } = start();
  const url = await until(() => /http:\/\/127\.0\.0\.1:\d+/.exec(output())?.[0]);
  child.kill("SIGUSR2");
  await until(() => output().includes("drill: spinning"));
  const beats = node.workloads.get("firewall")?.beats.length;
  await expect(fetch(`${url}/live`, { signal: AbortSignal.timeout(500) })).rejects.toThrow();
  expect(node.workloads.get("firewall")?.beats.length).toBe(beats);
  expect(child.exitCode).toBeNull();
});

test("a remembered state that the bars do not give ends it before it trades", async () => {
  const { child, exit } = start();
  await until(() => barOf() > 30);
  child.kill("SIGKILL");
  await exit;
  const { ledger } = (await remembered()) ?? begin(1);
  const forged = JSON.stringify({ ...position(), ledger: { ...ledger, trades: ledger.trades + 1 } });
  space().plant("firewall", Buffer.from(`x\n${forged}`), 1000);
  const next = start();
  expect(await next.exit).toBe(1);
  expect(next.output()).toContain("does not verify");
  expect(space().peek("firewall")?.revision).toBe(1000);
});

test("nonsense in its settings ends it with one line that names the setting", async () => {
  for (const [name, value] of [
    ["RISK_FIREWALL_STEP_MS", "soon"],
    ["RISK_FIREWALL_PORT", "70000"],
    ["RISK_FIREWALL_DATA", "/no/such/file.csv"],
  ] as const) {
    const { output, exit } = start({ [name]: value });
    expect(await exit).toBe(1);
    expect(output().trim().split("\n")).toHaveLength(1);
    expect(output()).toContain(value);
  }
});

test("without an agent it runs, and says that it will forget", async () => {
  const { child, output, exit } = start({ BLUEFLAME_SOCKET: "", BLUEFLAME_TOKEN: "" });
  await until(() => output().includes(" trade 1: "));
  expect(output()).toContain("nothing is remembered when it ends");
  child.kill("SIGTERM");
  expect(await exit).toBe(0);
});
