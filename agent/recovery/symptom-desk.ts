/** Hands what triggers have told about workloads over to their machines, as far as they are still there. */
import type { Facts } from "../diagnosis/facts.ts";
import { whyNotBack } from "../ladder/take-back.ts";
import type { Severity } from "../supervise/severity.ts";
import type { Event, State } from "../supervise/state.ts";
import type { Condition, Step } from "../triggers/state.ts";
import type { Symptom } from "../triggers/symptom.ts";
import type { Trigger } from "../triggers/trigger.ts";

/** Whoever runs the machines of the workloads. */
interface Machines {
  names(): string[];
  state(workload: string): State;
  post(workload: string, event: Event): void;
}

/** What the desk needs. No callback may throw. */
export interface SymptomDeskParts {
  /** Undefined before it runs. */
  readonly machines: () => Machines | undefined;
  readonly nowMs: () => number;
  /** Asks for it; answered once, now or soon. */
  readonly configOf: (workload: string, then: (config: Facts["config"]) => void) => void;
  /** Where a trigger that has fired stands for the workload; empty: for the node. */
  readonly condition: (trigger: string, workload: string) => Condition;
  /** Is the playbook of that name a file of the operator's folder? */
  readonly isOwn: (playbook: string) => boolean;
  /** The playbooks that others go before there. */
  readonly demoted: (workload: string) => NonNullable<Facts["demoted"]>;
  /** How long the workload has been trusted little, whoever has stopped or started it since; undefined: it is trusted. */
  readonly lowForMs: (workload: string) => number | undefined;
  /** It holds, and leads to nothing: why. */
  readonly noted: (symptom: Symptom, why: string) => void;
}

/** One for the node. */
export class SymptomDesk {
  readonly #parts: SymptomDeskParts;
  /** What came while its workload was not up yet: one for each, the worst; of two that are as bad the first. */
  readonly #early = new Map<string, Symptom>();

  constructor(parts: SymptomDeskParts) {
    this.#parts = parts;
  }

  /**
   * A trigger of that kind has fired for a workload. Little trust takes a version back that came lately and lost it, and nowhere
   * ends what works. A stand ends with the process; that trust was lost before does not.
   */
  take(fired: Symptom, kind: Trigger["kind"] | undefined): void {
    const { configOf, nowMs, noted, isOwn, demoted, lowForMs } = this.#parts;
    const { workload, playbook, sinceMs } = fired;
    const low = demoted(workload).find((one) => one.playbook === playbook);
    const symptom: Symptom = {
      ...fired,
      ...(isOwn(playbook) && { own: true as const }),
      ...(low && { demoted: low.because }),
    };
    if (playbook !== "rollback-deployment" || symptom.own) {
      this.#hand(symptom);
      return;
    }
    configOf(workload, (config) => {
      const machines = this.#machinesOf(workload);
      if (!machines) return;
      const busy = machines.state(workload).incident !== undefined;
      const lowMs = kind === "trust" ? (lowForMs(workload) ?? 0) : 0;
      const why = whyNotBack(config, { busy, lostAgoMs: Math.max(lowMs, nowMs() - sinceMs) });
      if (why) noted(symptom, why);
      else this.#hand(symptom);
    });
  }

  /** After each observation: what came too early is handed over as soon as its workload is up, if it holds still. */
  observed(): void {
    for (const [workload, symptom] of this.#early) {
      const { trigger } = symptom;
      const machines = this.#machinesOf(workload);
      const holds = [workload, ""].some((subject) => this.#parts.condition(trigger, subject) === "holds");
      if (machines && holds && comesUp(machines.state(workload))) continue;
      this.#early.delete(workload);
      if (machines && holds) this.#hand(symptom);
    }
  }

  /** A trigger of the node has fired, and a workload of ours is the cause: its own machine heals it. */
  blame({ culprit, ...symptom }: Symptom): void {
    if (culprit !== undefined) this.take({ ...symptom, workload: culprit }, undefined);
  }

  /** What of a step concerns those that wait for the end of a trigger; of one of the node, whoever is its cause. */
  told({ cleared, lapsed, holding }: Pick<Step, "cleared" | "lapsed" | "holding">): void {
    for (const { trigger, workload } of cleared)
      for (const name of workload ? [workload] : this.#waitingFor(trigger))
        this.#post(name, { is: "cleared", trigger });
    for (const { trigger, workload } of lapsed) this.#post(workload, { is: "lapsed", trigger });
    for (const { trigger, workload } of holding) this.#post(workload, { is: "holding", trigger });
  }

  /** The agent has started: who waits for a trigger that does not hold any more, by a reboot or another config, waits no longer. */
  settle(): void {
    const { machines, condition } = this.#parts;
    const all = machines();
    for (const name of all?.names() ?? []) {
      const trigger = all && awaitedBy(all.state(name));
      if (trigger === undefined || condition(trigger, "") === "holds") continue;
      const stands = condition(trigger, name);
      if (stands !== "holds") this.#post(name, { is: stands === "over" ? "cleared" : "lapsed", trigger });
    }
  }

  /** Its machine judges nothing that is not up yet, and a trigger says it only once in its cooldown. */
  #hand(symptom: Symptom): void {
    const { workload, severity } = symptom;
    const machines = this.#machinesOf(workload);
    if (!machines) return;
    if (!comesUp(machines.state(workload))) machines.post(workload, { is: "symptom", symptom });
    else if (weight(severity) > weight(this.#early.get(workload)?.severity)) this.#early.set(workload, symptom);
  }

  #waitingFor(trigger: string): string[] {
    const all = this.#parts.machines();
    return all?.names().filter((name) => awaitedBy(all.state(name)) === trigger) ?? [];
  }

  #post(workload: string, event: Event): void {
    if (workload !== "") this.#machinesOf(workload)?.post(workload, event);
  }

  /** A trigger may still stand for what is no longer in the config. */
  #machinesOf(workload: string): Machines | undefined {
    const machines = this.#parts.machines();
    return machines?.names().includes(workload) ? machines : undefined;
  }
}

function awaitedBy({ treatment, awaited }: State): string | undefined {
  return (treatment ?? awaited)?.trigger;
}

function comesUp({ phase }: State): boolean {
  return phase.at === "spawning" || phase.at === "starting";
}

function weight(severity: Severity | undefined): number {
  return severity === undefined ? 0 : { low: 1, medium: 2, high: 3, critical: 4 }[severity];
}
