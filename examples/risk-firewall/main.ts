import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type Agent, connectOptional } from "@blueflame/agent/client/client.driver.ts";
import { type Bar, parseBars } from "./bars.ts";
import { openDoors } from "./doors.driver.ts";
import { defaultRules, type Happening, step, verify } from "./firewall.ts";
import { type Memory, memoryAt, memoryOfThisProcess } from "./memory.ts";
import { Meter } from "./meter.ts";

/** A beat or put older than this makes the firewall unready: it must not take orders that it cannot remember. */
const staleAfterMs = 5_000;

/** Below the agent's default grace of 5 s, after which it kills. */
const leaveWithinMs = 2_000;

const settings = {
  stepMs: wholeNumber("RISK_FIREWALL_STEP_MS", 200, 1, 60_000),
  port: wholeNumber("RISK_FIREWALL_PORT", 7490, 0, 65_535),
  dataFile: process.env.RISK_FIREWALL_DATA ?? defaultDataFile(),
};

const bars = readBars(settings.dataFile);
const agent = connectOptional();
const memory: Memory = agent ? memoryAt(agent, randomBytes(8).toString("hex")) : memoryOfThisProcess();
const meter = new Meter();
const leaving = new AbortController();
let keptAtMs = Number.NEGATIVE_INFINITY;
let beatenAtMs = Number.NEGATIVE_INFINITY;

for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, leave);
// A drill: the event loop spins for good, alive to a process list and dead to everybody else. See the README.
process.on("SIGUSR2", () => {
  say("drill: spinning from now on, as a program with an endless loop does");
  for (;;);
});

let now = await memory.recall().catch((error: unknown) => fail(`cannot recall the risk state: ${messageOf(error)}`));
const recalled = verify(defaultRules, bars, now.state);
// A ledger that is not that of these bars needs a person: trading on it could take a lock off.
if (!recalled.ok) fail(`the remembered state does not verify: ${recalled.because}`);
const doors = await openDoors(settings.port, {
  "/live": () => ({ status: 200, body: { alive: true, time: new Date().toISOString() } }),
  "/ready": ready,
  "/performance": () => ({ status: 200, body: figures() }),
  "/state": () => ({
    status: 200,
    body: { ...now.state, riskLock: now.locked ?? null, verified: verify(defaultRules, bars, now.state) },
  }),
}).catch((error: Error) => fail(`cannot listen on 127.0.0.1:${settings.port}: ${error.message}`));

say(`${bars.length} bars; probes on http://127.0.0.1:${doors.port}/live /ready /performance /state`);
if (!memory.durable) say("no agent started this process: nothing is remembered when it ends");
greet();
while (!leaving.signal.aborted) {
  const startedAtMs = performance.now();
  const ok = await trade();
  const endedAtMs = performance.now();
  meter.count({ atMs: startedAtMs, tookMs: endedAtMs - startedAtMs, ok });
  await beat(agent);
  await pause(settings.stepMs, undefined, { signal: leaving.signal }).catch(() => {}); // cut short: it was asked to leave
}
say(`leaving in good order before bar ${now.state.next} of run ${now.state.run}`);
doors.close();
agent?.close();

/** One bar: decide, remember, and only then tell. A step that could not be remembered never happened. */
async function trade(): Promise<boolean> {
  const { state, happened } = step(defaultRules, bars, now.state, now.locked !== undefined);
  try {
    const before = now.locked;
    now = await memory.keep(state, now, happened);
    keptAtMs = performance.now();
    for (const happening of happened) tell(happening);
    if (now.locked !== before) tellLock();
    return true;
  } catch (error) {
    // Unknown outcome, or another instance was faster: what is remembered decides, not what this process believes.
    say(`step not confirmed, reading back: ${messageOf(error)}`);
    const before = now.locked;
    if (!leaving.signal.aborted) now = await memory.recall().catch(() => now);
    if (now.locked !== before) tellLock();
    return false;
  }
}

/** The step that is under way may end; one that waits for an agent that is away is given up, for nothing was promised yet. */
function leave(): void {
  leaving.abort();
  setTimeout(() => agent?.close(), leaveWithinMs).unref();
}

