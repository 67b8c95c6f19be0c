/**
 * What must never happen on a node, whatever a story or a seed does:
 *
 *   one process of a workload, one open incident of it, one remedy at work on it; nothing is started while a remedy prepares its start,
 *   against a person's stop or against the kill switch; an incident moves forward, back only by a relapse or by a remedy that did not
 *   help, and ends once; lists stay within their bounds; starts never come in a storm; every decision says why.
 */
import type { Effect, IncidentFacts, State } from "@blueflame/agent/supervise/state.ts";
import type { Seen } from "./node-parts.ts";

const attemptsMax = 16;
const timelineMax = 40;
const startsWithinMs = 60_000;
/** Rungs, triggers, persons and the kill switch may each ask for some; the most in a thousand seeds of everything is 11. */
const startsMax = 20;
const stages: readonly IncidentFacts["at"][] = ["open", "recovering", "verifying", "probation", "closed"];

/** Sees everything that a world shows, and keeps what was wrong. */
export class NodeChecker {
  readonly violations: string[] = [];
  readonly #alive = new Set<string>();
  /** By workload; `down` when it waits for it. */
  readonly #runs = new Map<string, { readonly id: string; readonly down: boolean }>();
  readonly #incidents = new Map<string, IncidentFacts>();
  readonly #openOf = new Map<string, string>();
  readonly #starts = new Map<string, number[]>();
  #nowMs = 0;

  see(seen: Seen, nowMs: number): void {
    this.#nowMs = nowMs;
    switch (seen.is) {
      case "process":
        this.#process(seen.workload, seen.at);
        break;
      case "run":
        this.#run(seen);
        break;
      case "effect":
        this.#effect(seen.workload, seen.effect, seen.state);
        break;
      case "incident":
        this.#incident(seen.workload, seen.facts);
        break;
      case "phase":
        this.#must(seen.to.because !== "", seen.workload, `${seen.to.phase.at} says no reason`);
        break;
      case "life":
        if (seen.what === "dies" && seen.who === "agent") this.#runs.clear();
        break;
      default:
        break;
    }
  }

  #must(holds: boolean, workload: string, sentence: string): void {
    if (!holds) this.violations.push(`${this.#nowMs} ms ${workload || "node"}: ${sentence}`);
  }

  #process(workload: string, at: "born" | "dead"): void {
    if (at === "dead") this.#alive.delete(workload);
    else {
      this.#must(!this.#alive.has(workload), workload, "two processes of it live");
      this.#alive.add(workload);
    }
  }

  #run({ at, id, name, workload, down, because }: Extract<Seen, { is: "run" }>): void {
    const subject = workload || "node";
    const other = this.#runs.get(subject);
    if (at === "refused")
      this.#must(!because.includes("another run"), workload, `${name} was asked for beside another: ${because}`);
    if (at === "begins" || at === "goesOn") {
      this.#must(!other || other.id === id, workload, `${name} runs beside ${other?.id ?? ""}`);
      this.#runs.set(subject, { id, down });
    }
    if ((at === "ends" || at === "cancelled") && other?.id === id) this.#runs.delete(subject);
  }

  #effect(workload: string, effect: Effect, state: State): void {
    if (effect.do === "audit") this.#must(effect.because !== "", workload, `${effect.action} says no reason`);
    if (effect.do !== "spawn") return;
    const recent = [...(this.#starts.get(workload) ?? []), this.#nowMs].filter(
      (ms) => ms > this.#nowMs - startsWithinMs,
    );
    this.#starts.set(workload, recent);
    this.#must(recent.length <= startsMax, workload, `${recent.length} starts within a minute`);
    this.#must(state.intent === "run", workload, "started against a person's stop");
    this.#must(state.held !== true, workload, "started against the kill switch");
    const run = this.#runs.get(workload);
    this.#must(!run?.down, workload, `started while ${run?.id ?? ""} prepares its start`);
  }

  #incident(workload: string, facts: IncidentFacts): void {
    const { id, at, attempts, timeline, diagnosis } = facts;
    const before = this.#incidents.get(id);
    this.#incidents.set(id, facts);
    this.#must(attempts.length <= attemptsMax, workload, `${attempts.length} attempts in one incident`);
    this.#must(timeline.length <= timelineMax, workload, `${timeline.length} entries in one timeline`);
    const reasons = [...timeline, ...attempts].every(({ because }) => because !== "");
    this.#must(reasons, workload, "something in the incident says no reason");
    if (diagnosis) this.#must(diagnosis.evidence.join("") !== "", workload, "a diagnosis without evidence");
    if (before) this.#moved(workload, before, facts);
    if (workload === "") return;
    const open = this.#openOf.get(workload);
    this.#must(open === undefined || open === id, workload, `a second incident is open: ${id} beside ${open ?? ""}`);
    if (at === "closed") this.#openOf.delete(workload);
    else this.#openOf.set(workload, id);
  }

  #moved(workload: string, before: IncidentFacts, after: IncidentFacts): void {
    const words = `${before.at} -> ${after.at}`;
    this.#must(after.revision > before.revision, workload, `revision ${after.revision} after ${before.revision}`);
    this.#must(before.at !== "closed", workload, `an incident that was closed goes on: ${words}`);
    if (stages.indexOf(after.at) >= stages.indexOf(before.at)) return;
    // Back to the start only: it failed again, or what was done did not help.
    const failedAgain = after.failures > before.failures;
    const noHelp = after.attempts.some(({ ok }, index) => ok === false && before.attempts[index]?.ok !== false);
    const goesOn = after.at === "open" || after.at === "recovering";
    this.#must(goesOn && (failedAgain || noHelp), workload, `an incident went back: ${words}`);
  }
}

/** What is neither well, nor told to a person, nor wanted so: empty in the end, once nothing more goes wrong. */
export function unsettled(
  workloads: Iterable<readonly [string, { readonly state: State }]>,
  incidents: Iterable<IncidentFacts>,
): string[] {
  const found: string[] = [];
  for (const [name, { state }] of workloads) {
    const { phase, intent, held, incident } = state;
    const wanted = intent === "run" && held !== true;
    if (!wanted && phase.at !== "stopped" && phase.at !== "completed")
      found.push(`${name} is ${phase.at}, and nobody wants it`);
    // What waits for another one's healing is told with that one.
    if (!wanted || phase.at === "completed" || incident?.needsPerson || incident?.diagnosis?.root) continue;
    if (phase.at !== "running") found.push(`${name} is ${phase.at}, and no person was called`);
  }
  for (const { id, at, symptom, needsPerson, severity, recoveredWallMs, diagnosis } of incidents) {
    const over = at === "closed" || recoveredWallMs !== undefined;
    if (!over && !needsPerson && !diagnosis?.root && severity !== "low")
      found.push(`the incident ${id} (${symptom}) stays ${at}, and no person was called`);
  }
  return found;
}
