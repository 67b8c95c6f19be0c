import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { ask } from "@blueflame/agent/cli/ask.driver.ts";
import { readAgentConfig } from "@blueflame/agent/config/config.driver.ts";
import { type RunningAgent, runAgent } from "@blueflame/agent/run.driver.ts";
import { seeded } from "@blueflame/shared/random/random.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { bundled } from "../../test/support/bundle.ts";

let dir: string;
let dataDir: string;
let port: number;
let agent: RunningAgent | undefined;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "bf-guarded-"));
  dataDir = join(dir, "node");
  mkdirSync(dataDir);
  const program = await bundled("examples/risk-firewall/main.ts");
  port = await freePort();
  writeFileSync(
    join(dir, "agent.yaml"),
    `workloads:
  - name: risk-firewall
    command: [${process.execPath}, ${program}]
    env:
      RISK_FIREWALL_STEP_MS: "2"
      RISK_FIREWALL_PORT: "${port}"
      RISK_FIREWALL_DATA: ${fileURLToPath(new URL("../data/sp500-2000.csv", import.meta.resolve("vega-datasets")))}
    beat: { timeout: 3s }
    starts: { max: 1000, within: 60s }
    backoff: { base: 10ms, cap: 50ms, reset_after: 1s }
`,
  );
});

afterEach(async () => {
  if (agent) await ask(dataDir, (desk) => desk.down({ person: "test" }, { timeoutMs: 20_000 }));
  await agent?.close("down");
  rmSync(dir, { recursive: true, force: true });
});

async function up(): Promise<RunningAgent> {
  const config = readAgentConfig(join(dir, "agent.yaml"), process.env);
  const nothing = () => {};
  const log = pino({ level: "silent" });
  return runAgent({
    dataDir,
    config,
    clock: realClock(),
    random: Math.random,
    log,
    onDown: nothing,
    onRestart: nothing,
  });
}

interface Seen {
  readonly run: number;
  readonly next: number;
  readonly verified: { readonly ok: boolean };
}

/** What the program says of itself, once it answers and is past bar `after`. */
async function seen(after: number): Promise<Seen> {
  for (let tries = 0; tries < 1500; tries += 1) {
    const state = await fetch(`http://127.0.0.1:${port}/state`).then(
      (answer) => answer.json() as Promise<Seen>,
      () => undefined,
    );
    if (state && state.next > after) return state;
    await pause(10);
  }
  throw new Error(`not past bar ${after} in 15 s`);
}

async function workload() {
  const { workloads } = await ask(dataDir, (desk) => desk.getStatus({}));
  if (workloads[0] === undefined) throw new Error("one workload");
  return workloads[0];
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as AddressInfo;
  await new Promise((closed) => server.close(closed));
  return port;
}

test("PHX-5 PHX-9 guarded by a real agent with its real store, it is killed six times and the agent leaves twice: no trade twice, none lost", async () => {
  const random = seeded(17);
  agent = await up();
  let last = await seen(10);
  for (let kill = 0; kill < 6; kill += 1) {
    last = await seen(last.next + 12);
    await pause(random() * 150);
    const { pid, restarts } = await workload();
    process.kill(pid, "SIGKILL");
    for (let tries = 0; (await workload()).restarts === restarts && tries < 1000; tries += 1) await pause(10);
    last = await seen(last.next);
    expect(last).toMatchObject({ run: 1, verified: { ok: true } });
    if (kill % 3 !== 1) continue;
    // The agent leaves and its workload goes on waiting for the next one: same process, same state.
    const before = (await workload()).pid;
    await agent.close("stop");
    await pause(200);
    agent = await up();
    last = await seen(last.next);
    expect((await workload()).pid).toBe(before);
  }
  const output = readFileSync(join(dataDir, "logs", "workloads", "risk-firewall.log"), "utf8");
  const told = [...output.matchAll(/ trade (\d+): /g)].map((match) => Number(match[1]));
  expect(told.length).toBeGreaterThan(5);
  expect(new Set(told).size).toBe(told.length);
  expect(output.match(/ledger verified/g)?.length).toBe(6);
}, 120_000);
