import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server } from "node:http";
import { type AddressInfo, createServer as createTcpServer, type Server as TcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import type { CoherenceSpec, MetaSpec, SourceSpec } from "../config/sections.ts";
import type { MetaHealth } from "../meta/meta-health.ts";
import type { Figures, Observation } from "../triggers/observation.ts";
import { type Observer, type ObserverParts, observe } from "./observer.driver.ts";
import type { WorkloadSight } from "./workload-sight.ts";

const clock = realClock();
let dir: string;
let observer: Observer | undefined;
let child: ChildProcess | undefined;
let servers: (Server | TcpServer)[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-observer-"));
  servers = [];
});
afterEach(async () => {
  observer?.close();
  child?.kill("SIGKILL");
  for (const server of servers) {
    if ("closeAllConnections" in server) server.closeAllConnections();
    server.close();
  }
  await pause(20);
  rmSync(dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
});

const file = (name: string) => join(dir, name);
const source = (name: string, over: Partial<SourceSpec> = {}): SourceSpec => ({
  name,
  external: false,
  staleMs: 1000,
  deadMs: 60_000,
  file: file(name),
  url: "",
  field: "",
  rows: false,
  workload: "engine",
  ...over,
});
const rule = (over: Partial<CoherenceSpec>): CoherenceSpec => ({
  name: "exposure",
  file: file("risk.json"),
  url: "",
  field: "exposure",
  oneOf: [],
  monotone: false,
  workload: "engine",
  ...over,
});

/** An observer at twenty-five times its usual pace, of one workload `engine` whose process is `sight`. */
function start(
  over: Partial<Omit<ObserverParts, "meta">> & { meta?: Partial<MetaSpec> } = {},
  sight: Partial<WorkloadSight> = {},
) {
  const observations: Observation[] = [];
  const metas: MetaHealth[] = [];
  const engine = { starting: false, stopped: false, ...sight };
  const { meta, ...parts } = over;
  observer = observe({
    specs: [specOf()],
    jobs: [],
    sensors: { everyMs: 200, historyEveryMs: 60_000 },
    dataDir: dir,
    clock,
    sights: () => ({ engine }),
    cgroupOf: () => undefined,
    logFileOf: (workload) => file(`${workload}.log`),
    trust: () => 0.75,
    healthScore: () => undefined,
    onObservation: (observation) => observations.push(observation),
    onMeta: (health) => metas.push(health),
    onRequests: () => undefined,
    onErrors: () => undefined,
    keep: async () => undefined,
    troubled: () => undefined,
    ...parts,
    meta: {
      everyMs: 200,
      critical: [],
      beatStaleMs: 30_000,
      beatDeadMs: 60_000,
      sources: [],
      ports: [],
      coherence: [],
      controlPlane: [],
      ...meta,
    },
  });
  return { observations, metas, engine, last: () => metas.at(-1) };
}

/** A process that lives, as the supervisor would tell of it. */
function living(): Partial<WorkloadSight> {
  child = spawn("/bin/sh", ["-c", "while :; do echo x; sleep 0.05; done > out"], { stdio: "ignore", cwd: dir });
  return { pid: child.pid ?? 0, sinceMs: clock.monotonicMs() };
}

async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; !holds(); tries += 1) {
    if (tries > 1000) throw new Error("waited 20 s in vain");
    await pause(20);
  }
}

async function listen<T extends Server | TcpServer>(server: T): Promise<number> {
  servers.push(server);
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", () => listening()));
  return (server.address() as AddressInfo).port;
}

