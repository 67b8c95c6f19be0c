/** What an operator wrote about one workload, with every default filled in. Made by `agent/config.ts`; stored as JSON. */
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
  readonly backoff: { readonly baseMs: number; readonly capMs: number; readonly resetAfterMs: number };
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
