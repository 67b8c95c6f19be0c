import { signalIfThere } from "../../deploy/running.ts";
import type { GuardedNode } from "./guard-pair.ts";
import type { Row } from "./trial.ts";

/** The workload that is hit; the others are never touched. */
export const victim = "victim";
export const bystanders = ["still-a", "still-b"];
export const everybody = [victim, ...bystanders];
/** A good time is one second in these trials: after it everything is forgiven. */
export const calmMs = 1300;

export type Kind = "workload" | "agent" | "watchdog";
/** Keeps one more value of a row. */
export type Add = (row: Omit<Row, "values">, value: number) => void;

/** What the node runs; each process writes its PID as the first thing that it does. */
export function workloads(): object[] {
  const pace = { backoff: { base: "20ms", cap: "500ms", reset_after: "200ms" }, starts: { max: 1000, within: "60s" } };
  return everybody.map((name) => ({
    ...pace,
    name,
    probation: "1s",
    command: ["/bin/sh", "-c", "echo $$; while :; do sleep 1; done"],
  }));
}

/** The process of that kind. Throws when there is not exactly one. */
export function pidOf(node: GuardedNode, kind: Kind): number {
  const [pid, ...more] = kind === "workload" ? node.leads(victim) : node.of(kind);
  if (pid === undefined || more.length > 0)
    throw new Error(`not one of kind ${kind}: ${[pid, ...more]}\n${node.logs()}`);
  return pid;
}

/** Kills them in one moment, also where this process has to wait between two signals: frozen before, none sees another one's end. */
export function atOnce(pids: readonly number[]): void {
  for (const signal of ["SIGSTOP", "SIGKILL"] as const) for (const pid of pids) signalIfThere(pid, signal);
}

/** The rows of a trial, in the order in which their names came up, all measures of a name together. */
export class Table {
  readonly #rows = new Map<string, { readonly row: Omit<Row, "values">; readonly values: number[] }>();

  readonly add: Add = (row, value) => {
    const key = `${row.name}|${row.measure}`;
    const found = this.#rows.get(key) ?? { row, values: [] };
    found.values.push(Math.round(value));
    this.#rows.set(key, found);
  };

  rows(): Row[] {
    const byName = Map.groupBy(this.#rows.values(), ({ row }) => row.name);
    return [...byName.values()].flat().map(({ row, values }) => ({ ...row, values }));
  }
}
