import type { Fault } from "@blueflame/shared/errors/fault.ts";
import type { Random } from "@blueflame/shared/random/random.ts";
import type { Cancel, Clock } from "@blueflame/shared/time/clock.ts";
import type { StageAlerts } from "../records/untold.ts";
import type { RemedyPort } from "../remedies/ports.ts";
import type { Arrears } from "../store/arrears.ts";
import type { AgentStore } from "../store/ports.ts";
import type { ProcessPort } from "./process.ts";
import type { Recorded } from "./recorder.driver.ts";
import type { Known } from "./report.ts";
import type { WorkloadSpec } from "./spec.ts";
import type { Event, IncidentFacts, Instance, State } from "./state.ts";

/** Where beats and answers of probes come from; started and stopped with the instance. */
export interface SignsPort {
  watch(spec: WorkloadSpec): void;
  unwatch(workload: string): void;
}

/** What the supervisor is made of. */
export interface SupervisorParts {
  readonly nodeId: string;
  readonly site: string;
  readonly bootId: string;
  /** When the agent before this one was last seen at work: until then it would have noticed an end. Absent: nobody knows. */
  readonly guardedUntilWallMs?: number;
  readonly specs: readonly WorkloadSpec[];
  readonly store: Pick<AgentStore, "workloads" | "saveStep" | "forgetWorkload">;
  /** Through which steps are written to the store, when others write through it too. */
  readonly arrears?: Arrears;
  readonly processes: ProcessPort;
  readonly signs: SignsPort;
  readonly remedies: RemedyPort;
  readonly clock: Clock;
  readonly random: Random;
  /** What a new process gets in its environment beside its spec: socket, token, name. */
  readonly envFor: (workload: string) => Readonly<Record<string, string>>;
  /** How many of a pool may be on their way up at once (DOL-6); a pool that is not named has no bound. */
  readonly pools?: Readonly<Record<string, number>>;
  /** The kill switch is on: nothing is started until it goes off. */
  readonly held?: boolean;
  /** After each change of a workload that people may see. */
  readonly changed: () => void;
  /** A new revision of an incident, after it was written down. */
  readonly incident?: (workload: string, facts: IncidentFacts, state: State) => void;
  /** What people have to be told of these revisions, with all that they have not been told yet: stored with them. Undefined: nothing new. */
  readonly stageAlerts?: StageAlerts;
  /** A new process, or one that was adopted. */
  readonly spawned?: (workload: string, instance: Instance, adopted: boolean) => void;
  /**
   * The agent itself was away for so long: whoever judges by time forgives it. For `pausedMs` of it, 0 or at least a second, it was
   * neither busy nor waiting for a core: it was stopped, or the machine was paused, and everything with it.
   */
  readonly late?: (byMs: number, pausedMs: number) => void;
  /** As `own-time.driver.ts` reads it from the kernel, which is what stands in for it when it is absent. */
  readonly wantedCoreMs?: () => number | undefined;
  /** What others know of a workload, for its status. */
  readonly known?: (workload: string) => Known;
  readonly log: (level: "info" | "warn" | "error", fields: Readonly<Record<string, unknown>>, message: string) => void;
}

/** What waits for a workload's machine. */
interface Queued {
  readonly event: Event;
  /** A sign of life came when this instance lived; empty: when none did. Of another one it says nothing. */
  readonly of?: string;
  readonly settled?: (problem?: Fault) => void;
}

/** One workload at run time: its state, and what waits for it. */
export interface Actor extends Recorded {
  /** The config's, or an older version after a rollback. */
  spec: WorkloadSpec;
  policyJson: string;
  readonly queue: Queued[];
  /** The fingerprint that its next instance will carry. */
  startsAs: string;
  running: boolean;
  /** It knows that the agent has started. Before that its state speaks of an earlier one's world, and nobody judges by it. */
  told: boolean;
  cancelLook: Cancel | undefined;
  lookAtMs: number;
  /** By which its beats and probes are taken now: tightened while a recovery is verified and on probation. */
  watched: WorkloadSpec | undefined;
  readonly waiters: (() => void)[];
}
