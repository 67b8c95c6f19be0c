import { Fault } from "../errors/fault.ts";

/** Where something stands in a file; both count from 1. */
export interface Place {
  readonly line: number;
  readonly col: number;
}

/** One thing that is wrong with a config file. */
export interface Problem extends Place {
  /** As in `workloads[0].restart`; empty for the file as a whole. */
  readonly path: string;
  /** What was seen. Never a value that may be a secret. */
  readonly saw: string;
  readonly allowed: string;
  readonly meant?: string;
}

/** More problems than this are counted, not shown. */
export const shownMax = 50;

/** CONFIG_INVALID that lists every problem in the order of the file. `problems` must not be empty. */
export function configFault(fileName: string, problems: readonly Problem[]): Fault {
  const sorted = [...problems].sort((a, b) => a.line - b.line || a.col - b.col);
  const lines = sorted.slice(0, shownMax).map((problem) => `  ${printProblem(fileName, problem)}\n`);
  const hidden = sorted.length > shownMax ? `, the first ${shownMax} are shown` : "";
  const count = `${sorted.length} ${sorted.length === 1 ? "problem" : "problems"}${hidden}`;
  return new Fault("CONFIG_INVALID", `${fileName} cannot be used:\n${lines.join("")}${count}`);
}

function printProblem(fileName: string, { line, col, path, saw, allowed, meant }: Problem): string {
  const where = path === "" ? `${fileName}:${line}:${col}` : `${fileName}:${line}:${col} ${path}`;
  return `${where}: ${saw}; ${allowed}${meant === undefined ? "" : `; did you mean "${meant}"?`}`;
}

/** The candidate that differs least from `word`, if it is near enough to be what was meant. Case and dashes count nothing. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  if (word.length > 64) return undefined;
  const bare = plain(word);
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(bare.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(bare, plain(candidate));
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function plain(word: string): string {
  return word.toLowerCase().replaceAll(/[-_ ]/g, "");
}

/** Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (Damerau, restricted to one swap each). */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (last[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let cost = Math.min(change, (last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, (beforeLast[j - 2] ?? 0) + 1);
      }
      row.push(cost);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] ?? 0;
}