test("SYN-7 the machine and each process that lives are observed with their figures, and told to the hub as readings", async () => {
  const sight = living();
  const { observations, engine } = start({ specs: [specOf({ beat: { timeoutMs: 90_000 } })] }, sight);
  await until(() => observations.at(-1)?.workloads.engine?.process_cpu_ratio !== undefined);
  appendFileSync(file("engine.log"), "fine\n");
  await until(() => observations.at(-1)?.workloads.engine?.output_bytes_per_second !== undefined);
  appendFileSync(file("engine.log"), "an ERROR\n");
  await until(() => (observations.at(-1)?.workloads.engine?.error_lines ?? 0) > 0);
  const node = observations.at(-1)?.node ?? {};
  const figures = observations.at(-1)?.workloads.engine ?? {};
  for (const name of [
    "cpu_busy_ratio",
    "memory_used_ratio",
    "disk_used_ratio",
    "network_up_ratio",
    "ours_cpu_ratio",
    "ours_memory_ratio",
  ]) {
    expect(node[name], name).toBeGreaterThanOrEqual(0);
    expect(node[name], name).toBeLessThanOrEqual(1);
  }
  expect(figures).toMatchObject({
    error_lines: 1,
    trust: 0.75,
    beat_timeout_ms: 90_000,
    process_tasks: expect.any(Number),
  });
  expect(figures.uptime_ms).toBeGreaterThan(200);
  expect(figures.progress_age_ms).toBeLessThan(figures.uptime_ms ?? 0);
  const ours = observer?.readings().filter(({ subject }) => subject === "workload/engine") ?? [];
  expect(ours.map(({ sensor }) => sensor)).toContain("process_memory_bytes");
  expect(observer?.readings().some(({ sensor, subject }) => sensor === "cpu_busy_ratio" && subject === "")).toBe(true);
  delete (engine as { pid?: number }).pid;
  await until(() => observations.at(-1)?.workloads.engine === undefined);
});

test("PHX-3 what prints ten times a second and was adopted by a new agent is not taken for stuck, however long it has run", async () => {
  const ranMs = 600_000;
  const sight = living();
  const { observations } = start(
    { specs: [specOf({ progressMs: 60_000 })], logFileOf: () => file("out") },
    { ...sight, sinceMs: clock.monotonicMs() - ranMs },
  );
  await until(() => observations.filter(({ workloads }) => workloads.engine).length >= 3);
  const seen = observations.flatMap(({ workloads }) => (workloads.engine ? [workloads.engine] : []));
  for (const { uptime_ms, progress_age_ms } of seen) {
    expect(uptime_ms).toBeGreaterThanOrEqual(ranMs);
    expect(progress_age_ms).toBeLessThan(60_000);
  }
});

test("PHX-3 what stands still and was adopted by a new agent is silent from the first look on", async () => {
  child = spawn("sleep", ["60"], { stdio: "ignore" });
  const { observations } = start({}, { pid: child.pid ?? 0, sinceMs: clock.monotonicMs() - 600_000 });
  const ages = () => observations.flatMap(({ workloads }) => workloads.engine?.progress_age_ms ?? []);
  await until(() => (ages().at(-1) ?? 0) > 500);
  expect(Math.max(...ages())).toBeLessThan(60_000);
});

test("GRC-13 requests that are reported are told on at once, and are part of the next observation; a new process starts clean", async () => {
  const told: Figures[] = [];
  const { observations, engine } = start(
    { onRequests: (_workload, _finished, figures) => told.push(figures) },
    living(),
  );
  await until(() => observations.length > 1);
  observer?.requests("engine", [
    { latencyMs: 900, ok: false, timedOut: true },
    { latencyMs: 100, ok: true, timedOut: false },
  ]);
  expect(told).toMatchObject([{ error_rate: 0.5, api_timeouts: 1, avg_latency_ms: 500 }]);
  await until(() => observations.at(-1)?.workloads.engine?.error_rate === 0.5);
  observer?.requests("unknown", []);
  expect(() => {
    for (let n = 0; n < 250; n += 1) observer?.requests("engine", []);
  }).toThrow("LIMIT_REACHED");
  Object.assign(engine, { sinceMs: clock.monotonicMs() });
  await until(() => observations.at(-1)?.workloads.engine?.error_rate === undefined);
});

test("GRC-2 what is known of a process is forgotten in the moment in which the next one is started, not at the next look", async () => {
  const told: Figures[] = [];
  const { observations } = start(
    { sensors: { everyMs: 1000, historyEveryMs: 60_000 }, onRequests: (_engine, _all, figures) => told.push(figures) },
    living(),
  );
  const slow = { latencyMs: 2000, ok: true, timedOut: false };
  observer?.requests("engine", [slow]);
  await until(() => observations.at(-1)?.workloads.engine?.p95_latency_ms !== undefined);
  observer?.born("engine", clock.monotonicMs());
  expect(observer?.latest()?.workloads).toEqual({});
  expect(observer?.latest()?.node.memory_used_ratio).toBeDefined();
  observer?.requests("engine", [{ ...slow, latencyMs: 10 }]);
  expect(told.at(-1)?.p95_latency_ms).toBeLessThan(11);
});

