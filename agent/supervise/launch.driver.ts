import { type ChildProcess, spawn } from "node:child_process";
import { codeOf } from "@blueflame/shared/errors/code.ts";
import { stdioOf } from "./descriptors.driver.ts";
import { posixLauncher } from "./posix-spawn.driver.ts";

/** One process to start, in a session of its own, with its output in an open file and nothing to read. */
export interface Launch {
  /** Absolute. */
  readonly file: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** A descriptor for stdout and stderr; the caller closes it. */
  readonly output: number;
  /** Called once, when the process has ended. */
  readonly exited: (code: number | null, signal: string | null) => void;
}

/** Returns at once; the process lives on when the agent ends. */
export type Launcher = (launch: Launch) => { readonly pid: number } | { readonly failed: string };

/** The fast way where it works, else Node's own. */
export function bestLauncher(): Launcher {
  return posixLauncher() ?? nodeLauncher;
}

/** Node's own way: a fork, whose cost grows with the agent's memory. */
export const nodeLauncher: Launcher = ({ file, args, cwd, env, output, exited }) => {
  let child: ChildProcess;
  try {
    child = spawn(file, [...args], { cwd, env, detached: true, stdio: stdioOf(output) });
  } catch (error) {
    return { failed: codeOf(error) }; // a program that is just being written (ETXTBSY)
  }
  // ENOENT and the like come as an event although no process exists; the missing PID says it now.
  child.on("error", () => undefined);
  if (child.pid === undefined) return { failed: "no such program, no permission, or no such folder to run it in" };
  child.once("exit", exited);
  child.unref();
  return { pid: child.pid };
};
