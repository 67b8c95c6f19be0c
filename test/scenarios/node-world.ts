/**
 * A node on virtual time: the real machines of the agent (supervision, ladder, triggers, the node's own), and around them a world
 * that fails as a story says. Nothing here decides.
 */

import { type Facts, noFacts } from "@blueflame/agent/diagnosis/facts.ts";
import {
  calmNode,
  type NodeEvent,
  type NodeState,
  nextNodeLookMs,
  stepNode,
} from "@blueflame/agent/ladder/node-machine.ts";
import { nextLookMs, step } from "@blueflame/agent/supervise/machine.ts";
import type { WorkloadSpec } from "@blueflame/agent/supervise/spec.ts";
import { standsOf } from "@blueflame/agent/supervise/stands.ts";
import {
  type Effect,
  type Event,
  fresh,
  type IncidentFacts,
  type Instance,
  instanceOf,
  type Remedy,
  type State,
} from "@blueflame/agent/supervise/state.ts";
import { step as stepTriggers } from "@blueflame/agent/triggers/machine.ts";
import type { Observation } from "@blueflame/agent/triggers/observation.ts";
import {
  fresh as freshTriggers,
  type Event as TriggerEvent,
  type Step as TriggerStep,
} from "@blueflame/agent/triggers/state.ts";
import { catalogue, type Trigger } from "@blueflame/agent/triggers/trigger.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";

/** What a story does not set: how long things take in this world. */
const times = { exitMs: 200, stopMs: 300, remedyMs: 2000, beatMs: 1000, observeMs: 5000 };

/** What was seen, for whoever tells the story. */
export type Seen =
  | { readonly is: "effect"; readonly workload: string; readonly effect: Effect; readonly state: State }
  | { readonly is: "phase"; readonly workload: string; readonly from: State; readonly to: State }
  | { readonly is: "incident"; readonly workload: string; readonly facts: IncidentFacts }
  | { readonly is: "node"; readonly what: string; readonly because: string }
  | { readonly is: "triggers"; readonly step: TriggerStep };

/** One workload of the world. */
export interface Actor {
  readonly spec: WorkloadSpec;
  state: State;
  instance: Instance | undefined;
  /** Each start ends again, until one of these has been done. */
  brokenUntil: readonly string[];
  done: Set<string>;
  exitCode: number;
  beating: boolean;
  probing: boolean;
  stopped: boolean;
  facts: Facts;
  readonly figures: Record<string, number>;
}

/** How a remedy or playbook ends, and what it changes; what is not set works after two seconds. */
export interface Manner {
  ends: "works" | "fails" | "hangs";
  takesMs: number;
  sets: { subject: string; figure: string; value: number }[];
}

/** The world of one story. */
export class NodeWorld {
  readonly clock = new VirtualClock(0);
  readonly actors = new Map<string, Actor>();
  readonly node: Record<string, number> = {
    cpu_busy_ratio: 0.1,
    memory_used_ratio: 0.3,
    disk_used_ratio: 0.4,
    ours_cpu_ratio: 0.05,
    ours_memory_ratio: 0.1,
  };
  readonly lateJobs: Record<string, number> = {};
  stranger = "";
  readonly manners = new Map<string, Manner>();
  readonly incidents: { workload: string; facts: IncidentFacts }[] = [];
  triggers: readonly Trigger[] = catalogue;
  nodeState: NodeState = calmNode;
  bootId = "boot-1";
  agentAlive = false;
  #triggerState = freshTriggers();
  #pids = 100;
  #ids = 0;
  /** Effects of an agent that has died are nobody's any more. */
  #life = 0;
  readonly #looks = new Map<string, () => void>();
  readonly #see: (seen: Seen) => void;

  constructor(see: (seen: Seen) => void) {
    this.#see = see;
  }

  add(spec: WorkloadSpec): void {
    this.actors.set(spec.name, {
      spec,
      state: fresh(this.bootId, 7),
      instance: undefined,
      brokenUntil: [],
      done: new Set(),
      exitCode: 1,
      beating: true,
      probing: true,
      stopped: false,
      facts: { ...noFacts, config: { version: "v1", changedAgoMs: 7 * 86_400_000 } },
      figures: { p95_latency_ms: 100, error_rate: 0, trust: 0.9 },
    });
  }

  actor(name: string): Actor {
    const found = this.actors.get(name);
    if (!found) throw new Error(`a story speaks of '${name}' before it names the workload`);
    return found;
  }

  // ── the agent ──────────────────────────────────────────────────────────────────────────────────────────────────────

