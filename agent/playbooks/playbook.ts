import type { Severity } from "../supervise/severity.ts";

/** Named steps that change the machine one after the other. Made from YAML by `draft.ts`; JSON-able. */
export interface Playbook {
  readonly name: string;
  /** One sentence. */
  readonly description: string;
  /** The pool whose bound its runs count against. */
  readonly pool: string;
  /** For all steps together. */
  readonly timeoutMs: number;
  readonly steps: readonly Step[];
  /** From the operator's folder, not from the box. */
  readonly added: boolean;
}

/** One step. */
export interface Step {
  /** For people; empty: the step in words. */
  readonly name: string;
  readonly when?: When;
  readonly timeoutMs: number;
  readonly onFailure: "stop" | "continue";
  /** Not done again when the agent died while it ran: then it has failed. */
  readonly once: boolean;
  readonly action: Action;
}

/** All that is given must hold. */
export interface When {
  /** At least one must hold; empty: none is asked for. */
  readonly any: readonly Bound[];
  readonly workload?: "running" | "down" | "well" | "unwell";
  readonly has?: "safe_mode" | "data" | "artifacts" | "dependencies" | "healthy_config";
  readonly earlier?: "failed" | "done";
}

/** A figure of the workload, else of the node, beyond a bound. `text` is the bound as it was written. */
export interface Bound {
  readonly figure: string;
  readonly is: "above" | "below";
  readonly value: number;
  readonly text: string;
}

/** A program and its arguments; no shell is ever involved. */
export type Argv = readonly [file: string, ...args: string[]];

/** What a step does. */
export type Action =
  | { readonly do: "restart" }
  | { readonly do: "restart_dependencies" }
  | { readonly do: "rollback" }
  | { readonly do: "safe_mode" }
  | { readonly do: "quarantine" }
  | { readonly do: "clean_disposable"; readonly olderThanMs: number; readonly untilUsed: number }
  | { readonly do: "trim_logs" }
  | { readonly do: "signal"; readonly signal: HookSignal }
  /** `cwd` empty: the workload's. Placeholders stand in `command` until the step runs. */
  | { readonly do: "exec"; readonly command: Argv; readonly cwd: string }
  /** `port` 0: the workload's own. */
  | {
      readonly do: "http";
      readonly method: "GET" | "POST";
      readonly port: number;
      readonly path: string;
      readonly body: string;
    }
  | { readonly do: "wait"; readonly ms: number }
  /** `bound` absent: the workload must be well. */
  | { readonly do: "verify"; readonly bound?: Bound; readonly withinMs: number }
  | { readonly do: "diagnose" }
  | { readonly do: "backup" }
  | { readonly do: "check_backups" }
  | { readonly do: "check_store" }
  | { readonly do: "alert"; readonly severity: Severity; readonly message: string }
  /** Only as a rung, never in a file. */
  | { readonly do: "restore" }
  /** Only as a rung, never in a file. */
  | { readonly do: "bootstrap" };

/** Signals that programs take as a word, not as an end. */
export type HookSignal = "SIGHUP" | "SIGUSR1" | "SIGUSR2";

/** What stands for a value in a command, as a whole argument. */
export const placeholders = ["workload", "pid", "port", "cwd", "output", "incident"] as const;
export type Placeholder = (typeof placeholders)[number];
