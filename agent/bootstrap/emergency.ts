/** `blueflame-agent emergency`: looks, decides, acts, and looks again, until nothing is left to do. */
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { homedir, uptime } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { laterCode, places } from "../constants.ts";
import { act, give } from "./act.ts";
import { replaceFile } from "./disk.ts";
import type { Findings } from "./findings.ts";
import { alone } from "./lock.ts";
import { Look } from "./look.ts";
import { plan } from "./plan.ts";
import { bootId } from "./proc.ts";
import { asked, type Format, Log, outcomeOf, page, printed, type Report } from "./report.ts";
import { type Done, wordsOf } from "./steps.ts";

/** Each round does at least one step that was never tried: more would be a mistake of ours. */
const roundsMax = 40;

const ownBundle = "blueflame-emergency.cjs";
const agentBundle = "blueflame-agent.cjs";

const usage = `Usage: blueflame-agent emergency [--data-dir DIR] [--auto] [--start] [--dry-run] [-o table|json|jsonl|yaml]

Finds out what is wrong with this node, mends what can be mended, starts what should run, and pages a person. It needs no hub
and no credentials, deletes nothing, and starts nothing that a person has stopped.
  --auto      as the watchdog calls it: once an hour at most (else it ends with 75), and not after a person's word
  --start     take back a \`down\`
  --dry-run   only look, and say what would be done
`;

interface Flags {
  readonly dataDir: string;
  readonly auto: boolean;
  readonly start: boolean;
  readonly dryRun: boolean;
  readonly format: Format;
}

/**
 * Runs it with the arguments of the program and returns the exit code: 0 when the node is well or nothing was to be done, 1 when a
 * person is needed, 2 for wrong usage, {@link laterCode} for another time.
 */
export async function emergency(args: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  const flags = parseFlags(args, defaultDataDir(env));
  if ("refused" in flags) {
    const help = flags.refused === usage;
    process[help ? "stdout" : "stderr"].write(flags.refused);
    return help ? 0 : 2;
  }
  const { dataDir, dryRun } = flags;
  const lock = dryRun || !existsSync(dataDir) ? undefined : alone(join(dataDir, "emergency.lock"));
  if (lock && "pid" in lock) {
    process.stderr.write(`another emergency is at work (process ${lock.pid}); nothing was done\n`);
    return 0;
  }
  try {
    return await rounds(flags, new Log(dataDir, dryRun));
  } finally {
    lock?.release();
  }
}

async function rounds(flags: Flags, log: Log): Promise<number> {
  const { dataDir, auto, start, dryRun } = flags;
  const look = new Look({ dataDir, asked: { auto, start }, self: selfProgram(), lastAutoAgoMs: autoAgoMs(dataDir) });
  const done: Done[] = [];
  let found = await look.look();
  let next = plan(found, done);
  if (next.leave !== undefined) {
    log.say(30, `nothing is done: ${next.leave}`);
    process.stderr.write(`nothing was done: ${next.leave}\n`);
    // A person's word is the end of it; its own bound is not.
    return found.word === undefined ? laterCode : 0;
  }
  const first = next.verdicts;
  if (auto && !dryRun) noteAuto(dataDir);
  log.say(40, "the emergency begins", { auto, verdicts: next.verdicts });
  for (let round = 0; round < roundsMax && next.steps.length > 0 && !dryRun; round++) {
    for (const step of next.steps) {
      if (step.do !== "wait") process.stderr.write(`… ${wordsOf(step)}\n`);
      const came = await act(step, found, look);
      done.push(came);
      look.changed(step);
      log.say(came.ok ? 30 : 50, wordsOf(step), { ok: came.ok, because: came.because });
    }
    found = await look.look();
    next = plan(found, done);
  }
  const report: Report = { ...next, first, done, would: dryRun ? next.steps : [] };
  return finish(flags, report, found, log);
}

