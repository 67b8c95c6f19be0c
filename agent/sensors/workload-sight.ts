/** What the supervisor knows of one workload; given to the sensors at each look. */
export interface WorkloadSight {
  /** Of the main process while it lives. */
  readonly pid?: number;
  /** When this process was started, monotonic. */
  readonly sinceMs?: number;
  /** It is not ready for the first time yet, and its grace is not over. */
  readonly starting: boolean;
  /** A person stopped it, or its work is done. */
  readonly stopped: boolean;
  /** Of this process, monotonic; absent: none has come. */
  readonly lastBeatMs?: number;
}

/** Sights by the name of the workload. */
export type Sights = Readonly<Record<string, WorkloadSight>>;
