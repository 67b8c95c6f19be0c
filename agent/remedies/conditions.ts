import type { Bound, When } from "../playbooks/playbook.ts";
import { boundWords } from "../playbooks/words.ts";
import type { Figures } from "../triggers/observation.ts";

/** What a condition is looked at with. */
export interface Seen {
  readonly workload: string;
  readonly alive: boolean;
  readonly well: boolean;
  readonly of: Figures;
  readonly node: Figures;
  readonly has: Readonly<Record<NonNullable<When["has"]>, boolean>>;
  readonly failedBefore: boolean;
}

/** Does it hold? `because` says with figures why not, or why. */
export function holds(when: When, seen: Seen): { readonly holds: boolean; readonly because: string } {
  const { any, workload, has, earlier } = when;
  if (workload && seen.workload === "") return not("it is about a workload, and this run is about the node");
  if (workload && !stands(workload, seen)) return not(`it is not ${workload}`);
  if (has && !seen.has[has]) return not(`it has no ${has.replaceAll("_", " ")}`);
  if (earlier === "failed" && !seen.failedBefore) return not("no step before has failed");
  if (earlier === "done" && seen.failedBefore) return not("a step before has failed");
  if (any.length === 0) return { holds: true, because: "its condition holds" };
  const met = any.find((bound) => isBeyond(bound, seen));
  if (met) return { holds: true, because: figureWords(met, seen) };
  return not(any.map((bound) => figureWords(bound, seen)).join(", "));
}

/** The figure is known and beyond its bound. */
export function isBeyond(bound: Bound, seen: Pick<Seen, "of" | "node">): boolean {
  const value = figure(bound, seen);
  if (value === undefined) return false;
  return bound.is === "above" ? value > bound.value : value < bound.value;
}

/** The workload's figure, else the node's; undefined when neither is known. */
export function figure(bound: Bound, { of, node }: Pick<Seen, "of" | "node">): number | undefined {
  return of[bound.figure] ?? node[bound.figure];
}

/** `p95_latency_ms is 1050, wanted below 1000ms`. */
export function figureWords(bound: Bound, seen: Pick<Seen, "of" | "node">): string {
  const value = figure(bound, seen);
  if (value === undefined) return `${bound.figure} is not known`;
  return `${bound.figure} is ${Number(value.toPrecision(6))}, asked is ${boundWords(bound).slice(bound.figure.length + 1)}`;
}

function stands(wanted: NonNullable<When["workload"]>, { alive, well }: Seen): boolean {
  switch (wanted) {
    case "running":
      return alive;
    case "down":
      return !alive;
    case "well":
      return well;
    case "unwell":
      return !well;
  }
}

function not(because: string) {
  return { holds: false, because };
}
