import type { ProcessLine } from "../limits/process-line.ts";

/** A process by which nothing else can be meant within one boot. */
export interface Identity {
  readonly pid: number;
  readonly startTicks: number;
}

/** Why a process is ours. */
export type Owner =
  | {
      readonly is: "family";
      readonly workload: string;
      /** What names it; the same signs by which a clean-up finds a family. */
      readonly by: "cgroup" | "marker" | "session" | "parent";
      /** The life of the workload that it was born in; empty where the process has overwritten its marker. */
      readonly instance: string;
    }
  | { readonly is: "declared"; readonly name: string };

/** One process as it was read. */
export interface RawProcess extends ProcessLine {
  /** Its marker, when it is of this agent; `another` when it is of another agent. */
  readonly mark?: { readonly workload: string; readonly instance: string } | "another";
  /** The workload in whose cgroup it is. */
  readonly cgroup?: string;
  /** The declared processes that it is one of. */
  readonly declared?: string;
  /** Bytes that it has written in its life, to files, pipes and terminals; missing when not asked for or not ours to read. */
  readonly writtenBytes?: number;
  /** How long its first thread has waited for a core in its life; missing when not asked for or not counted here. */
  readonly waitedMs?: number;
  /** The workload whose main process runs the same program with the same first word; only of busy strangers. */
  readonly alike?: string;
}

/** One process, and whose it is; without an owner it is a stranger. */
export interface SeenProcess extends RawProcess {
  readonly owner?: Owner;
}

/** A workload as its supervision sees it at the moment of a scan. */
export interface WorkloadView {
  readonly name: string;
  /**
   * `alive`: it runs and is judged; `down`: none of it should run, and it was cleaned; `moving`: between the two, where nobody
   * can say who is a left-over.
   */
  readonly phase: "alive" | "down" | "moving";
  /** `adopted`: an earlier agent has started it, and `id` may be empty. */
  readonly main?: Identity & { readonly id: string; readonly adopted: boolean };
  /** Its newest sign by the monotonic clock: output, beat, request or I/O, but not CPU; missing: none yet. */
  readonly lastSignMs?: number;
  /** Somebody looks for its signs: where nobody does, silence says nothing. */
  readonly signsKnown: boolean;
  /** It has promised signs: a beat, or progress. */
  readonly owesSigns: boolean;
}

/** Everything at one moment. */
export interface Scan {
  readonly atMs: number;
  readonly selfPid: number;
  readonly pageBytes: number;
  readonly processes: readonly SeenProcess[];
  readonly views: readonly WorkloadView[];
}

/** From the config; what is not there stands in `defaultPolicy`. */
export interface Policy {
  readonly reportOnly: boolean;
  /** Of one core; what it waited for a core counts too, for on a crowded machine nobody gets much. */
  readonly cpu: number;
  readonly stuckAfterMs: number;
  /** A workload's phase must have stood for this long before anybody of its family is judged. */
  readonly settleMs: number;
  /** A declared process that lost its parent sooner than this was a daemon that went its way. */
  readonly withParentMs: number;
  /** A process that took so much more while it was silent burns memory. */
  readonly growthBytes: number;
}

export const defaultPolicy = {
  settleMs: 10_000,
  withParentMs: 30_000,
  growthBytes: 64 * 2 ** 20,
} satisfies Partial<Policy>;

/** What is to be done, or told. */
export interface Finding {
  readonly kind: "stuck" | "orphaned" | "left_over" | "defunct" | "unproven" | "storm";
  /**
   * `end`: kill it. `nudge`: SIGCHLD to the parent, which is `who`. `reap`: wait for it, it is the agent's own child.
   * `tell`: supervision should look at the workload, which is frozen or full of defunct children. `page`: a person must look.
   * `report`: write it down, touch nothing.
   */
  readonly act: "end" | "nudge" | "reap" | "tell" | "page" | "report";
  /** The workload or the name of the declared processes; empty: nobody's. */
  readonly owner: string;
  readonly who: Identity & { readonly name: string };
  /** Of `defunct`: who is dead and not reaped. */
  readonly defunct: readonly Identity[];
  /** The evidence, one sentence with figures. */
  readonly because: string;
}
