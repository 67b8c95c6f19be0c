import { spawn } from "node:child_process";

/** More of a child's words is not kept. */
const wordsMax = 1024 * 1024;

export interface RunOptions {
  readonly timeoutMs: number;
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Whose process it is; without it ours. Only root may say so. */
  readonly as?: { readonly uid: number; readonly gid: number } | undefined;
  readonly input?: string;
}

/** How a child ended. `code` is null when it was ended by a signal, or never began. */
export interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs a command, never through a shell, and waits for its end; past `timeoutMs` it is ended with all it has started. Never rejects. */
export function run(words: readonly string[], options: RunOptions): Promise<Ended> {
  const [file = "", ...args] = words;
  const { timeoutMs, env = process.env, cwd, as, input } = options;
  return new Promise((resolve) => {
    let out = "";
    let err = "";
    try {
      const child = spawn(file, args, {
        stdio: [input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
        detached: true,
        env: { ...env, NO_COLOR: "1" },
        ...(cwd !== undefined && { cwd }),
        ...as,
      });
      const late = setTimeout(() => {
        err += `it did not end within ${timeoutMs} ms`;
        endGroup(child.pid);
      }, timeoutMs);
      const done = (code: number | null) => {
        clearTimeout(late);
        resolve({ code, out, err });
      };
      child.stdout?.on("data", (chunk) => (out = (out + chunk).slice(0, wordsMax)));
      child.stderr?.on("data", (chunk) => (err = (err + chunk).slice(-wordsMax)));
      child.once("error", (error) => {
        err += unstarted(file, error);
        done(null);
      });
      child.once("close", (code) => done(code));
      // What it leaves behind may hold the pipes open: its own end counts.
      child.once("exit", (code) => setTimeout(done, 500, code).unref());
      child.stdin?.on("error", () => undefined);
      child.stdin?.end(input);
    } catch (error) {
      resolve({ code: null, out, err: unstarted(file, error) });
    }
  });
}

/** Of a command that was written as one text what cannot be an argument: those may hold a secret. */
export function programWord(text: string): string {
  const word = text.split(/[\s=]/, 1)[0] ?? "";
  return word === text ? word : `${word} …`;
}

/** Node's own message would quote the whole command where one was written as a single text. */
function unstarted(file: string, error: unknown): string {
  return `${programWord(file)}: ${(error as NodeJS.ErrnoException).code ?? "refused"}`;
}

function endGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It has ended meanwhile.
  }
}

/** Starts what outlives us; its words go nowhere, for it keeps logs of its own. Resolves with why it cannot be started, or undefined. */
export function launch(
  words: readonly string[],
  options: Omit<RunOptions, "timeoutMs" | "input">,
): Promise<string | undefined> {
  const [file = "", ...args] = words;
  const { env = process.env, cwd, as } = options;
  return new Promise((resolve) => {
    try {
      const child = spawn(file, args, {
        stdio: "ignore",
        detached: true,
        env,
        ...(cwd !== undefined && { cwd }),
        ...as,
      });
      child.once("error", (error) => resolve(unstarted(file, error)));
      child.once("spawn", () => resolve(undefined));
      child.unref();
    } catch (error) {
      resolve(unstarted(file, error));
    }
  });
}

/** The code of an error line of ours, like `[STORE_LOCKED] …`; empty when there is none. */
export function codeIn(err: string): string {
  return /^\[([A-Z_]+)\]/m.exec(err)?.[1] ?? "";
}

/** Of the problems that are listed below a line; each as long as a line of its own may be. */
const listedMax = 3;
const lineMax = 600;

/** The line that says why, with the first of the problems that it lists: `[CONFIG_INVALID] F cannot be used: F:2:3 …`. */
export function lineIn({ err, code }: Ended): string {
  const lines = err.trim().split("\n");
  const at = lines.findIndex((one) => /^\[[A-Z_]+\]/.test(one));
  const line = (lines.at(at) ?? "").trim();
  if (line === "") return `exit code ${code}`;
  const below = at < 0 ? [] : lines.slice(at + 1);
  const end = below.findIndex((one) => !one.startsWith("  "));
  const listed = below.slice(0, end < 0 ? undefined : end).map((one) => one.trim().slice(0, lineMax));
  const more = listed.length > listedMax ? [`and ${listed.length - listedMax} more`] : [];
  return [line.slice(0, lineMax), [...listed.slice(0, listedMax), ...more].join("; ")].join(" ").trim();
}