  startAgent(): void {
    this.agentAlive = true;
    this.#life += 1;
    for (const [name, { instance }] of this.actors)
      this.tell(name, { is: "boot", bootId: this.bootId, ...(instance && { found: { ...instance, adopted: true } }) });
    this.tellNode({ is: "boot", rebooted: false });
    this.#repeat(times.observeMs, () => this.#observe());
    this.#repeat(times.beatMs, () => this.#signs());
    this.#repeat(10_000, () => this.tellTriggers({ is: "look", localOffsetMs: 0 }));
  }
  killAgent(): void {
    this.agentAlive = false;
    this.#life += 1;
  }
  reboot(): void {
    this.killAgent();
    this.bootId = `boot-${this.clock.monotonicMs() + 2}`;
    for (const actor of this.actors.values()) actor.instance = undefined;
    this.clock.advance(20_000);
    this.startAgent();
  }

  tell(name: string, event: Event): void {
    if (!this.agentAlive) return;
    const actor = this.actor(name);
    const before = actor.state;
    const result = step(actor.spec, before, event, this.#moment());
    actor.state = JSON.parse(JSON.stringify(result.state)) as State;
    if (before.phase.at !== actor.state.phase.at)
      this.#see({ is: "phase", workload: name, from: before, to: actor.state });
    for (const effect of result.effects) this.#act(name, actor, effect);
    this.#schedule(name, actor);
  }

  tellNode(event: NodeEvent): void {
    if (!this.agentAlive) return;
    const result = stepNode(this.nodeState, event, this.#moment());
    this.nodeState = JSON.parse(JSON.stringify(result.state)) as NodeState;
    for (const effect of result.effects) {
      if (effect.do === "incident") this.#incident("", effect.facts);
      if (effect.do === "audit") this.#see({ is: "node", what: effect.action, because: effect.because });
      if (effect.do === "play")
        this.#remedy(effect.playbook, "", (ok, because) => this.tellNode({ is: "played", id: effect.id, ok, because }));
    }
    const due = nextNodeLookMs(this.nodeState);
    this.#looks.get("")?.();
    if (due !== undefined)
      this.#looks.set(
        "",
        this.#at(due, () => this.tellNode({ is: "look" })),
      );
  }

  tellTriggers(event: TriggerEvent): void {
    if (!this.agentAlive) return;
    const answer = stepTriggers(this.triggers, this.#triggerState, event, this.#moment());
    this.#triggerState = answer.state;
    this.#see({ is: "triggers", step: answer });
    for (const symptom of answer.fired) {
      if (symptom.workload) this.tell(symptom.workload, { is: "symptom", symptom });
      else this.tellNode({ is: "symptom", symptom, maintenance: symptom.playbook.endsWith("-maintenance") });
    }
    for (const { trigger, workload } of answer.cleared) {
      if (workload) this.tell(workload, { is: "cleared", trigger });
      else this.tellNode({ is: "cleared", trigger });
    }
  }

  #act(name: string, actor: Actor, effect: Effect): void {
    this.#see({ is: "effect", workload: name, effect, state: actor.state });
    switch (effect.do) {
      case "incident":
        this.#incident(name, effect.facts);
        return;
      case "clean":
        actor.instance = undefined;
        this.#soon(1, () => this.tell(name, { is: "cleaned", killed: 0, removed: [], tookMs: 1 }));
        return;
      case "spawn":
        this.#spawn(name, actor, effect.id, effect.safe === true);
        return;
      case "signal":
        if (effect.signal !== "SIGCONT") this.#later(times.stopMs, () => this.exit(name, 0));
        return;
      case "examine":
        this.#soon(1, () => this.tell(name, { is: "examined", facts: this.#facts(actor) }));
        return;
      case "remedy": {
        const { id } = effect;
        this.#remedy(remedyName(effect.remedy), name, (ok, because) =>
          this.tell(name, { is: "remedied", id, ok, because }),
        );
        return;
      }
      default:
        return;
    }
  }

