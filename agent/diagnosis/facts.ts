import type { Rung } from "../ladder/rungs.ts";

/** What the last lines of a workload's output hint at. */
export type OutputHint = "corruption" | "config" | "exhaustion" | "dependency";

/**
 * What the diagnosis knows of a workload that failed, beside its own history. JSON-able and free of secrets: it is recorded
 * with the decision.
 */
export interface Facts {
  readonly config: {
    /** Fingerprint of the version in use: spec and config files. */
    readonly version: string;
    /** How long ago the version in use replaced another one; absent: it did not within our memory. */
    readonly changedAgoMs?: number;
    /** A process that was started with the version in use was healthy through its probation. */
    readonly wasHealthy?: true;
    /** The newest other version that was healthy through its probation and is not marked bad; absent: there is none. */
    readonly healthyVersion?: string;
  };
  /** What it depends on, and how that stands now. */
  readonly dependencies: readonly {
    readonly name: string;
    readonly stands: "well" | "recovering" | "down" | "stopped";
  }[];
  /** What depends on it, at whatever distance, and is not well; absent: nothing, or nobody knows. */
  readonly dependents?: readonly string[];
  /** The failure signature (agent/learning/signature.ts): normalised, without secrets. */
  readonly signature: string;
  readonly hints: readonly OutputHint[];
  /** Sentences, like `its memory limit was reached`, `the disk of its data is full`. */
  readonly exhausted: readonly string[];
  /** A disk that it writes to has no room: what is disposable is removed before it is started again. */
  readonly diskFull?: true;
  /** Names of external sources of data that it needs and that are stale. */
  readonly externalStale: readonly string[];
  /** The newest verified backup of its declared data; absent: none. */
  readonly backup?: { readonly id: string; readonly ageMs: number };
  /** The full bootstrap may be used: it has not run on this node lately. */
  readonly bootstrapAllowed: boolean;
  /** What the past says about the order of rungs for this signature; absent: nothing, or learning is frozen. */
  readonly advice?: { readonly order: readonly Rung[]; readonly because: string };
  /** Playbooks that have failed here so often that others go first; absent: none, or learning is frozen. */
  readonly demoted?: readonly { readonly playbook: string; readonly because: string }[];
}

/** Nothing is known beyond the workload itself. */
export const noFacts: Facts = {
  config: { version: "" },
  dependencies: [],
  signature: "",
  hints: [],
  exhausted: [],
  externalStale: [],
  bootstrapAllowed: true,
};
