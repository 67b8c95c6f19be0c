import type { Command } from "commander";
import { invariant } from "../errors/fault.ts";
import { blockLines, type Column, layOut, type TableLayout, tableLines } from "./table.ts";

/** What `-o` may say. */
export const formats = ["table", "json", "jsonl", "yaml"] as const;
export type Format = (typeof formats)[number];

/** The output options of a command, as commander hands them over. */
export interface OutputOptions {
  /** What `-o` said; undefined when it said nothing: a table for people, or one JSON object per line for a piped watch. */
  readonly output?: Format;
  /** False after `--no-headers`. */
  readonly headers: boolean;
}

/** How rows become text. */
export interface PrintOptions<Row> extends OutputOptions {
  /** The row for `json`, `jsonl` and `yaml`: plain JSON values, for a message its protojson. */
  json(row: Row): unknown;
  /** Where the text goes; stdout unless given. */
  readonly out?: Out;
}

/** The part of a stream that printing needs; `columns` is set on a terminal. */
export interface Out {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/** Gives `command` the flags `-o, --output` and `--no-headers`; its action receives them as {@link OutputOptions}. */
export function formatFlag(command: Command): Command {
  return command
    .addOption(command.createOption("-o, --output <format>", "how to print (default: table)").choices([...formats]))
    .option("--no-headers", "leave out the table's line of titles")
    .hook("preAction", (_command, asked) => (asked.optsWithGlobals().output === "yaml" ? loadYaml() : undefined));
}

let writeYaml: ((value: unknown, options: { readonly lineWidth: number }) => string) | undefined;

/** What must be there before anything is printed as `yaml`. Loaded only then: each start would pay for it, and few ask. */
export async function loadYaml(): Promise<void> {
  writeYaml ??= (await import("yaml")).stringify;
}

/**
 * Prints rows on stdout. `table` says nothing but the titles when there are none; `json` and `yaml` print one array,
 * `jsonl` one object per line.
 */
export function printRows<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  options: PrintOptions<Row>,
): void {
  const out = options.out ?? process.stdout;
  const format = options.output ?? "table";
  if (format === "table") {
    writeLines(out, tableLines(rows, columns, layOut(rows, columns), look(out, options.headers)));
  } else if (format === "jsonl") {
    for (const row of rows) out.write(valueText("jsonl", options.json(row)));
  } else {
    const values = rows.map((row) => options.json(row));
    out.write(valueText(format, values));
  }
}

/** Prints one thing: a block of `TITLE  value` lines, folded on a terminal, followed by `more` lines, or the one object. */
export function printOne<Row>(
  row: Row,
  columns: readonly Column<Row>[],
  options: PrintOptions<Row>,
  more: readonly string[] = [],
): void {
  const out = options.out ?? process.stdout;
  const format = options.output ?? "table";
  if (format === "table") writeLines(out, [...blockLines(row, columns, look(out, true).width), ...more]);
  else out.write(valueText(format, options.json(row)));
}

/**
 * Prints rows as they come, for `--watch`: the titles once, then a line per row; `json` one object after another, `yaml`
 * one document each. Without `-o` a pipe gets `jsonl`.
 */
export function rowStream<Row>(
  columns: readonly Column<Row>[],
  options: PrintOptions<Row>,
): (rows: readonly Row[]) => void {
  const out = options.out ?? process.stdout;
  const format = options.output ?? (out.isTTY ? "table" : "jsonl");
  let layout: TableLayout | undefined;
  return (rows) => {
    if (format === "table") {
      const headers = options.headers && layout === undefined;
      layout = layOut(rows, columns, layout);
      writeLines(out, tableLines(rows, columns, layout, look(out, headers)));
    } else {
      for (const row of rows) out.write((format === "yaml" ? "---\n" : "") + valueText(format, options.json(row)));
    }
  };
}

function valueText(format: Exclude<Format, "table">, value: unknown): string {
  if (format === "yaml") {
    invariant(writeYaml !== undefined, "yaml is loaded before it is printed");
    return writeYaml(value, { lineWidth: 0 });
  }
  return `${JSON.stringify(value, null, format === "json" ? 2 : 0)}\n`;
}

function look(out: Out, headers: boolean): { headers: boolean; width?: number } {
  return out.isTTY && out.columns !== undefined ? { headers, width: out.columns } : { headers };
}

function writeLines(out: Out, lines: readonly string[]): void {
  if (lines.length > 0) out.write(`${lines.join("\n")}\n`);
}
