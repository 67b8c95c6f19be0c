import type { LadderPolicy } from "../ladder/policy.ts";
import type { Limits } from "../state/risk.ts";

/** What an operator wrote about one workload, with every default filled in. Made by `agent/config/config.ts`; stored as JSON. */
export interface WorkloadSpec {
  readonly name: string;
  /** The file is absolute: it was found on the PATH when the config was read. */
  readonly command: readonly [file: string, ...args: string[]];
  /** Absolute. */
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly restart: "always" | "onFailure" | "never";
  /** More starts than `max` within `withinMs` use up the quick restart. */
  readonly starts: { readonly max: number; readonly withinMs: number };
  /** `delayMs` is a fixed wait before each start after a failure; absent: none. */
  readonly backoff: {
    readonly baseMs: number;
    readonly capMs: number;
    readonly resetAfterMs: number;
    readonly delayMs?: number;
  };
  readonly startGraceMs: number;
  /** Absent: no beat is expected. `file` is absolute; without it the workload beats by the local API. */
  readonly beat?: { readonly timeoutMs: number; readonly file?: string };
  readonly probes: readonly ProbeSpec[];
  readonly stop: { readonly signal: NodeJS.Signals; readonly graceMs: number };
  /** Absolute paths, and TCP ports of this machine. */
  readonly clean: {
    readonly files: readonly string[];
    readonly sockets: readonly string[];
    readonly ports: readonly number[];
  };
  readonly output: { readonly maxBytes: number; readonly files: number };
  readonly dependsOn: readonly string[];
  readonly critical: boolean;
  readonly probationMs: number;
  /** Absent: it has none, and the rung is passed over. `command` absent: the workload's own. */
  readonly safeMode?: {
    readonly command?: readonly [file: string, ...args: string[]];
    readonly env: Readonly<Record<string, string>>;
  };
  /** Config files of the workload itself, absolute. */
  readonly configFiles: readonly string[];
  /** Absent: nothing is backed up. Paths are absolute. */
  readonly data?: DataSpec;
  /** 0 means no limit of its own. `cpu` is a share of one core: 2 is 200 %. */
  readonly limits: { readonly memoryBytes: number; readonly cpu: number; readonly tasks: number };
  readonly performance?: { readonly url: string; readonly everyMs: number; readonly timeoutMs: number };
  /** No sign of progress for this long: frozen. Absent: progress is not judged. */
  readonly progressMs?: number;
  /** Ready at READY=1 of systemd's notify protocol. */
  readonly notify: boolean;
  /** Absent: the node's. */
  readonly slo?: SloSpec;
  /** Absent: its risk state locks by its own word only. */
  readonly risk?: Limits;
  /** The pool whose bound its starts count against; empty: none. */
  readonly pool: string;
  /** What a quarantine takes out of the way, absolute. */
  readonly artifacts: readonly string[];
  readonly sandboxExitCodes: readonly number[];
  /** How long its rungs may take. */
  readonly ladder: LadderPolicy;
  /** Sources of regular expressions over lines of its output, upper and lower case alike; empty: the texts of the box. */
  readonly patterns: { readonly error: string; readonly corruption: string; readonly configError: string };
}

/** A workload's data, and how it is backed up. */
export interface DataSpec {
  readonly paths: readonly string[];
  readonly everyMs: number;
  readonly keep: number;
  readonly maxBytes: number;
  /** Makes a consistent copy into the folder that is its last argument; absent: the files are copied. */
  readonly dump?: readonly [file: string, ...args: string[]];
  /** Checks a copy, whose folder is its last argument; absent: checksums only. */
  readonly verify?: readonly [file: string, ...args: string[]];
}

/** What is owed over a window; shares are from 0 to 1. */
export interface SloSpec {
  readonly availability: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  readonly errorRate: number;
  readonly successRate: number;
  readonly windowMs: number;
}

/** One question asked of a workload. */
export interface ProbeSpec {
  readonly name: string;
  readonly use: "liveness" | "readiness" | "startup";
  readonly everyMs: number;
  readonly timeoutMs: number;
  /** Failures in a row until it counts. */
  readonly failures: number;
  readonly ask:
    | { readonly by: "exec"; readonly command: readonly [file: string, ...args: string[]]; readonly cwd: string }
    | {
        readonly by: "tcp";
        readonly host: string;
        readonly port: number;
        readonly send?: string;
        readonly expect?: string;
      }
    | { readonly by: "http"; readonly url: string }
    | { readonly by: "grpc"; readonly address: string; readonly service: string };
}
