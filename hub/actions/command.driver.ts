import { spawn } from "node:child_process";
import { closeSync, fstatSync, mkdirSync, openSync, readSync, renameSync } from "node:fs";
import { dirname } from "node:path";
import { programWord } from "@blueflame/shared/config/quote.ts";
import { codeOf } from "@blueflame/shared/errors/code.ts";
import { lastKnownWords } from "@blueflame/shared/words/known.ts";

/** A program to run: argv, no shell. */
export interface Command {
  readonly argv: readonly string[];
  /** Working directory; the hub's own when empty. */
  readonly cwd: string;
  readonly timeoutMs: number;
}

/** How it ended. `because` is one clause with the facts, and where it failed the known words of its last line: all of it is in the file. */
export interface Ended {
  readonly ok: boolean;
  readonly because: string;
}

/** Of what a failed command said, this much is looked at. */
const readBytes = 4096;
const outputBytesMax = 1024 * 1024;

/**
 * Runs a command in a session of its own, with its output appended to `outputPath` (kept below about 1 MiB and one older
 * file). Ok means exit code 0 within the time; after it the whole process group is killed. What the command itself
 * starts in another session lives on. Never rejects.
 */
export function runCommand(
  { argv, cwd, timeoutMs }: Command,
  outputPath: string,
  environment: Readonly<Record<string, string>>,
): Promise<Ended> {
  const [file, ...args] = argv;
  if (file === undefined) return Promise.resolve({ ok: false, because: "no command is configured" });
  const name = programWord(file);
  const { promise, resolve } = Promise.withResolvers<Ended>();
  let output: number;
  try {
    output = openOutput(outputPath);
  } catch (error) {
    // A full disk, or no descriptor left. It is a failed attempt like any other: a throw would end the hub.
    return Promise.resolve({ ok: false, because: `its output cannot be kept: ${String(error)}` });
  }
  const began = fstatSync(output).size;
  let over = false;
  // The exit that follows a timeout comes when the output is closed already.
  const failed = (because: string) => {
    if (!over) resolve({ ok: false, because: `${because}${saidSince(output, began)}` });
    over = true;
  };
  try {
    const child = spawn(file, args, {
      cwd: cwd === "" ? undefined : cwd,
      detached: true,
      stdio: ["ignore", output, output],
      env: { PATH: process.env.PATH, HOME: process.env.HOME, LANG: process.env.LANG, ...environment },
    });
    const timer = setTimeout(() => {
      if (child.pid !== undefined) killGroup(child.pid);
      failed(`${name} did not end within ${timeoutMs / 1000} s`);
    }, timeoutMs);
    child.once("error", (error) => failed(`${name} could not be started: ${codeOf(error)}`));
    child.once("exit", (code, signal) => {
      if (code === 0) resolve({ ok: true, because: `${name} ended with 0` });
      else failed(signal ? `${name} was ended by ${signal}` : `${name} ended with ${code}`);
    });
    return promise.finally(() => {
      clearTimeout(timer);
      closeSync(output);
    });
  } catch (error) {
    closeSync(output);
    return Promise.resolve({ ok: false, because: `${name} could not be started: ${codeOf(error)}` });
  }
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch (error) {
    // It ended between the timeout and now.
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
}

function openOutput(path: string): number {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const output = openSync(path, "a+", 0o600);
  if (fstatSync(output).size < outputBytesMax) return output;
  closeSync(output);
  renameSync(path, `${path}.1`);
  return openSync(path, "a+", 0o600);
}

function saidSince(output: number, began: number): string {
  const size = fstatSync(output).size;
  const from = Math.max(began, size - readBytes);
  const bytes = Buffer.alloc(Math.max(0, size - from));
  readSync(output, bytes, 0, bytes.length, from);
  const said = lastKnownWords(bytes.toString("utf8"), from > began);
  return said === "" ? "" : `: ${said}`;
}
