/** Does what the plan says. Each step may be done again; none throws. */
import { chmodSync, chownSync, existsSync, lchownSync, linkSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { places, revivedVariable } from "../constants.ts";
import { type Ended, launch, lineIn, run } from "./child.ts";
import { lstatOr, namesIn, statOr } from "./disk.ts";
import type { Findings } from "./findings.ts";
import { isConfig, readGoodCopy, reinstall } from "./good-copy.ts";
import { limits } from "./judge-life.ts";
import type { Look } from "./look.ts";
import { closedIn } from "./look-closed.ts";
import { Life, takesCalls } from "./look-life.ts";
import { end } from "./proc.ts";
import { cwdOf, readStart, type Start } from "./start-file.ts";
import type { Done, Step } from "./steps.ts";
import { keepsShut, troubleOf } from "./trouble.ts";

const mendMs = 600_000;
const unitMs = 60_000;
const restartMs = 60_000;
const endMs = 5000;
const lookEveryMs = 250;
const askEveryMs = 1000;
/** Entries that are given to their owner; beyond it the rest is named by the next look. */
const entriesMax = 200_000;

/** Folders of ours lie less deep in each other. */
const depthMax = 8;

/** One step, and what came of it. */
export async function act(step: Step, found: Findings, look: Look): Promise<Done> {
  try {
    const because = await deed(step, found, look);
    return { step, ok: true, because };
  } catch (error) {
    return { step, ok: false, because: (error as Error).message };
  }
}

function deed(step: Step, found: Findings, look: Look): string | Promise<string> {
  switch (step.do) {
    case "makeFolder":
      mkdirSync(step.path, { recursive: true, mode: 0o700 });
      give(step.path, found);
      return `${step.path} was made`;
    case "moveAside":
      return moveAside(step.path);
    case "takeOver":
      return takeOver(step.path, found.owner);
    case "setMode":
      chmodSync(step.path, step.mode);
      return `${step.path} has mode ${step.mode.toString(8)} now`;
    case "openFiles":
      return openFiles(step.path);
    case "reinstall":
      return putBack(step.name, found);
    case "endGuards":
      return endGuards(found);
    case "endAgent":
      return endAgent(found);
    case "mendStore":
      return mendStore(found);
    case "awaitStore":
      return awaitStore(step.forMs, found, look);
    case "takeBackDown":
      rmSync(join(found.dataDir.path, places.intent), { force: true });
      return "a person's word was taken back by a person";
    case "startAll":
      return startAll(step.by, found, look);
    case "startAgent":
      return startAgent(found, look);
    case "restart":
      return restart(step.workload, found);
    case "wait":
      return wait(step.forMs, found, look);
  }
}

// ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** To whoever everything here belongs; only root can give. */
export function give(path: string, { owner, self }: Pick<Findings, "owner" | "self">): void {
  if (self === 0 && owner.uid !== 0) chownSync(path, owner.uid, owner.gid);
}

function freeName(path: string, word: string): string {
  for (let at = 0; ; at++) {
    const name = `${path}.${word}${at === 0 ? "" : `-${at}`}`;
    if (!existsSync(name)) return name;
  }
}

function moveAside(path: string): string {
  const aside = freeName(path, "aside");
  renameSync(path, aside);
  return `${path} lies in ${aside} now`;
}

function takeOver(top: string, { uid, gid }: Findings["owner"]): string {
  let count = 0;
  const walk = (path: string) => {
    const found = lstatOr(path);
    if (!found || count > entriesMax) return;
    if (found.uid !== uid) {
      lchownSync(path, uid, gid);
      count++;
    }
    if (found.isDirectory()) for (const name of namesIn(path)) walk(join(path, name));
  };
  walk(top);
  return `${count} entries of ${top} belong to ${uid}:${gid} again`;
}

function openFiles(top: string): string {
  let count = 0;
  // What lies in a closed folder is seen once that is open.
  for (let depth = 0; depth < depthMax; depth++) {
    const closed = closedIn(top);
    for (const { path, mode } of closed) chmodSync(path, mode);
    count += closed.length;
    if (closed.length === 0) break;
  }
  return `${count} entries of ${top} may be read and written by their owner again`;
}

function putBack(name: string, found: Findings): string {
  const { path } = found.dataDir;
  const good = readGoodCopy(path);
  const file = "manifest" in good ? good.manifest.files.find((one) => one.name === name) : undefined;
  if (!file) throw new Error(`the good copy has no ${name}`);
  const before = statOr(file.target);
  const kept = before ? keep(file.target, isConfig(file)) : undefined;
  reinstall(path, file);
  if (before && found.self === 0) chownSync(file.target, before.uid, before.gid);
  return `${file.target} was reinstalled from the good copy${kept === undefined ? "" : `; what lay there is ${kept}`}`;
}

/** A config is a person's work and always kept; of a program one damaged copy is enough. What is no file is moved: it has no second name. */
function keep(target: string, always: boolean): string {
  const once = `${target}.damaged`;
  const isFile = statOr(target)?.isFile() === true;
  const kept = always || !isFile || statOr(once)?.isDirectory() ? freeName(target, "damaged") : once;
  if (!isFile) {
    renameSync(target, kept);
    return kept;
  }
  rmSync(kept, { force: true });
  linkSync(target, kept);
  return kept;
}

// ── store ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A process that was forked a moment ago has its own command line by then, also on a busy machine. */
const bornMs = 300;
/** Of two that start each other at most so many are ended one after the other. */
const guardRounds = 5;

/** Both at one moment, for either would start the other again; and whoever was just being born then. Workloads outlive them. */
async function endGuards(found: Findings): Promise<string> {
  const { start } = found;
  if (start.by === "init") await told(systemctl(start, "stop"));
  const life = new Life({ dataDir: found.dataDir.path, works: undefined, owner: undefined, mute: false });
  const ended: { readonly pid: number }[] = [];
  for (let round = 0; round < guardRounds; round++) {
    const left = [life.watchdog(), life.agent()].filter((one) => one !== undefined);
    if (round > 0 && left.length === 0) break;
    const gone = await Promise.all(left.map((one) => end(one, endMs)));
    if (gone.includes(false)) throw new Error("watchdog or agent survives SIGKILL: it waits in the kernel");
    ended.push(...left);
    await pause(bornMs);
  }
  return `${ended.map(({ pid }) => pid).join(" and ")} ended, so that nobody holds the store; the workloads go on`;
}

async function endAgent(found: Findings): Promise<string> {
  const agent = new Life({ dataDir: found.dataDir.path, works: undefined, owner: undefined, mute: false }).agent();
  if (!agent) return "the agent is gone";
  if (!(await end(agent, endMs)))
    throw new Error(`the agent (pid ${agent.pid}) survives SIGKILL: it waits in the kernel`);
  return `the agent (pid ${agent.pid}), which did not answer, was ended; its workloads go on`;
}

async function mendStore(found: Findings): Promise<string> {
  const words = ["store", "repair", "--actor", "emergency", "-o", "json", "--data-dir", found.dataDir.path];
  const out = await told(run([...program(found), ...words], { timeoutMs: mendMs, as: ownerOf(found) }));
  const { is, by, kept } = JSON.parse(out) as { is: string; by?: string; kept?: string };
  if (is !== "mended") return "the store was sound";
  return `the store was mended (${by})${kept === undefined ? "" : `; the damaged one is ${kept}`}`;
}

async function awaitStore(forMs: number, found: Findings, look: Look): Promise<string> {
  const open = ({ agent, troubles }: Seen) => agent.is === "answers" && !keepsShut(troubleOf(troubles));
  if (!(await until(forMs, found, look, open))) throw new Error(`the agent has not opened it within ${forMs / 1000} s`);
  return "the agent has opened it";
}

// ── life ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

async function startAll(by: "init" | "watchdog", found: Findings, look: Look): Promise<string> {
  const dataDir = found.dataDir.path;
  if (by === "init" && found.start.by === "init") {
    await systemctl(found.start, "reset-failed");
    await told(systemctl(found.start, "start"));
  } else {
    const { words, cwd } = startOf(found);
    const watchdog = [...program(found), "watchdog", "--data-dir", dataDir, "--", ...words];
    const refused = await launch(watchdog, { cwd, as: ownerOf(found) });
    if (refused !== undefined) throw new Error(`the watchdog cannot be started: ${refused}`);
  }
  return answered(found, look, by === "init" ? "init has started the watchdog" : "the watchdog was started");
}

/** As the watchdog would revive it: it leaves quietly when another one is there. */
async function startAgent(found: Findings, look: Look): Promise<string> {
  const { words, cwd } = startOf(found);
  const [up = "up", ...rest] = words;
  const lastGood = rest.includes("--last-good") ? [] : ["--last-good"];
  const env = { ...process.env, [revivedVariable]: "1" };
  const refused = await launch([...program(found), up, ...lastGood, ...rest], { cwd, env, as: ownerOf(found) });
  if (refused !== undefined) throw new Error(`the agent cannot be started: ${refused}`);
  return answered(found, look, "the agent was started");
}

async function answered(found: Findings, look: Look, what: string): Promise<string> {
  const seen = await until(limits.startMs, found, look, ({ agent }) => agent.is === "answers");
  if (!seen) throw new Error(`${what}, and no agent has answered within ${limits.startMs / 1000} s`);
  return `${what}, and the agent answers`;
}

async function restart(workload: string, found: Findings): Promise<string> {
  // The audit names who asked; the agent takes it from here, as it does behind sudo.
  const env = { ...process.env, SUDO_USER: "emergency" };
  const words = ["restart", workload, "--data-dir", found.dataDir.path];
  await told(run([...program(found), ...words], { timeoutMs: restartMs, env, as: ownerOf(found) }));
  return `${workload} was restarted`;
}

async function wait(forMs: number, found: Findings, look: Look): Promise<string> {
  const well = ({ agent, watchdog, workloads }: Seen) =>
    agent.is === "answers" && watchdog.is !== "dead" && workloads.every(({ is }) => is !== "down");
  await until(forMs, found, look, well);
  return "";
}

type Seen = Awaited<ReturnType<Life["look"]>>;

async function until(forMs: number, found: Findings, look: Look, holds: (seen: Seen) => boolean): Promise<boolean> {
  const { dataDir } = look.around;
  const mute = found.dataDir.refuses !== undefined;
  const life = new Life({ dataDir, works: found.works, owner: ownerOf(found), mute });
  let pauseMs = lookEveryMs;
  for (const endAtMs = performance.now() + forMs; performance.now() < endAtMs; await pause(pauseMs)) {
    // Asking costs a child, on a node that has enough to do: who does not listen yet is not asked, and who said no less and less often.
    if (life.agent() && (mute || (await takesCalls(join(dataDir, places.socket))))) {
      if (holds(await life.look([]))) return true;
      pauseMs = Math.min(2 * pauseMs, askEveryMs);
    }
  }
  return false;
}

// ── how ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

function program({ works }: Findings): readonly string[] {
  if (!works) throw new Error("no program starts");
  return works;
}

function ownerOf({ self, owner }: Findings): { uid: number; gid: number } | undefined {
  return self === 0 && owner.uid !== 0 ? owner : undefined;
}

/** How the agent was started last, else as it was installed. */
function startOf(found: Findings): Pick<Start, "words" | "cwd"> {
  const { start, unread } = readStart(found.dataDir.path);
  if (start) return { words: withDataDir(start.words, found.dataDir.path), cwd: cwdOf(start) };
  const config = found.files.find(isConfig)?.target;
  if (config === undefined) throw new Error(unread ?? "nobody has written down how the agent was started");
  return { words: ["up", "--config", config, "--data-dir", found.dataDir.path], cwd: dirname(config) };
}

/** A relative one would be read from another folder. */
function withDataDir(words: readonly string[], dataDir: string): readonly string[] {
  const split = words.indexOf("--");
  const own = split < 0 ? words : words.slice(0, split);
  const rest = split < 0 ? [] : words.slice(split);
  const at = own.indexOf("--data-dir");
  const without = at < 0 ? own : [...own.slice(0, at), ...own.slice(at + 2)];
  return [...without.filter((word) => !word.startsWith("--data-dir=")), "--data-dir", resolve(dataDir), ...rest];
}

function systemctl({ unit, user }: Findings["start"] & { by: "init" }, word: string): Promise<Ended> {
  return run(["systemctl", ...(user ? ["--user"] : []), word, unit], { timeoutMs: unitMs });
}

async function told(ended: Promise<Ended>): Promise<string> {
  const done = await ended;
  if (done.code !== 0) throw new Error(lineIn(done));
  return done.out;
}
