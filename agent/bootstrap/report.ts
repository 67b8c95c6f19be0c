/** Says what was found and done: to the person who asked, to a person who did not, and to the log. */
import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from "node:fs";
import { hostname } from "node:os";
import { isAbsolute, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fromServiceManager, places } from "../constants.ts";
import { programWord, run } from "./child.ts";
import { replaceFile, statOr } from "./disk.ts";
import { type Done, type Step, type Trouble, type Verdict, wordsOf } from "./steps.ts";

/** Beyond this the log becomes `.1`, and the `.1` before it is gone. */
const logBytesMax = 1024 * 1024;
/** Pages of ours that are kept; the oldest goes. */
const alertsMax = 100;
const pagerMs = 10_000;
/** Together with its tries it is far below the ten minutes that the watchdog gives an emergency. */
const pagerTriesAfterMs = [10_000, 60_000] as const;

/** How it went. */
export interface Report {
  /** What was thought of each part before anything was done. */
  readonly first: readonly Verdict[];
  readonly verdicts: readonly Verdict[];
  readonly troubles: readonly Trouble[];
  readonly done: readonly Done[];
  /** Of a dry run: what would be done first. */
  readonly would: readonly Step[];
}
export type Format = "table" | "json" | "jsonl" | "yaml";

/** One word for the whole. */
export function outcomeOf({ verdicts, troubles }: Report): "well" | "mended" | "broken" {
  if (troubles.length > 0) return "broken";
  return verdicts.some(({ state }) => state === "mended") ? "mended" : "well";
}

function notWell(verdicts: readonly Verdict[]): Verdict[] {
  return verdicts.filter(({ state }) => state !== "well");
}

/** For stdout. YAML: every JSON text is one. */
export function printed(report: Report, format: Format): string {
  const { first, verdicts, troubles, done, would } = report;
  if (format === "jsonl") return verdicts.map((one) => `${JSON.stringify(one)}\n`).join("");
  if (format !== "table") {
    const steps = done.map(({ step, ok, because }) => ({ step: wordsOf(step), ok, because }));
    const whole = {
      outcome: outcomeOf(report),
      found: notWell(first),
      verdicts,
      steps,
      would: would.map(wordsOf),
      troubles,
    };
    return `${JSON.stringify(whole, null, 2)}\n`;
  }
  const rows = [["PART", "STATE", "FOUND"], ...verdicts.map(({ part, state, saw }) => [part, state, saw])];
  const widths = [0, 1].map((at) => Math.max(...rows.map((row) => (row[at] ?? "").length)));
  const lines = rows.map((row) =>
    row
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join("  ")
      .trimEnd(),
  );
  return `${[...lines, ...would.map((step) => `would: ${wordsOf(step)}`)].map(clean).join("\n")}\n`;
}

/** What a person has to do, for stderr: the code, what was seen, and what to type. */
export function asked({ troubles }: Report): string {
  return troubles
    .map(({ code, because, commands }) =>
      [clean(`[${code}] ${because}.`), ...commands.map((one) => `  ${clean(one)}`), ""].join("\n"),
    )
    .join("");
}

/** Names of files and words of programs must not steer a terminal. */
function clean(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is taken out
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, " ");
}

/** `logs/emergency.log`: JSON lines, at most 1 MiB and the file before it. Never throws. */
export class Log {
  readonly #path: string;
  readonly #silent: boolean;

