/** What an operator would want to read of a node's story, line by line. */
import { alertsOf } from "@blueflame/agent/records/alert.ts";
import type { Effect, IncidentFacts } from "@blueflame/agent/supervise/state.ts";
import type { Seen } from "./node-parts.ts";
import type { NodeWorld } from "./node-world.ts";

/** The last revision of an incident, and of what it is. */
export interface ToldIncident {
  readonly workload: string;
  readonly facts: IncidentFacts;
  /** A person was called, at some time, to do something. */
  readonly personNeeded: boolean;
  /** From each failure to the verification after it, together: the time in which it was down, or not as it should be. Absent: it still is. */
  readonly downMs?: number;
}

/** What a story has shown of the catalogue. */
export interface Shown {
  readonly triggers: Set<string>;
  readonly rungs: Set<string>;
  readonly playbooks: Set<string>;
  readonly causes: Set<string>;
}

/** Triggers that only count what supervision sees. */
const counted = new Set(["workload-crashed", "workload-frozen", "sandbox-crash"]);

/** Writes down what was seen since the last {@link Narrator.take}. */
export class Narrator {
  readonly #nowMs: () => number;
  readonly #last = new Map<string, { workload: string; facts: IncidentFacts }>();
  readonly #persons = new Set<string>();
  readonly #down = new Map<string, { readonly sinceMs?: number; readonly ms: number }>();
  readonly #firing = new Map<string, number>();
  readonly #told = new Map<string, string>();
  #lines: string[] = [];
  readonly shown: Shown = { triggers: new Set(), rungs: new Set(), playbooks: new Set(), causes: new Set() };

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  take(): string[] {
    const lines = this.#lines;
    this.#lines = [];
    return lines;
  }

  incidents(): ToldIncident[] {
    return [...this.#last.values()].map((one) => {
      const { sinceMs, ms } = this.#down.get(one.facts.id) ?? { sinceMs: undefined, ms: 0 };
      return { ...one, personNeeded: this.#persons.has(one.facts.id), ...(sinceMs === undefined && { downMs: ms }) };
    });
  }

  see(seen: Seen): void {
    switch (seen.is) {
      case "phase": {
        const { from, to } = seen;
        if (["running", "stopped", "completed", "backoff", "waiting"].includes(to.phase.at))
          this.#say(seen.workload, `${from.phase.at} -> ${to.phase.at}: ${short(to.because)}`);
        break;
      }
      case "effect":
        this.#effect(seen.workload, seen.effect);
        break;
      case "incident":
        this.#incident(seen.workload, seen.facts);
        break;
      case "node":
        // The run itself is told.
        if (!seen.what.startsWith("playbook.") && this.#isNew(seen.what, seen.because))
          this.#say("", `${seen.what}: ${short(seen.because)}`);
        break;
      case "run":
        this.#run(seen);
        break;
      case "step":
        // What people are told stands there already.
        if (seen.outcome !== "skipped" && seen.because !== "people are told")
          this.#say(seen.workload, `  ${seen.words}: ${short(seen.because)}`);
        break;
      case "told":
        this.#say(seen.workload, `${seen.page ? "PAGE" : "people are told"}: ${short(seen.because)}`);
        break;
      case "life":
        this.#say(seen.who, seen.what);
        break;
      case "triggers":
        for (const { trigger, workload, job, because } of seen.step.fired) {
          this.shown.triggers.add(trigger);
          const again = this.#firing.get(`${trigger} ${workload} ${job}`) ?? 0;
          this.#firing.set(`${trigger} ${workload} ${job}`, again + 1);
          // What supervision has seen by itself is told already, and what goes on firing is told twice.
          if (!counted.has(trigger) && again < 2)
            this.#say(
              job ? `job ${job}` : workload,
              `trigger ${trigger} fires${again > 0 ? " again" : ""}: ${short(because)}`,
            );
        }
        for (const { trigger, workload, job } of seen.step.cleared)
          this.#firing.delete(`${trigger} ${workload} ${job}`);
        for (const { trigger, workload, job } of seen.step.cleared)
          if (!counted.has(trigger)) this.#say(job ? `job ${job}` : workload, `trigger ${trigger} is over`);
        for (const { trigger, workload, because } of seen.step.noted)
          this.#say(workload, `trigger ${trigger} is noted only: ${short(because)}`);
        break;
      default:
        break;
    }
  }

