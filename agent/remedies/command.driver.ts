import { type ChildProcess, spawn } from "node:child_process";
import type { Readable } from "node:stream";
import { commandHint } from "@blueflame/shared/config/quote.ts";
import { codeOf } from "@blueflame/shared/errors/code.ts";
import { lastKnownWords } from "@blueflame/shared/words/known.ts";
import { bornOrdinary } from "../limits/oom-score.driver.ts";
import type { Argv } from "../playbooks/playbook.ts";
import { procStat } from "../supervise/proc.driver.ts";

/** Of a command's output the last part is looked at. */
const keptMax = 4096;
/** After SIGTERM it has this long before SIGKILL. */
const graceMs = 2000;
/** After its end, its last output is awaited this long: a left-over child may hold the pipe open. */
const lastOutputMs = 50;
/** The signals that end programs; a program's own `exit -1` is 255. */
const signalMax = 31;

/** How a command runs. */
export interface CommandOptions {
  readonly cwd: string;
  /** Added to the few variables that every command gets: PATH, HOME, LANG, TZ, TMPDIR. Nothing else of the agent's reaches it. */
  readonly env: Readonly<Record<string, string>>;
  /** The whole group is ended when it aborts: SIGTERM first, SIGKILL two seconds later. */
  readonly signal: AbortSignal;
  /** Called with the process right after its start. */
  readonly started?: (child: { readonly pid: number; readonly startTicks: number }) => void;
}

/** How it ended. */
export interface CommandEnd {
  readonly ok: boolean;
  /** It was not started, or did not come to its end: it says nothing about what it was to look at. */
  readonly unsaid?: true;
  /** One sentence: exit code or signal; where it failed, with the known words of its last line, for its output may hold secrets. */
  readonly because: string;
}

/** Runs a program in a process group of its own, without a shell, with nothing to read. Resolves when it has ended. Never rejects. */
export function runProgram([file, ...args]: Argv, { cwd, env, signal, started }: CommandOptions): Promise<CommandEnd> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve({ ok: false, unsaid: true, because: "cancelled before it began" });
    const child = bornOrdinary(() =>
      spawn(file, args, {
        cwd,
        env: { ...plainEnv(), ...env },
        detached: true,
        stdio: ["ignore", "pipe", "pipe"],
      }),
    );
    const end = (ok: boolean, because: string, unsaid: boolean) => {
      signal.removeEventListener("abort", stop);
      clearTimeout(killing);
      resolve({ ok, because, ...(unsaid && { unsaid: true as const }) });
    };
    let killing: NodeJS.Timeout | undefined;
    const stop = () => {
      signalGroup(child, "SIGTERM");
      killing = setTimeout(() => signalGroup(child, "SIGKILL"), graceMs);
    };
    // First of all: what cannot be started says so as an event, and without a listener that would end the agent.
    // Its message would quote the whole command where one was written as a single text.
    child.on("error", (error) => end(false, `it cannot be started: ${codeOf(error)}${commandHint(file)}`, true));
    const output = collect(child);
    if (child.pid !== undefined) started?.({ pid: child.pid, startTicks: procStat(child.pid)?.startTicks ?? 0 });
    signal.addEventListener("abort", stop, { once: true });
    child.on("exit", (code, ended) => {
      signalGroup(child, "SIGKILL"); // what it left behind
      const finish = () => {
        clearTimeout(patience);
        const how = signal.aborted ? "its time was over" : code === null ? `ended by ${ended}` : `exit code ${code}`;
        const ok = code === 0 && !signal.aborted;
        const said = ok ? "" : output();
        end(ok, said === "" ? how : `${how}: ${said}`, signal.aborted || code === null || isOfShell(code));
      };
      const patience = setTimeout(finish, lastOutputMs);
      child.on("close", finish);
    });
  });
}

/** What a shell says of a program that it could not run (126, 127), or that a signal has ended (128 and its number). */
function isOfShell(code: number): boolean {
  return code === 126 || code === 127 || (code > 128 && code <= 128 + signalMax);
}

/** Ends the group of a command that an earlier agent has started, if it still is that process; resolves when it is gone or cannot be ended. */
export async function endLeftOver(pid: number, startTicks: number): Promise<void> {
  for (let round = 0; round < 20; round++) {
    const stat = procStat(pid);
    if (!stat || stat.startTicks !== startTicks || stat.state === "Z") return;
    try {
      process.kill(-pid, "SIGKILL");
    } catch {
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function collect(child: ChildProcess): () => string {
  let text = "";
  // Without a free descriptor there are no pipes either, whatever the type says.
  for (const pipe of [child.stdout, child.stderr] as readonly (Readable | null | undefined)[]) {
    pipe?.setEncoding("utf8");
    pipe?.on("data", (chunk: string) => {
      text = (text + chunk).slice(-keptMax);
    });
  }
  return () => lastKnownWords(text, text.length >= keptMax);
}

function plainEnv(): Record<string, string> {
  const names = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"];
  return Object.fromEntries(
    names.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  );
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // Nobody is left in the group.
  }
}
