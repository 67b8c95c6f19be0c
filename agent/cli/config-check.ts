import { type OutputOptions, printRows } from "@blueflame/shared/cli/print.ts";
import { readAgentConfig } from "../config/config.driver.ts";

interface Line {
  readonly workload: string;
  readonly command: string;
}

/** Reads a config as `up` would and prints its workloads; nothing is started. Throws CONFIG_INVALID, CONFIG_NOT_FOUND. */
export function checkConfig(file: string, options: OutputOptions): void {
  const { workloads } = readAgentConfig(file, process.env);
  const lines = workloads.map(({ name, command }): Line => ({ workload: name, command: command[0] }));
  const columns = [
    { title: "WORKLOAD", value: (row: Line) => row.workload },
    { title: "COMMAND", value: (row: Line) => row.command },
  ];
  printRows(lines, columns, { ...options, json: (row) => row });
}