  #facts(actor: Actor): Facts {
    const dependencies = actor.spec.dependsOn.map((need) => ({ name: need, stands: standsOf(this.actor(need).state) }));
    return { ...actor.facts, dependencies };
  }

  #incident(workload: string, facts: IncidentFacts): void {
    this.incidents.push({ workload, facts });
    this.#see({ is: "incident", workload, facts });
  }

  // ── the world ──────────────────────────────────────────────────────────────────────────────────────────────────────

  #spawn(name: string, actor: Actor, id: string, safe: boolean): void {
    if (safe) actor.done.add("safe_mode");
    actor.done.add("quick_restart");
    const nowMs = this.clock.monotonicMs();
    const instance = { id, pid: this.#pids++, startTicks: nowMs, sinceMs: nowMs, sinceWallMs: nowMs, adopted: false };
    actor.instance = instance;
    actor.stopped = false;
    actor.beating = true;
    actor.probing = true;
    this.#soon(1, () => this.tell(name, { is: "spawned", instance }));
    const mended = actor.brokenUntil.length === 0 || actor.brokenUntil.some((fix) => actor.done.has(fix));
    if (mended) actor.brokenUntil = [];
    else this.clock.wakeAt(nowMs + times.exitMs, () => actor.instance?.id === id && this.exit(name, actor.exitCode));
  }

  /** Its process ends, whether an agent lives to see it or not. */
  exit(name: string, code: number, signal: string | null = null): void {
    const actor = this.actor(name);
    const { instance } = actor;
    if (!instance) return;
    actor.instance = undefined;
    const down = actor.spec.dependsOn.filter((need) =>
      ["recovering", "down"].includes(standsOf(this.actor(need).state)),
    );
    const needs = down.length > 0 ? { needsDown: down } : {};
    if (instanceOf(actor.state.phase)?.adopted) this.tell(name, { is: "vanished", id: instance.id, ...needs });
    else this.tell(name, { is: "exited", id: instance.id, code: signal ? null : code, signal, ...needs });
  }

  #remedy(remedy: string, workload: string, answer: (ok: boolean, because: string) => void): void {
    const manner = this.manners.get(remedy) ?? { ends: "works", takesMs: times.remedyMs, sets: [] };
    if (manner.ends === "hangs") return;
    const life = this.#life;
    const finish = (): void => {
      if (life !== this.#life) return;
      if (remedy === "dependency_restart" && !this.#dependenciesWell(workload)) return void this.#later(1000, finish);
      if (workload) this.actor(workload).done.add(remedy);
      if (remedy === "config_rollback" && workload) {
        const actor = this.actor(workload);
        actor.facts = {
          ...actor.facts,
          config: { version: actor.facts.config.healthyVersion ?? "v1", changedAgoMs: 0 },
        };
      }
      for (const { subject, figure, value } of manner.sets) {
        if (subject === "node") this.node[figure] = value;
        else this.actor(subject).figures[figure] = value;
      }
      answer(manner.ends === "works", manner.ends === "works" ? "done" : "it did not work");
    };
    this.clock.wakeAt(this.clock.monotonicMs() + manner.takesMs, finish);
  }

  #dependenciesWell(workload: string): boolean {
    return this.actor(workload).spec.dependsOn.every((need) => standsOf(this.actor(need).state) === "well");
  }

  #observe(): void {
    const workloads: Record<string, Record<string, number>> = {};
    for (const [name, { instance, state, figures }] of this.actors) {
      const running = state.phase.at === "running" ? state.phase : undefined;
      if (!instance || !running) continue;
      workloads[name] = { ...figures, uptime_ms: this.clock.monotonicMs() - instance.sinceMs };
    }
    const observation: Observation = {
      node: this.node,
      workloads,
      lateJobs: this.lateJobs,
      staleSources: [],
      heaviestStranger: this.stranger,
    };
    this.tellTriggers({ is: "observed", observation });
  }

  #signs(): void {
    for (const [name, actor] of this.actors) {
      if (!actor.instance) continue;
      if (actor.stopped || actor.state.evidence.stoppedSinceMs !== undefined)
        this.tell(name, { is: "seen", stopped: actor.stopped });
      if (actor.stopped) continue;
      if (actor.spec.beat && actor.beating) this.tell(name, { is: "beat", ready: true, status: "" });
      for (const { name: probe } of actor.spec.probes)
        this.tell(name, { is: "probed", probe, ok: actor.probing, because: actor.probing ? "answered" : "no answer" });
    }
  }

  // ── time ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  #moment() {
    const ms = this.clock.monotonicMs();
    return { ms, wallMs: this.clock.wallMs(), id: `id-${String(this.#ids++).padStart(6, "0")}` };
  }
  #schedule(name: string, actor: Actor): void {
    this.#looks.get(name)?.();
    const due = nextLookMs(actor.spec, actor.state);
    if (due !== undefined)
      this.#looks.set(
        name,
        this.#at(due, () => this.tell(name, { is: "look" })),
      );
  }
  #at(dueMs: number, act: () => void) {
    return this.clock.wakeAt(Math.max(dueMs, this.clock.monotonicMs() + 1), act);
  }
  /** An answer to what the agent asked; void when it has died meanwhile. */
  #soon(ms: number, act: () => void): void {
    const life = this.#life;
    this.clock.wakeAt(this.clock.monotonicMs() + ms, () => life === this.#life && act());
  }
  #later(ms: number, act: () => void): void {
    this.clock.wakeAt(this.clock.monotonicMs() + ms, act);
  }
  #repeat(everyMs: number, act: () => void): void {
    const life = this.#life;
    const go = (): void => {
      if (life !== this.#life) return;
      act();
      this.clock.wakeAt(this.clock.monotonicMs() + everyMs, go);
    };
    this.clock.wakeAt(this.clock.monotonicMs() + everyMs, go);
  }
}

/** The word for a remedy in stories. */
export function remedyName(remedy: Remedy): string {
  return remedy.by === "rung" ? remedy.rung : remedy.playbook;
}
