import type { WorkloadSpec } from "./spec.ts";
import type { Instance } from "./state.ts";

/** What a new process gets beside its spec. */
export interface SpawnRequest {
  readonly spec: WorkloadSpec;
  /** The marker that all of its family will carry in their environment. */
  readonly id: string;
  /** Added to the environment after the spec's own. */
  readonly env: Readonly<Record<string, string>>;
}

/** What a process is doing, by the process table. `gone` also when its PID belongs to another process now. */
export type Sight = "running" | "stopped" | "gone";

/** What a clean-up found and freed, or why it could not. */
export type Cleaned =
  | { readonly ok: true; readonly killed: number; readonly removed: readonly string[]; readonly tookMs: number }
  | { readonly ok: false; readonly because: string };

/** A workload, or what is left of one that is not in the config any more. */
export type Cleanable = WorkloadSpec | Pick<WorkloadSpec, "name" | "clean">;

/**
 * The world of processes, as the supervisor needs it. Real: `process.driver.ts`; behaving fake: `test/support/fake-process.ts`.
 * An identity is checked before every signal: a PID that was reused is never touched.
 */
export interface ProcessPort {
  /** Starts it in its own session, output to its file. Returns at once: the exit comes by `onExit`. */
  spawn(request: SpawnRequest): { readonly pid: number; readonly startTicks: number } | { readonly failed: string };
  /** Called once for each instance that this port has spawned. */
  onExit(exited: (id: string, code: number | null, signal: string | null) => void): void;
  /** To the whole process group; harmless when it is gone. */
  signal(instance: Instance, signal: string): void;
  look(instance: Instance): Sight;
  /** Asked before a look at everybody: false only when it is certain that nothing that this port has spawned is stopped by a signal. */
  mayBeStopped(): boolean;
  /** As that: false only when it is certain that all of these live, whoever has spawned them. */
  mayHaveEnded(instances: readonly Instance[]): boolean;
  /**
   * Kills what is left of the workload's family, whatever instance it belongs to, and removes the declared files and sockets
   * that nobody else holds. Never throws; bounded to a few seconds. Learns whether the workload's folder and program can be reached:
   * as long as they cannot, it is not started.
   */
  clean(spec: Cleanable, last?: Instance): Promise<Cleaned>;
  /**
   * All living main processes of our workloads, by name: what an earlier agent process, or the watchdog, has left running. `id` is
   * empty where the process has overwritten its marker and nobody else knows it.
   */
  find(): Promise<Map<string, { readonly id: string; readonly pid: number; readonly startTicks: number }[]>>;
  /**
   * Bounds the output files of a workload; loses at most what is written during one copy. Called every few seconds, also for what does
   * not run, it learns as `clean` does whether the workload can be reached.
   */
  rotate(spec: WorkloadSpec): Promise<void>;
  /** Leaves all processes alone and forgets them. */
  close(): void;
}