test("GRC-11 what a performance page says is told on when it answers, and not at the next look at the machine", async () => {
  const page = createServer((_request, response) => response.end(JSON.stringify({ p95_latency_ms: 1050 })));
  const url = `http://127.0.0.1:${await listen(page)}/performance`;
  const told: Figures[] = [];
  const { observations } = start(
    {
      specs: [specOf({ performance: { url, everyMs: 100, timeoutMs: 90 } })],
      sensors: { everyMs: 60_000, historyEveryMs: 60_000 },
      onRequests: (_engine, finished, figures) => void (finished.length === 0 && told.push(figures)),
    },
    living(),
  );
  await until(() => told.filter(({ p95_latency_ms }) => p95_latency_ms === 1050).length >= 3);
  expect(observations.length).toBeLessThan(2);
});

test("each line with an error that is printed is told on once, so that a burst of them can be a trigger", async () => {
  const pattern = String.raw`\b(error|fatal)\b`;
  let told = 0;
  writeFileSync(file("engine.log"), "an error of yesterday\n"); // a log that appears later is new, every line of it
  const { observations } = start(
    {
      specs: [specOf({ patterns: { ...specOf().patterns, error: pattern } })],
      onErrors: (_engine, lines) => (told += lines),
    },
    living(),
  );
  await until(() => observations.length >= 2);
  appendFileSync(file("engine.log"), "all is well\nERROR one\n".repeat(30));
  await until(() => told >= 30);
  appendFileSync(file("engine.log"), "fatal: one more\n");
  const seen = observations.length;
  await until(() => observations.length >= seen + 3);
  expect(told).toBe(31);
  expect(observations.at(-1)?.workloads.engine?.error_lines).toBe(31);
});

test("DOL-1 DOL-2 real files, pages, ports, rules and beats make the meta-health, which is published as a file of mode 0600", async () => {
  writeFileSync(file("bars"), "x");
  writeFileSync(file("risk.json"), JSON.stringify({ exposure: 5, state: "OPEN", sequence: 7 }));
  const page = createServer((_request, response) => response.end(JSON.stringify({ at: new Date().toISOString() })));
  const url = `http://127.0.0.1:${await listen(page)}/`;
  const control = createTcpServer(() => undefined);
  const port = await listen(control);
  const { last, engine } = start(
    {
      specs: [specOf({ beat: { timeoutMs: 3000 } })],
      meta: {
        sources: [source("bars", { staleMs: 60_000 }), source("page", { file: "", url, field: "at" })],
        ports: [{ host: "127.0.0.1", port }],
        coherence: [
          rule({ min: 0, max: 10 }),
          rule({ name: "state", field: "state", oneOf: ["OPEN", "CLOSED"] }),
          rule({ name: "sequence", field: "sequence", monotone: true }),
        ],
      },
    },
    { ...living(), lastBeatMs: clock.monotonicMs() },
  );
  await until(() => last() !== undefined);
  expect(last()).toMatchObject({ rmMeta: 1, status: "GREEN", because: [] });
  expect(Object.keys(last()?.subsystemHealth ?? {}).sort()).toEqual([
    `port/127.0.0.1:${port}`,
    "rule/exposure",
    "rule/sequence",
    "rule/state",
    "source/bars",
    "source/page",
    "workload/engine",
  ]);
  await until(() => existsSync(file("meta_health.json")));
  const published = () => JSON.parse(readFileSync(file("meta_health.json"), "utf8"));
  expect(published()).toMatchObject({ rm_meta: 1, status: "GREEN" });
  expect(statSync(file("meta_health.json")).mode & 0o777).toBe(0o600);
  Object.assign(engine, { lastBeatMs: clock.monotonicMs() - 31_000 });
  await until(() => last()?.m2Heartbeat === 0.5 && published().m2_heartbeat === 0.5);
  Object.assign(engine, { lastBeatMs: clock.monotonicMs() });
  writeFileSync(file("risk.json"), JSON.stringify({ exposure: 50, state: "HALF", sequence: 6 }));
  await until(() => last()?.m5Coherence === 0);
  expect(last()?.because).toEqual([
    "rule/exposure: exposure is 50, above 10",
    'rule/state: state is "HALF", which is none of OPEN, CLOSED',
    "rule/sequence: sequence fell from 7 to 6",
  ]);
  writeFileSync(file("risk.json"), JSON.stringify({ exposure: 5, state: "OPEN", sequence: 8 }));
  control.close();
  await until(() => last()?.m4ControlPlane === 0 && last()?.m5Coherence === 1);
  delete (engine as { pid?: number }).pid;
  await until(() => last()?.m1Proc === 0);
  expect(last()).toMatchObject({ status: "DEAD", missing: ["engine"] });
  Object.assign(engine, { stopped: true });
  await until(() => last()?.m1Proc === 1);
});