async function finish(
  { dataDir, auto, dryRun, format }: Flags,
  report: Report,
  found: Findings,
  log: Log,
): Promise<number> {
  const outcome = outcomeOf(report);
  const calm = outcome === "well" && !auto;
  const unpaged = dryRun || calm ? [] : await page(dataDir, auto, report, (path) => give(path, found));
  for (const line of unpaged) {
    log.say(50, line);
    process.stderr.write(`${line}\n`);
  }
  log.say(outcome === "broken" ? 50 : 30, `the emergency ends: ${outcome}`, { troubles: report.troubles });
  if (!dryRun)
    for (const path of [join(dataDir, places.emergencyLog), autoFile(dataDir)]) if (existsSync(path)) give(path, found);
  process.stdout.write(printed(report, format));
  process.stderr.write(asked(report));
  return outcome === "broken" ? 1 : 0;
}

function parseFlags(args: readonly string[], defaultDir: string): Flags | { readonly refused: string } {
  let flags: Flags = { dataDir: defaultDir, auto: false, start: false, dryRun: false, format: "table" };
  const rest = args.flatMap((arg) =>
    /^--[\w-]+=/.test(arg) ? [arg.slice(0, arg.indexOf("=")), arg.slice(arg.indexOf("=") + 1)] : [arg],
  );
  for (let flag = rest.shift(); flag !== undefined; flag = rest.shift()) {
    if (flag === "--help" || flag === "-h") return { refused: usage };
    if (flag === "emergency") continue; // the command itself, wherever it was typed
    if (flag === "--auto") flags = { ...flags, auto: true };
    else if (flag === "--start") flags = { ...flags, start: true };
    else if (flag === "--dry-run") flags = { ...flags, dryRun: true };
    else {
      const value = rest.shift();
      if (flag === "--data-dir" && value) flags = { ...flags, dataDir: resolve(value) };
      else if ((flag === "-o" || flag === "--output") && isFormat(value)) flags = { ...flags, format: value };
      else
        return {
          refused: `[USAGE] '${[flag, value].join(" ").trim()}' is not understood. See blueflame-agent emergency --help.\n`,
        };
    }
  }
  return flags.auto && flags.start
    ? { refused: "[USAGE] --start is a person's word, and --auto is none. See blueflame-agent emergency --help.\n" }
    : flags;
}

function isFormat(value: string | undefined): value is Format {
  return value === "table" || value === "json" || value === "jsonl" || value === "yaml";
}

/** As the agent's own command line has it. */
function defaultDataDir(env: NodeJS.ProcessEnv): string {
  if (env.BLUEFLAME_DATA_DIR) return resolve(env.BLUEFLAME_DATA_DIR);
  if (process.getuid?.() === 0) return "/var/lib/blueflame";
  const state = env.XDG_STATE_HOME?.startsWith("/")
    ? env.XDG_STATE_HOME
    : join(env.HOME ?? homedir(), ".local", "state");
  return join(state, "blueflame");
}

/** The agent's program from our own. An executable needs no script; a bundle of ours lies beside the agent's. */
function selfProgram(): readonly string[] {
  const script = scriptAt(process.argv[1] ?? "");
  if (!/\.[cm]?js$/.test(script)) return [process.execPath];
  return [process.execPath, basename(script) === ownBundle ? join(dirname(script), agentBundle) : script];
}

/** npx runs a link without an ending, which says nothing of what it is. */
function scriptAt(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return resolve(path);
  }
}

// ── how often by itself ──────────────────────────────────────────────────────────────────────────────────────────────

function autoFile(dataDir: string): string {
  return join(dataDir, "emergency.json");
}

/** Within one boot by the machine's uptime, which nobody sets; over boots by the date. */
function autoAgoMs(dataDir: string): number | undefined {
  try {
    const { boot, uptimeS, wallMs } = JSON.parse(readFileSync(autoFile(dataDir), "utf8")) as Record<string, unknown>;
    const agoMs = boot === bootId() ? (uptime() - Number(uptimeS)) * 1000 : Date.now() - Number(wallMs);
    return agoMs >= 0 ? agoMs : undefined; // from the future: the date went back
  } catch {
    return undefined;
  }
}

function noteAuto(dataDir: string): void {
  try {
    replaceFile(autoFile(dataDir), JSON.stringify({ boot: bootId(), uptimeS: uptime(), wallMs: Date.now() }));
  } catch {
    // A disk that refuses: whoever calls it has a bound of his own.
  }
}