  /** The same about the same is told once. */
  #isNew(about: string, text: string): boolean {
    const isNew = this.#told.get(about) !== text;
    this.#told.set(about, text);
    return isNew;
  }

  #say(who: string, text: string): void {
    this.#lines.push(`${seconds(this.#nowMs())} ${who || "node"} ${text}`);
  }

  #effect(workload: string, effect: Effect): void {
    if (effect.do === "spawn") this.#say(workload, effect.safe ? "starts in safe mode" : "starts");
    if (effect.do === "audit" && effect.outcome !== "success")
      this.#say(workload, `${effect.action}: ${short(effect.because)}`);
  }

  #run({ at, name, workload, because }: Extract<Seen, { is: "run" }>): void {
    if (at === "begins") this.shown.playbooks.add(name);
    const needless = /not needed any more: [^(;]+/.exec(because)?.[0].trim();
    const words = {
      begins: `${name} begins`,
      goesOn: `${name} goes on where it was`,
      // Of a playbook each step was told, but those that were not needed.
      ends: name.includes("-") ? `${name} ends${needless ? `: ${needless}` : ""}` : `${name} ends: ${short(because)}`,
      waits: `${name} waits: ${because}`,
      refused: `${name} is refused: ${because}`,
      cancelled: `${name} is called off`,
    };
    this.#say(workload, words[at]);
  }

  #incident(workload: string, facts: IncidentFacts): void {
    const before = this.#last.get(facts.id)?.facts;
    this.#last.set(facts.id, { workload, facts });
    if (facts.needsPerson) this.#persons.add(facts.id);
    const down = this.#down.get(facts.id) ?? { ms: 0 };
    const well = facts.at === "probation" || facts.at === "closed";
    if (!well && down.sinceMs === undefined) this.#down.set(facts.id, { ms: down.ms, sinceMs: this.#nowMs() });
    if (well && down.sinceMs !== undefined) this.#down.set(facts.id, { ms: down.ms + this.#nowMs() - down.sinceMs });
    const { diagnosis } = facts;
    for (const { rung, playbook } of facts.attempts) {
      if (rung) this.shown.rungs.add(rung);
      if (playbook) this.shown.playbooks.add(playbook);
    }
    if (facts.playbook) this.shown.playbooks.add(facts.playbook);
    if (diagnosis) this.shown.causes.add(diagnosis.cause);
    if (diagnosis && JSON.stringify(diagnosis) !== JSON.stringify(before?.diagnosis)) {
      const root = diagnosis.root ? ` from ${diagnosis.root}` : "";
      const why = short(diagnosis.evidence[0] ?? "");
      this.#say(workload, `diagnosis ${diagnosis.cause} (${diagnosis.confidence.toFixed(2)})${root}: ${why}`);
    }
    for (const { kind, page, because } of alertsOf(before, facts))
      this.#say(workload, `${page ? "PAGE" : "alert"} ${kind}: ${short(because)}`);
  }
}

/** How everything stands now. */
export function standing(world: NodeWorld, incidents: readonly ToldIncident[]): string[] {
  const workloads = [...world.actors].map(([name, { state, instance }]) => {
    const mode = state.mode === "safe" ? " in safe mode" : "";
    return `${name} ${state.phase.at}${mode}, ${instance ? "its process lives" : "no process"}`;
  });
  const all = incidents.map(({ workload, facts }) => {
    const tried = facts.attempts.map(
      ({ rung, playbook, ok }) => `${rung ?? playbook}${ok === undefined ? "" : ok ? " ✓" : " ✗"}`,
    );
    const took = facts.recoverTookMs === undefined ? "" : `, recovered in ${seconds(facts.recoverTookMs)}`;
    const person = facts.needsPerson ? ", a person is needed" : "";
    return `incident of ${workload || "node"} ${facts.at}: ${facts.symptom}; tried ${tried.join(", ") || "nothing"}${took}${person}`;
  });
  return [...workloads, ...all];
}

function seconds(ms: number): string {
  return ms % 1000 === 0 || ms >= 10_000 ? `${Math.round(ms / 1000)}s` : `${(ms / 1000).toFixed(1)}s`;
}
function short(text: string): string {
  return text.length > 160 ? `${text.slice(0, 157)}...` : text;
}
