/** The words of the node's own machine: what it remembers, what may happen, what is to be done. The drawing stands in `node-machine.ts`. */
import type { Severity } from "../supervise/severity.ts";
import type { IncidentFacts } from "../supervise/state.ts";
import type { Symptom } from "../triggers/symptom.ts";

/** One trigger that has fired for the node. */
export interface Case {
  readonly at: "waiting" | "playing" | "watching" | "told" | "probation";
  readonly playbook: string;
  readonly severity: Severity;
  readonly because: string;
  readonly sinceMs: number;
  readonly untilMs: number;
  /** The play's id, once it has begun. */
  readonly id: string;
  /** The trigger's condition is over already. */
  readonly over: boolean;
  /** A check that comes by the clock: no condition of its own ever ends. */
  readonly maintenance: boolean;
  /** Absent for a maintenance check that has not failed. */
  readonly incident?: IncidentFacts;
}

/** By trigger. JSON-able; stored before its effects run. */
export interface NodeState {
  readonly cases: Readonly<Record<string, Case>>;
  /** The kill switch is on. */
  readonly held?: true;
}

/** Nothing has happened yet. */
export const calmNode: NodeState = { cases: {} };

/** What may happen to the node. */
export type NodeEvent =
  /** The agent has started; `rebooted` when monotonic values of before mean nothing, `held` while the kill switch is on. */
  | { readonly is: "boot"; readonly rebooted: boolean; readonly held?: boolean }
  | { readonly is: "symptom"; readonly symptom: Symptom; readonly maintenance: boolean }
  | { readonly is: "cleared"; readonly trigger: string }
  /** The config does not have this trigger any more: what it asked for is nobody's business now. */
  | { readonly is: "retired"; readonly trigger: string }
  /** `through`: it came to its end, although a step that may fail has failed. */
  | {
      readonly is: "played";
      readonly id: string;
      readonly ok: boolean;
      readonly because: string;
      readonly through?: true;
    }
  /** The first step of this run is being done from now on. */
  | { readonly is: "acted"; readonly id: string }
  /** The agent itself was away for so long. */
  | { readonly is: "late"; readonly byMs: number }
  /** The kill switch went on: what plays or waits is called off, and nobody is paged for that. Harmless when told twice. */
  | { readonly is: "held" }
  /** The kill switch went off: what was not done while it was on has its turn. */
  | { readonly is: "released" }
  | { readonly is: "look" };

/** What the driver has to do, in this order. */
export type NodeEffect =
  /** Answers with played. Harmless when asked twice. */
  | {
      readonly do: "play";
      readonly id: string;
      readonly playbook: string;
      readonly incidentId: string;
      readonly budgetMs: number;
    }
  | { readonly do: "cancel"; readonly id: string }
  | { readonly do: "incident"; readonly facts: IncidentFacts }
  | {
      readonly do: "audit";
      readonly action: string;
      readonly because: string;
      readonly outcome: "success" | "failure" | "refused";
      /** Of what has ended. */
      readonly tookMs?: number;
    };

/** The answer of the machine. */
export interface NodeStep {
  readonly state: NodeState;
  readonly effects: readonly NodeEffect[];
}
