import { Fault } from "@blueflame/shared/errors/fault.ts";
import type { Command } from "commander";
import { clean } from "./text.ts";
import { silenceKnownWarnings } from "./warnings.ts";

/** Thrown by what waits when a person or the system asked to leave; {@link runCli} answers with `exit`. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
  readonly exit: number;
  constructor(signal: keyof typeof exits) {
    super(`interrupted by ${signal}`);
    this.exit = exits[signal];
  }
}

const exits = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

let asked: AbortController | undefined;

/**
 * Aborted, with {@link Interrupted} as its reason, on the first Ctrl-C (also SIGTERM, SIGHUP); a second one ends the process
 * at once. Commands that wait pass it on; one that needs no clean-up does not have to call it.
 */
export function interruption(): AbortSignal {
  if (asked === undefined) {
    const controller = new AbortController();
    asked = controller;
    for (const signal of Object.keys(exits) as (keyof typeof exits)[]) {
      process.on(signal, () => {
        if (controller.signal.aborted) process.exit(exits[signal]);
        controller.abort(new Interrupted(signal));
      });
    }
  }
  return asked.signal;
}

/**
 * Runs `program` with the user's arguments (`process.argv.slice(2)`) and returns the exit code; never throws, never exits
 * while output is on its way. Messages go to stderr: a Fault as its code, what was seen and the remedy, in one line, or with
 * CONFIG_INVALID one line for each problem; wrong usage as `[USAGE] … did you mean …`, exit 2. A reader of stdout that goes away ends the process with 0.
 */
export async function runCli(program: Command, argv: readonly string[]): Promise<number> {
  silenceKnownWarnings();
  process.stdout.on("error", leaveOnClosedPipe);
  process.stderr.on("error", leaveOnClosedPipe);
  for (const command of family(program)) {
    command.exitOverride().configureOutput({ outputError: (text, write) => write(usageMessage(program, text)) });
  }
  try {
    await program.parseAsync(argv, { from: "user" });
    return 0;
  } catch (error) {
    return report(error);
  }
}

function report(error: unknown): number {
  // Commander has printed it already, through outputError; help and version end with exit code 0.
  const parsed = commanderExit(error);
  if (parsed !== undefined) return parsed === 0 ? 0 : 2;
  if (error instanceof Interrupted) return error.exit;
  if (error instanceof Fault) {
    process.stderr.write(`${printable(error)}\n`);
    return error.exit;
  }
  process.stderr.write(`unexpected: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  return 1;
}

/** Only our own list of problems may have lines: the other faults may carry the words of a node, which must not forge any. */
function printable(fault: Fault): string {
  if (fault.code !== "CONFIG_INVALID") return clean(fault.message);
  return fault.message.split("\n").map(clean).join("\n");
}

/**
 * The exit code of commander's own error, undefined for any other. Recognised by its code: with several copies of commander in
 * one tree, `instanceof` would ask for the wrong class, so nothing of commander is imported here but types.
 */
function commanderExit(error: unknown): number | undefined {
  if (!(error instanceof Error) || !("code" in error) || !("exitCode" in error)) return undefined;
  return String(error.code).startsWith("commander.") ? Number(error.exitCode) : undefined;
}

/** Commander's `error: unknown command 'nods'\n(Did you mean nodes?)` in the form of our faults. */
function usageMessage(program: Command, text: string): string {
  const [first = "", ...rest] = text.trim().split("\n");
  const saw = first.replace(/^error: /, "").replace(/\.$/, "");
  const hint = rest.map((line) => line.replace(/^\((.*)\)$/, "$1")).join(" ");
  return `[USAGE] ${clean(saw)}. ${hint === "" ? "" : `${clean(hint)} `}See ${program.name()} --help.\n`;
}

function family(command: Command): Command[] {
  return [command, ...command.commands.flatMap(family)];
}

/** `| head -1` is no error: nobody reads any more, so there is nothing left to do. */
function leaveOnClosedPipe(error: NodeJS.ErrnoException): void {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
}
