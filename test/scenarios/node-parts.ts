/** What a story's world is made of: words that several of its files share. */
import type { Facts } from "@blueflame/agent/diagnosis/facts.ts";
import type { Action } from "@blueflame/agent/playbooks/playbook.ts";
import type { WorkloadSpec } from "@blueflame/agent/supervise/spec.ts";
import type { Effect, IncidentFacts, Instance, Remedy, State } from "@blueflame/agent/supervise/state.ts";
import type { Step as TriggerStep } from "@blueflame/agent/triggers/state.ts";

/** What was seen, for whoever tells the story or checks it. */
export type Seen =
  | {
      readonly is: "effect";
      readonly workload: string;
      readonly effect: Effect;
      readonly state: State;
      readonly before: State;
    }
  | { readonly is: "phase"; readonly workload: string; readonly from: State; readonly to: State }
  | { readonly is: "incident"; readonly workload: string; readonly facts: IncidentFacts }
  | { readonly is: "node"; readonly what: string; readonly because: string }
  | { readonly is: "triggers"; readonly step: TriggerStep }
  /** A rung or a playbook; `down`: its workload is down meanwhile, and waits for it. */
  | {
      readonly is: "run";
      readonly at: "begins" | "goesOn" | "ends" | "waits" | "refused" | "cancelled";
      readonly id: string;
      readonly name: string;
      readonly workload: string;
      readonly down: boolean;
      readonly because: string;
    }
  | {
      readonly is: "step";
      readonly workload: string;
      readonly words: string;
      readonly outcome: string;
      readonly because: string;
    }
  /** What a playbook or the emergency tells people. */
  | { readonly is: "told"; readonly workload: string; readonly page: boolean; readonly because: string }
  | { readonly is: "process"; readonly workload: string; readonly at: "born" | "dead" }
  /** The agent, the watchdog, the machine. */
  | { readonly is: "life"; readonly who: string; readonly what: string };

/** What each start of a workload comes to, until one of the fixes was done. */
export interface Ailment {
  readonly until: readonly string[];
  /** exit: it ends at once. mute: it lives and gives no sign. late: it ends after a while. slow: its first sign comes late. */
  readonly how: "exit" | "mute" | "late" | "slow";
  readonly code: number;
  readonly afterMs: number;
  /** So many more starts come to that; absent: each. */
  starts?: number;
}

/** One workload of the world. */
export interface Actor {
  spec: WorkloadSpec;
  state: State;
  /** As it was last written down: an agent that dies forgets what came after. */
  kept: State;
  instance: Instance | undefined;
  ailment: Ailment | undefined;
  beating: boolean;
  /** Between two beats; absent: it never beats. */
  readonly beatEveryMs?: number;
  probing: boolean;
  stopped: boolean;
  /** It ends when something that it depends on is gone. */
  readonly leans: boolean;
  readonly config: { version: string; changedAtMs?: number; readonly healthy: string[] };
  facts: Pick<Facts, "hints" | "exhausted" | "externalStale"> & { readonly backup?: NonNullable<Facts["backup"]> };
  readonly figures: Record<string, number>;
  /** Told that this agent has started. */
  told: boolean;
}

/** How a deed, a step or a whole remedy ends; what is not set works in its usual time. */
export interface Manner {
  readonly ends: "works" | "fails" | "hangs";
  readonly takesMs?: number;
}

/** What takes time in this world, and how long it usually takes. */
export const usualMs = {
  /** From a start to the end of what cannot stay up. */
  exit: 200,
  /** From SIGTERM to the end. */
  stop: 300,
  /** From the end of what it depends on to its own, where it leans. */
  lean: 300,
  spawn: 1,
  clean: 1,
  examine: 1,
  /** Until an adopted process is missed. */
  vanish: 250,
  firstBeat: 1000,
  firstLook: 5000,
  /** From the machine's end to the agent's start. */
  boot: 20_000,
  /** From the start of an agent or a watchdog to its first word. */
  wake: 400,
  step: 2000,
  restore: 5000,
  backup: 5000,
  bootstrap: 20_000,
  clean_disposable: 3000,
  check: 1000,
  job: 3000,
} as const;

/** How long `what` takes this time. A simulation draws it. */
export type Pace = (what: keyof typeof usualMs) => number;

export const usually: Pace = (what) => usualMs[what];

/** Which pace a deed goes by. */
export function paceOf(deed: Action["do"]): keyof typeof usualMs {
  switch (deed) {
    case "restore":
    case "backup":
    case "bootstrap":
    case "clean_disposable":
      return deed;
    case "check_backups":
    case "check_store":
    case "trim_logs":
    case "quarantine":
      return "check";
    default:
      return "step";
  }
}

/** What is mended by a deed: the rung's name where it is one. A restart is any start. */
export function fixOf(deed: Action["do"]): string {
  const fixes: Partial<Record<Action["do"], string>> = {
    rollback: "config_rollback",
    restart_dependencies: "dependency_restart",
    restore: "backup_restore",
    bootstrap: "full_bootstrap",
  };
  return fixes[deed] ?? deed;
}

/** The word for a remedy in stories. */
export function remedyName(remedy: Remedy): string {
  return remedy.by === "rung" ? remedy.rung : remedy.playbook;
}