async function beat(to: Agent | undefined): Promise<void> {
  if (to === undefined) return;
  const { run, next, session, ledger } = now.state;
  const lock = now.locked !== undefined ? ", risk lock" : session.lock === null ? "" : ", locked";
  try {
    await to.beat(`run ${run}, bar ${next} of ${bars.length}, ${ledger.trades} trades${lock}`);
    beatenAtMs = performance.now();
  } catch (error) {
    say(`beat not taken: ${messageOf(error)}`);
  }
}

function ready() {
  const fresh = (atMs: number) => performance.now() - atMs < staleAfterMs + settings.stepMs;
  const checks = [
    { name: "data", ok: bars.length > 0, because: `${bars.length} bars` },
    { name: "memory", ok: fresh(keptAtMs), because: memory.durable ? "last put to the agent" : "in this process only" },
    { name: "beat", ok: agent === undefined || fresh(beatenAtMs), because: agent ? "last beat taken" : "no agent" },
  ];
  const all = checks.every((check) => check.ok);
  return { status: all ? 200 : 503, body: { ready: all, checks } } as const;
}

function figures() {
  const { user, system } = process.cpuUsage();
  const cpu = (user + system) / 1000 / (process.uptime() * 1000);
  return meter.figures(performance.now(), cpu, process.memoryUsage.rss());
}

/** Says what was remembered, so that a person sees that nothing was forgotten. */
function greet(): void {
  say(now.revision === 0n ? "nothing remembered yet: run 1 begins at the first bar" : recollection());
  if (now.locked !== undefined) tellLock();
}

function tellLock(): void {
  if (now.locked === undefined) say("the risk lock was opened: trading goes on");
  else say(`RISK LOCK: ${now.locked}; no position is opened until a person says \`blueflame-agent state unlock\``);
}

function recollection(): string {
  const { run, next, ledger, lossStreak, session } = now.state;
  const lock = session.lock === null ? "unlocked" : `LOCKED since ${session.lock.date}`;
  return `go on at bar ${next} of run ${run}: ${ledger.trades} trades, loss streak ${lossStreak}, ${lock}, ledger verified`;
}

function tell(happening: Happening): void {
  say(sentence(happening));
}

function sentence(happening: Happening): string {
  switch (happening.is) {
    case "trade": {
      const { n, date, side, units, priceCents, profitCents } = happening.trade;
      const profit = side === "sell" ? `, ${profitCents < 0 ? "lost" : "won"} ${money(Math.abs(profitCents))}` : "";
      return `${date} trade ${n}: ${side} ${units} at ${money(priceCents)}${profit}`;
    }
    case "lock":
      return `LOCKED until ${happening.session} ends: the session has lost ${money(happening.lossCents)}`;
    case "unlock":
      return `session ${happening.session} begins: unlocked`;
    case "end":
      return `run ${happening.run} is through; the next begins at the first bar`;
  }
}

function money(cents: number): string {
  return (cents / 100).toFixed(2);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function fail(line: string): never {
  process.stderr.write(`risk-firewall: ${line}\n`);
  process.exit(1);
}

/** A setting from the environment; nonsense ends the program with one line instead of trading on a guess. */
function wholeNumber(name: string, otherwise: number, min: number, max: number): number {
  const text = process.env[name];
  if (text === undefined || text === "") return otherwise;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < min || value > max) {
    fail(`${name}='${text}' must be a whole number from ${min} to ${max}`);
  }
  return value;
}

function readBars(file: string): Bar[] {
  try {
    return parseBars(readFileSync(file, "utf8"));
  } catch (error) {
    return fail(`cannot use the bars in '${file}': ${messageOf(error)}`);
  }
}

/** The package does not export its data folder, but its entry point tells where it lies. */
function defaultDataFile(): string {
  try {
    const entry = createRequire(import.meta.url).resolve("vega-datasets");
    return fileURLToPath(new URL("../data/sp500-2000.csv", `file://${entry}`));
  } catch (error) {
    return fail(
      `the package vega-datasets is not installed (${messageOf(error)}); name a CSV file in RISK_FIREWALL_DATA`,
    );
  }
}
