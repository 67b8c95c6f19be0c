import { type ChildProcess, spawn } from "node:child_process";
import type { Readable } from "node:stream";
import { codeOf } from "@blueflame/shared/errors/code.ts";
import { lastKnownWords } from "@blueflame/shared/words/known.ts";
import { bornOrdinary } from "../limits/oom-score.driver.ts";
import { withoutServiceManager } from "../notify/inherited.ts";
import { failure, type ProbeVerdict } from "./verdict.ts";

/** Of a command's output the last part is looked at. */
const keptMax = 1024;
/** After the command has ended, its last output is awaited this long: a left-over child may hold the pipe open. */
const lastOutputMs = 50;

/**
 * Runs a command in a process group of its own and settles by its exit code; what our service manager told us is not in its
 * environment. The whole group gets SIGKILL when `stop` aborts, and what it left behind when the command itself has ended. `gone`
 * is called once when the command was reaped.
 */
export function runCommand(
  [file, ...args]: readonly [string, ...string[]],
  cwd: string,
  stop: AbortSignal,
  settle: (outcome: Pick<ProbeVerdict, "ok" | "because" | "unasked">) => void,
  gone: () => void,
): void {
  const refused = (error: Error) => {
    settle(failure(error, `cannot be started: ${codeOf(error)}`));
    gone();
  };
  let child: ChildProcess;
  try {
    const env = withoutServiceManager(process.env);
    child = bornOrdinary(() => spawn(file, args, { cwd, env, detached: true, stdio: ["ignore", "pipe", "pipe"] }));
  } catch (thrown) {
    refused(thrown as Error); // a program that is just being written (ETXTBSY)
    return;
  }
  // First of all: what cannot be started says so as an event, and without a listener that would end the agent.
  child.on("error", refused);
  let output = "";
  // Without a free descriptor there are no pipes either, whatever the type says.
  for (const pipe of [child.stdout, child.stderr] as readonly (Readable | undefined)[]) {
    pipe?.setEncoding("utf8");
    pipe?.on("data", (text: string) => {
      output = (output + text).slice(-keptMax);
    });
  }
  stop.addEventListener("abort", () => release(child), { once: true });
  child.on("exit", (code, signal) => {
    killGroup(child);
    gone();
    const finish = () => {
      clearTimeout(patience);
      const how = code === null ? `ended by ${signal}` : `exit code ${code}`;
      // Its answer may be a secret, and goes to records and to the hub.
      const said = code === 0 ? "" : lastKnownWords(output, output.length >= keptMax);
      settle({ ok: code === 0, because: said === "" ? how : `${how}: ${said}` });
    };
    const patience = setTimeout(finish, lastOutputMs);
    child.on("close", finish);
  });
}

/** Nothing of it may hold the agent: neither a process nor a pipe. */
function release(child: ChildProcess): void {
  if (child.exitCode === null && child.signalCode === null) killGroup(child);
  child.stdout?.destroy();
  child.stderr?.destroy();
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch {
    // Nobody is left in the group, which is what was wanted.
  }
}
