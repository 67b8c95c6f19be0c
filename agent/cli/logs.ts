import { dirname, join } from "node:path";
import { type OutputOptions, printRows, rowStream } from "@blueflame/shared/cli/print.ts";
import { interruption } from "@blueflame/shared/cli/run.ts";
import type { Column } from "@blueflame/shared/cli/table.ts";
import { clean } from "@blueflame/shared/cli/text.ts";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import { logOf, type Part } from "../records/parts.ts";
import { ask, namesOf, pickWorkload } from "./ask.driver.ts";
import { outputOf } from "./place.ts";
import { follow, lastLines, workloadsWithOutput } from "./tail.driver.ts";

/** The flags of `logs`. */
export interface LogsOptions extends OutputOptions {
  readonly dataDir: string;
  readonly follow: boolean;
  readonly lines: number;
  /** The log of a part of the agent itself, instead of a workload's output. */
  readonly part?: Part;
}

interface LogLine {
  readonly workload: string;
  readonly line: string;
}

const columns: Column<LogLine>[] = [
  { title: "WORKLOAD", value: (row) => row.workload },
  { title: "LINE", value: (row) => row.line },
];

/**
 * Prints the end of a workload's output, and with `-f` what comes; reads the files, so it works without the agent. Ends with
 * the interruption while following. Rejects with WORKLOAD_UNKNOWN or USAGE.
 */
export async function logs(given: string | undefined, options: LogsOptions): Promise<void> {
  const { part } = options;
  if (part && given !== undefined) throw new Fault("USAGE", "give a workload or --part, not both");
  const folder = part ? dirname(join(options.dataDir, logOf(part))) : outputOf(options.dataDir);
  const workload = part ?? (await workloadHere(given, folder, options));
  const { lines, end } = await lastLines(folder, workload, options.lines);
  const print = printer(workload, options);
  print(lines);
  if (!options.follow) return;
  const leaving = interruption();
  const lost = () => void process.stderr.write("some lines were rotated away before they could be shown\n");
  await follow(folder, workload, end, { line: (line) => print([line]), lost }, leaving);
  throw leaving.reason;
}

/** A workload that was never started has no file; one that left the config has. Both are known. */
async function workloadHere(given: string | undefined, folder: string, { dataDir }: LogsOptions): Promise<string> {
  const withOutput = await workloadsWithOutput(folder);
  if (given !== undefined && withOutput.includes(given)) return given;
  const configured = await ask(dataDir, (desk) => desk.getStatus({})).then(namesOf, (error: unknown) => {
    if (!isFault(error, "AGENT_UNREACHABLE")) throw error;
    // Neither output nor an agent: say that first, it is the reason.
    if (withOutput.length === 0) throw error;
    return [];
  });
  if (given === undefined && configured.length === 1) return pickWorkload(undefined, configured);
  return pickWorkload(given, [...new Set([...configured, ...withOutput])]);
}

/** Without `-o` a line is printed as it was written, for a terminal without control sequences. */
function printer(workload: string, options: LogsOptions): (lines: readonly string[]) => void {
  const { output } = options;
  if (output === undefined || (output === "table" && options.follow)) {
    const show = process.stdout.isTTY ? clean : (line: string) => line;
    return (lines) => {
      if (lines.length > 0) process.stdout.write(`${lines.map(show).join("\n")}\n`);
    };
  }
  const json = (row: LogLine) => row;
  const rows = (lines: readonly string[]) => lines.map((line) => ({ workload, line }));
  if (options.follow) {
    const print = rowStream(columns, { ...options, json });
    return (lines) => print(rows(lines));
  }
  return (lines) => printRows(rows(lines), columns, { ...options, json });
}
