import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { inRoot, root, version } from "../../deploy/root.ts";

/** The middle, the end and the worst of some measurements, in their own unit. */
export interface Spread {
  readonly n: number;
  readonly median: number;
  readonly p99: number;
  readonly worst: number;
}

/** Of at least one value. p99 of fewer than a hundred is the worst. */
export function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
  return { n: sorted.length, median: round(at(0.5)), p99: round(at(0.99)), worst: round(at(1)) };
}

/** Three significant digits: more would pretend. */
export const round = (value: number): number => Number(value.toPrecision(3));

/** Writes `out/KIND/NAME.json` with the machine, the commit and the date that the figures belong to. */
export function keep(name: string, figures: unknown, kind = "bench"): string {
  const folder = inRoot("out", kind);
  mkdirSync(folder, { recursive: true });
  const file = `${folder}/${name}.json`;
  writeFileSync(file, `${JSON.stringify({ name, ...circumstances(), figures }, null, 2)}\n`);
  return file;
}

function circumstances() {
  return {
    date: new Date().toISOString(),
    commit: git("rev-parse", "HEAD"),
    changed: git("status", "--porcelain") !== "",
    version: version(),
    node: process.version,
    machine: {
      cpu: cpus()[0]?.model ?? "unknown",
      cores: cpus().length,
      memoryMb: Math.round(totalmem() / 1e6),
      kernel: release(),
      // Somebody else's work on the machine shows here, and then in every figure.
      loadBefore: readFileSync("/proc/loadavg", "utf8").split(" ")[0],
    },
  };
}

function git(...args: string[]): string {
  try {
    return execFileSync("git", args, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    return "unknown"; // a clone without its history
  }
}

/** Prints rows under a heading, columns aligned. */
export function table(
  heading: string,
  columns: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): void {
  const all = [columns, ...rows.map((row) => row.map(String))];
  const widths = columns.map((_, i) => Math.max(...all.map((row) => (row[i] ?? "").length)));
  console.log(`\n${heading}`);
  for (const row of all)
    console.log(
      `  ${row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join("  ")}`,
    );
}