  /** A silent one writes nothing: a dry run leaves no trace. */
  constructor(dataDir: string, silent: boolean) {
    this.#path = join(dataDir, places.emergencyLog);
    this.#silent = silent;
  }
  say(level: 30 | 40 | 50, msg: string, fields: Readonly<Record<string, unknown>> = {}): void {
    if (this.#silent) return;
    const line = `${JSON.stringify({ level, time: new Date().toISOString(), part: "emergency", pid: process.pid, ...fields, msg })}\n`;
    try {
      if ((statOr(this.#path)?.size ?? 0) > logBytesMax) renameSync(this.#path, `${this.#path}.1`);
      appendFileSync(this.#path, line, { mode: 0o600 });
    } catch {
      // A disk that refuses: stdout and the page say the same.
    }
  }
}

/**
 * Writes the page and calls the pager, if there is one; by itself up to three times while it fails, for a person does not wait at a
 * terminal. A data directory that is not there is not made for it. Returns a line for each thing that did not work.
 */
export async function page(
  dataDir: string,
  auto: boolean,
  report: Report,
  owned: (path: string) => void,
  triesAfterMs: readonly number[] = pagerTriesAfterMs,
): Promise<string[]> {
  const at = new Date().toISOString();
  const { first, verdicts, troubles, done } = report;
  const outcome = outcomeOf(report);
  const text = `${JSON.stringify({
    at,
    part: "emergency",
    host: hostname(),
    dataDir,
    by: auto ? "itself" : "person",
    severity: outcome === "broken" ? "critical" : "high",
    outcome,
    said: outcome === "broken" ? needs(verdicts) : "the node was brought back",
    found: notWell(first),
    verdicts: notWell(verdicts),
    steps: done.map(({ step, ok, because }) => ({ step: wordsOf(step), ok, because })),
    troubles,
  })}\n`;
  const failed: string[] = [];
  const name = `${at.replaceAll(":", "-")}-emergency.json`;
  try {
    if (existsSync(dataDir)) write(join(dataDir, places.alerts), name, text, owned);
    else failed.push(`the page was not written: there is no ${dataDir}`);
  } catch (error) {
    failed.push(`the page was not written: ${(error as Error).message}`);
  }
  const pager = pagerOf(dataDir, join(dataDir, places.alerts, name));
  if ("refused" in pager) return [...failed, pager.refused];
  if (!pager.words) return failed;
  const call = () => run(pager.words ?? [], { timeoutMs: pagerMs, input: text, env: ownEnvironment() });
  let called = await call();
  for (const waitMs of auto ? triesAfterMs : []) {
    if (called.code === 0) break;
    await pause(waitMs);
    called = await call();
  }
  if (called.code === 0) return failed;
  return [
    ...failed,
    `the pager ${programWord(pager.words[0] ?? "")} did not take the page: ${called.err.trim().slice(0, 200) || `exit code ${called.code}`}`,
  ];
}

function needs(verdicts: readonly Verdict[]): string {
  const guards = verdicts.some(({ part, state }) => part === "agent" && (state === "well" || state === "mended"));
  return `the node needs a person${guards ? "; its agent guards the workloads meanwhile" : ""}`;
}

function write(folder: string, name: string, text: string, owned: (path: string) => void): void {
  if (mkdirSync(folder, { recursive: true, mode: 0o700 }) !== undefined) owned(folder);
  const path = join(folder, name);
  replaceFile(path, text);
  owned(path);
  const ours = readdirSync(folder)
    .filter((one) => one.endsWith("-emergency.json"))
    .sort();
  for (const old of ours.slice(0, Math.max(0, ours.length - alertsMax))) rmSync(join(folder, old), { force: true });
}

/**
 * A JSON array of words in `BLUEFLAME_PAGER`, or in the file `pager` of the data directory, which nobody else may write; else what
 * the agent's config names, which is given the path of the alert as its last argument, as the agent gives it.
 */
function pagerOf(
  dataDir: string,
  alert: string,
): { readonly words: readonly string[] | undefined } | { readonly refused: string } {
  const path = join(dataDir, "pager");
  let text = process.env.BLUEFLAME_PAGER;
  const from = text === undefined ? path : "BLUEFLAME_PAGER";
  try {
    if (text === undefined) {
      const { mode, uid } = lstatSync(path);
      const me = process.getuid?.();
      if ((mode & 0o022) !== 0 || (me !== undefined && uid !== me && uid !== 0)) {
        return { refused: `${path} is not used: others may write it` };
      }
      text = readFileSync(path, "utf8");
    }
    const words: unknown = JSON.parse(text);
    const good = Array.isArray(words) && words.length > 0 && words.every((word) => typeof word === "string");
    if (good && isAbsolute(String(words[0]))) return { words: words as string[] };
    return { refused: noPager(from) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return { words: pagerOfConfig(dataDir, alert) };
    // Its message would quote what stands around the fault, and that may be the pager's key.
    if (error instanceof SyntaxError) return { refused: noPager(from) };
    return {
      refused: `the pager is not used: ${from}: ${(error as NodeJS.ErrnoException).code ?? "it cannot be read"}`,
    };
  }
}

function noPager(from: string): string {
  return `the pager is not used: ${from} is no JSON array of words that begins with an absolute path, like ["/usr/bin/page-me", "--now"]`;
}

/** Of the config that was in use last, which the agent has checked. */
function pagerOfConfig(dataDir: string, alert: string): readonly string[] | undefined {
  try {
    const { config } = JSON.parse(readFileSync(join(dataDir, places.lastGood), "utf8")) as {
      config?: { pager?: unknown };
    };
    const words = config?.pager;
    if (!Array.isArray(words) || !words.every((word) => typeof word === "string")) return undefined;
    return words.length > 0 ? [...words, alert] : undefined;
  } catch {
    return undefined; // it has not been written yet, or is damaged: the page is written all the same
  }
}

/** Ours without what init has told us, and only us. */
function ownEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !fromServiceManager.test(name)));
}
