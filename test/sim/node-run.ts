/**
 * One seed of one scenario: a node as one of the five systems has it, under its watchdog, in a world whose latencies, phases and
 * faults are drawn. The machines are the agent's own (test/scenarios/node-world.ts); a checker reads along.
 */
import { alertsOf } from "@blueflame/agent/records/alert.ts";
import type { IncidentFacts } from "@blueflame/agent/supervise/state.ts";
import { type Random, seeded } from "@blueflame/shared/random/random.ts";
import type { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { NodeChecker, unsettled } from "../scenarios/node-checker.ts";
import { Guards } from "../scenarios/node-guard.ts";
import { type Pace, type Seen, usualMs } from "../scenarios/node-parts.ts";
import { type System, useSystem } from "../scenarios/node-system.ts";
import { Narrator } from "../scenarios/node-told.ts";
import { NodeWorld } from "../scenarios/node-world.ts";
import { specOf } from "../support/spec.ts";

/** A scenario: what goes wrong, and what has to hold. Times are virtual. */
export interface Scene {
  readonly system: string;
  /** When the last fault is over and all has to be settled. */
  readonly endMs: number;
  /** Sets everything in motion; `run.at` acts later. Returns what is to be checked in the end. */
  readonly play: (run: NodeRun) => () => void;
  /** Nothing beside the scenario goes wrong. */
  readonly alone?: true;
  /** It is looked at in the middle: what is at work then need not be settled. */
  readonly unfinished?: true;
  /** Nothing more can happen. */
  readonly isOver?: (run: NodeRun) => boolean;
}

/** What a seed has come to. */
export interface Outcome {
  readonly violations: readonly string[];
  readonly trace: readonly string[];
  /** From the fault to the verified end, where the scenario says so. */
  readonly tookMs: number | undefined;
}

/** A scene that may be over early is looked at this often. */
const lookEveryMs = 60_000;

/** The world of one seed, with what scenarios need to act and to judge. */
export class NodeRun {
  readonly random: Random;
  readonly world: NodeWorld;
  readonly guards: Guards;
  readonly seen: { readonly ms: number; readonly seen: Seen }[] = [];
  readonly violations: string[] = [];
  readonly #checker = new NodeChecker();
  readonly #narrator: Narrator | undefined;
  readonly #lines: string[] = [];
  readonly #latest = new Map<string, { readonly workload: string; readonly facts: IncidentFacts }>();
  /** When each workload was verified last; the node is "". */
  readonly verifiedMs = new Map<string, number>();
  /** `WORKLOAD KIND` of each alert. */
  readonly alerts = new Set<string>();
  /** When agents have begun to guard. */
  readonly agentStartsMs: number[] = [];
  /** For whom a person was called. */
  readonly called = new Set<string>();
  tookMs: number | undefined;
  readonly #calledFor = new Set<string>();
  readonly #down = new Map<string, { readonly sinceMs?: number; readonly ms: number }>();

  constructor(seed: number, system: System, clock: VirtualClock, traced: boolean) {
    this.random = seeded(seed);
    this.#narrator = traced ? new Narrator(() => clock.monotonicMs()) : undefined;
    this.world = new NodeWorld((seen) => this.#see(seen), clock, drawnPace(this.random));
    useSystem(this.world, system);
    this.guards = new Guards(this.world);
    this.guards.start("watchdog");
  }

  get nowMs(): number {
    return this.world.clock.monotonicMs();
  }
  /** A number from `min` to `max`. */
  between(min: number, max: number): number {
    return min + this.random() * (max - min);
  }
  oneOf<T>(...choices: readonly [T, ...T[]]): T {
    return choices[Math.floor(this.random() * choices.length)] ?? choices[0];
  }
  at(ms: number, act: () => void): void {
    this.world.clock.wakeAt(ms, act);
  }
  must(holds: boolean, sentence: string): void {
    if (!holds) this.violations.push(sentence);
  }

  /**
   * The whole cycle of a fault is over within its bound. Where the agent itself was killed meanwhile, its time begins anew at
   * worst when the next one guards; what is `durable` goes on where it was once its trigger has fired.
   */
  within(subject: string, faultMs: number, boundMs: number, durable = false): void {
    const endMs = this.verifiedMs.get(subject);
    const untilMs = durable ? this.firedMs(subject, faultMs) : endMs;
    const fromMs = Math.max(faultMs, ...this.agentStartsMs.filter((ms) => untilMs !== undefined && ms <= untilMs));
    if (endMs === undefined || endMs < faultMs) {
      this.must(false, `${subject || "node"} was never verified after its fault`);
      return;
    }
    this.tookMs = endMs - faultMs;
    const cycleMs = Math.round(endMs - fromMs);
    this.must(cycleMs <= boundMs, `${subject || "node"} took ${cycleMs} ms, allowed are ${boundMs}`);
  }

  /** When the first trigger fired for a subject since then; infinite when none did. */
  firedMs(subject: string, sinceMs: number): number {
    const fired = this.seen.find(
      ({ ms, seen }) =>
        ms >= sinceMs && seen.is === "triggers" && seen.step.fired.some(({ workload }) => workload === subject),
    );
    return fired?.ms ?? Number.POSITIVE_INFINITY;
  }

  /** GRC-11: a trigger fires in under 10 s from its threshold, and its playbook begins in under 5 s from that. */
  firedInTime(subject: string, faultMs: number): void {
    const firedMs = this.firedMs(subject, faultMs);
    const fromMs = Math.max(faultMs, ...this.agentStartsMs.filter((ms) => ms <= firedMs));
    this.must(firedMs - fromMs < 10_000, `its trigger fired after ${Math.round(firedMs - fromMs)} ms`);
    const begun = this.seen.find(({ ms, seen }) => ms >= firedMs && seen.is === "run" && seen.workload === subject);
    const begunMs = begun?.ms ?? Number.POSITIVE_INFINITY;
    const actsFromMs = Math.max(firedMs, ...this.agentStartsMs.filter((ms) => ms <= begunMs));
    this.must(
      begunMs - actsFromMs < 5000,
      `its playbook began ${Math.round(begunMs - actsFromMs)} ms after the trigger`,
    );
  }

  /** When a workload was up again, at or after a moment; infinite when it was not. */
  runningMs(workload: string, sinceMs: number): number {
    const found = this.seen.find(
      ({ ms, seen }) =>
        ms >= sinceMs && seen.is === "phase" && seen.workload === workload && seen.to.phase.at === "running",
    );
    return found?.ms ?? Number.POSITIVE_INFINITY;
  }

  /** When the first incident of a workload was opened; infinite when none was. */
  firstIncidentMs(workload: string): number {
    const found = this.seen.find(({ seen }) => seen.is === "incident" && seen.workload === workload);
    return found?.ms ?? Number.POSITIVE_INFINITY;
  }

  /** Nobody was called for this one; others have their own troubles. */
  nobodyCalled(subject: string): void {
    this.must(!this.called.has(subject), `a person was called for ${subject || "the node"}`);
  }

  /** The instance of a workload now; undefined when it does not live. */
  instanceId(workload: string): string | undefined {
    return this.world.actor(workload).instance?.id;
  }

  /** Others crash, hang or freeze at any time, and the agent may be killed: none of it is the scenario's own fault. */
  disturb(untilMs: number, killAgent: boolean): void {
    const { world } = this;
    for (const name of ["bystander-1", "bystander-2"]) {
      world.add(specOf({ name, ...(this.random() < 0.5 && { beat: { timeoutMs: 3000 } }) }));
      const times = Math.floor(this.between(0, 3));
      for (let n = 0; n < times; n++) this.at(this.between(10_000, untilMs), () => this.#harm(name));
    }
    if (killAgent) this.at(this.between(20_000, untilMs), () => this.guards.kill("agent"));
  }

  #harm(name: string): void {
    const { world } = this;
    const actor = world.actor(name);
    const how = this.oneOf("crash", "kill", "hang", "freeze", "breaks");
    if (how === "crash") world.exit(name, 1);
    if (how === "kill") world.exit(name, 0, "SIGKILL");
    if (how === "hang") actor.beating = false;
    if (how === "freeze") actor.stopped = true;
    if (how !== "breaks") return;
    world.ail(name, {
      until: [],
      how: this.oneOf("exit", "mute"),
      afterMs: 0,
      code: 1,
      starts: Math.floor(this.between(1, 3)),
    });
    world.exit(name, 1);
  }

  outcome(unfinished: boolean): Outcome {
    const incidents = [...this.#latest.values()].map(({ facts }) => facts);
    const open = unfinished ? [] : unsettled(this.world.actors, incidents);
    return {
      violations: [...this.#checker.violations, ...this.violations, ...open],
      trace: this.#lines,
      tookMs: this.tookMs,
    };
  }

  incidentsOf(workload: string): IncidentFacts[] {
    return [...this.#latest.values()].filter((one) => one.workload === workload).map(({ facts }) => facts);
  }

  /** Each incident, whether a person was called for it, and for how long it was not well. */
  stories(): { readonly facts: IncidentFacts; readonly called: boolean; readonly downMs: number }[] {
    return [...this.#latest.values()].map(({ facts }) => ({
      facts,
      called: this.#calledFor.has(facts.id),
      downMs: this.#down.get(facts.id)?.ms ?? 0,
    }));
  }

  #count(facts: IncidentFacts, ms: number): void {
    if (facts.needsPerson) this.#calledFor.add(facts.id);
    const down = this.#down.get(facts.id) ?? { ms: 0 };
    const well = facts.at === "probation" || facts.at === "closed";
    if (!well && down.sinceMs === undefined) this.#down.set(facts.id, { ms: down.ms, sinceMs: ms });
    if (well && down.sinceMs !== undefined) this.#down.set(facts.id, { ms: down.ms + ms - down.sinceMs });
  }

  #see(seen: Seen): void {
    const ms = this.world?.clock.monotonicMs() ?? 0;
    this.#checker.see(seen, ms);
    this.#narrator?.see(seen);
    if (this.#narrator) this.#lines.push(...this.#narrator.take());
    if (seen.is !== "triggers" || seen.step.fired.length > 0) this.seen.push({ ms, seen });
    if (seen.is === "life" && seen.who === "agent" && seen.what === "starts") this.agentStartsMs.push(ms);
    if (seen.is === "told" && seen.page) this.called.add(seen.workload);
    if (seen.is !== "incident") return;
    const { workload, facts } = seen;
    const before = this.#latest.get(facts.id)?.facts;
    this.#latest.set(facts.id, { workload, facts });
    for (const { kind } of alertsOf(before, facts)) this.alerts.add(`${workload} ${kind}`);
    if (facts.needsPerson) this.called.add(workload);
    this.#count(facts, ms);
    if (facts.at === "probation" && before?.at !== "probation") this.verifiedMs.set(workload, ms);
  }
}

/** Latencies as they may be: what is bounded stays within its bound, the rest is half to twice as long as usual. */
function drawnPace(random: Random): Pace {
  const between = (min: number, max: number) => min + random() * (max - min);
  return (what) => {
    switch (what) {
      case "firstBeat":
      case "firstLook":
      case "vanish":
        return between(1, usualMs[what]);
      case "examine":
        return between(1, 300);
      case "spawn":
      case "clean":
        return between(1, 60);
      case "exit":
        return between(80, 900);
      case "boot":
        return between(5000, 30_000);
      default:
        return usualMs[what] * between(0.5, 2);
    }
  };
}

/** Runs one seed of a scene, where the system has no meta-health: nothing waits for a promise. */
export function runScene(scene: Scene, system: System, seed: number, clock: VirtualClock, traced = false): Outcome {
  const run = new NodeRun(seed, system, clock, traced);
  const check = scene.play(run);
  if (!scene.alone) run.disturb(scene.endMs / 2, run.random() < 0.35);
  while (run.nowMs < scene.endMs && !scene.isOver?.(run))
    run.world.clock.advance(scene.isOver ? lookEveryMs : scene.endMs - run.nowMs);
  check();
  return run.outcome(scene.unfinished === true);
}