test("DOL-4 DOL-10 a real source that stops is found stale, an external one changes nothing but the status, and each is picked up again", async () => {
  for (const name of ["bars", "prices"]) writeFileSync(file(name), "x");
  const { last, observations } = start({
    specs: [],
    meta: { sources: [source("bars"), source("prices", { external: true })] },
  });
  const touch = (name: string) => utimesSync(file(name), new Date(), new Date());
  const touching = setInterval(() => touch("bars"), 50);
  try {
    await until(() => last()?.status === "DEGRADED");
    expect(last()).toMatchObject({ rmMeta: 1 });
    await until(
      () => observations.at(-1)?.staleSources.some(({ name, external }) => name === "prices" && external) ?? false,
    );
    await until(() => {
      touch("prices");
      return last()?.status === "GREEN";
    });
    rmSync(file("prices"));
    writeFileSync(file("prices"), "another");
  } finally {
    clearInterval(touching);
  }
  await until(() => last()?.m3DataFreshness === 0.5);
  expect(last()?.rmMeta).toBe(0.5);
  await until(() => {
    touch("bars");
    return last()?.m3DataFreshness === 1;
  });
});

test("DOL-8 a real job that is not picked up is observed late until its file is written", async () => {
  const { observations } = start({ jobs: [{ name: "nightly", everyMs: 500, graceMs: 200, file: file("nightly") }] });
  await until(() => observations.at(-1)?.lateJobs.nightly !== undefined);
  expect(observations.at(-1)?.lateJobs.nightly).toBeGreaterThan(200);
  const running = setInterval(() => writeFileSync(file("nightly"), "done"), 50);
  await until(() => observations.at(-1)?.lateJobs.nightly === undefined);
  clearInterval(running);
});

test("DOL-7 a page, a pipe and a system sensor that hang delay no observation, no meta-health and no request", async () => {
  const silent = createServer(() => undefined);
  const url = `http://127.0.0.1:${await listen(silent)}/`;
  execFileSync("mkfifo", [file("pipe")]);
  let told = 0;
  const { observations, metas } = start(
    {
      specs: [specOf({ performance: { url, everyMs: 100, timeoutMs: 100 } })],
      onRequests: () => {
        told += 1;
      },
      meta: { sources: [source("pipe", { field: "at" }), source("page", { file: "", url, field: "at" })] },
    },
    living(),
  );
  await until(() => observations.length >= 10 && metas.length >= 5);
  expect(metas.at(-1)?.subsystemHealth).toMatchObject({ "workload/engine": 1 });
  const began = told;
  observer?.requests("engine", [{ latencyMs: 1, ok: true, timedOut: false }]);
  expect(told - began).toBe(1);
  observer?.close();
  // A machine whose own figures never come: the meta-health goes on, at its own pace.
  const hanging = start({ system: { read: () => new Promise(() => undefined) } });
  await until(() => hanging.metas.length >= 5);
  observer?.requests("engine", [{ latencyMs: 1, ok: true, timedOut: false }]);
  expect(hanging.observations).toEqual([]);
});

test("a data directory that refuses and one that is gone hold up nothing", async () => {
  mkdirSync(file("meta_health.json"));
  const { metas } = start();
  await until(() => metas.length >= 3);
  expect(statSync(file("meta_health.json")).isDirectory()).toBe(true);
  observer?.close();
  const gone = start({ dataDir: join(dir, "none") });
  await until(() => gone.metas.length >= 3 && gone.observations.length >= 3);
});
