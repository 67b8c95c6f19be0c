/**
 * Runs the machine of each workload against the real world. One event at a time per workload:
 *
 *   event ──▶ step() ──▶ state, decision, incident and audit in one write ──▶ effects ──▶ their answers are the next events
 *
 * A write that the disk refuses is told and tried again, but it never keeps a workload down. Answers of effects go before
 * what was queued meanwhile, so nobody sees a spawn half done. The agent's own absence is measured before each judgement.
 */
import { Fault } from "@blueflame/shared/errors/fault.ts";
import type { NodeHealth } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import type { WorkloadStatus } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import { uuid7 } from "@blueflame/shared/ids/uuid7.ts";
import { type Cancel, type Moment, nextRound } from "@blueflame/shared/time/clock.ts";
import { actorOf } from "./actor.driver.ts";
import { adoptable, type World } from "./adopt.ts";
import { type Halt, haltsBefore, isComing, isRefused } from "./halt.ts";
import { Hands } from "./hands.driver.ts";
import { letGoInOrder } from "./in-order.ts";
import { nextLookMs, step } from "./machine.ts";
import { dependencyOrder } from "./order.ts";
import { OwnTime } from "./own-time.driver.ts";
import type { Actor, SupervisorParts } from "./parts.ts";
import { Recorder } from "./recorder.driver.ts";
import { dismiss } from "./removed.driver.ts";
import { nodeHealth, statusOf } from "./report.ts";
import { isOfLife } from "./signs.ts";
import type { WorkloadSpec } from "./spec.ts";
import { maySettleWaits, standsOf, wokenBy } from "./stands.ts";
import { starting, tightened } from "./start-spec.ts";
import { adoptedIn, type Event, type IncidentFacts, instanceOf, isKept, remembered, type State } from "./state.ts";

/** Adopted processes give no exit event: their ends are asked for this often (design.md, section 3: at most 250 ms). */
const adoptedEveryMs = 250;
/** Where nothing is adopted a tick only measures whether the agent was away. Each wakes the process. */
const tickEveryMs = 500;
/** Every process is looked at this often for a stop by a signal, and its output, which asks the disk, for its bound. */
const [checkEveryMs, rotateEveryMs] = [1000, 5000];
/** A wake may come so early. A tick so late was no tick: the agent was stopped, starved or suspended. */
const [earlyMs, lateMs] = [1, 1000];
/** Events that wait for one workload; beyond it only beats and probe answers come so fast, and those are dropped. */
const queueMax = 1000;

/** Supervises all workloads of one agent. Made by {@link superviseAll}; whoever made it closes it. */
export class Supervisor {
  readonly #parts: SupervisorParts;
  readonly #recorder: Recorder;
  readonly #hands: Hands;
  readonly #actors = new Map<string, Actor>();
  readonly #stored: ReadonlyMap<string, State>;
  readonly #ownTime: OwnTime;
  #lastTickMs: number;
  #tickDueMs: number;
  readonly #next = { checkMs: 0, rotateMs: 0 };
  #cancelTick: Cancel | undefined;
  #worstLagMs = 0;
  #closed = false;
  #halt: Halt | undefined;

  constructor(parts: SupervisorParts, stored: ReadonlyMap<string, State>) {
    this.#parts = parts;
    this.#stored = stored;
    this.#recorder = new Recorder(parts);
    this.#hands = new Hands(
      parts,
      (name, event) => this.post(name, event),
      (actor) => this.#acts(actor),
      (actor) => [...this.#actors.values()].filter((one) => one !== actor),
    );
    this.#ownTime = new OwnTime(parts.wantedCoreMs);
    this.#lastTickMs = parts.clock.monotonicMs();
    this.#tickDueMs = this.#lastTickMs + adoptedEveryMs;
    for (const { name } of parts.specs) this.#actors.set(name, actorOf(parts, name, stored.get(name)));
    parts.processes.onExit((id, code, signal) => this.#onExit(id, code, signal));
  }

  /** Adopts what lives and starts what should. Resolves when every workload was told; starts go on in dependency order. */
  async boot(): Promise<void> {
    const { processes, bootId, specs } = this.#parts;
    const [found, order, adopted] = [await processes.find(), dependencyOrder(specs), new Set<string>()];
    const world: World = { bootId, now: this.#now(), lives: (instance) => processes.look(instance) !== "gone" };
    for (const name of order) {
      const instance = adoptable(this.state(name), found.get(name) ?? [], world);
      if (!instance) continue;
      this.#parts.spawned?.(name, instance, true);
      adopted.add(name);
      this.post(name, { is: "boot", bootId, found: instance });
    }
    this.#tick();
    // Before what takes its place is started, and nobody who lives waits for it.
    const strangers = [...new Set([...found.keys(), ...this.#stored.keys()])].filter((name) => !this.#actors.has(name));
    const removed = strangers.map((name) => ({ name, state: this.#stored.get(name), lives: found.has(name) }));
    await Promise.all(removed.map((one) => dismiss(this.#parts, one, this.#moment())));
    void this.#startRest(order, adopted);
  }

  /** How what this one depends on stands: a failure that began there is not its own. */
  needs(name: string): { readonly name: string; readonly stands: "well" | "recovering" | "down" | "stopped" }[] {
    return this.#actor(name).spec.dependsOn.map((need) => ({ name: need, stands: standsOf(this.state(need)) }));
  }

  #needsDown(actor: Actor): { readonly needsDown?: readonly string[] } {
    if (actor.spec.dependsOn.length === 0) return {};
    const down = this.needs(actor.spec.name).filter(({ stands }) => stands === "recovering" || stands === "down");
    return down.length > 0 ? { needsDown: down.map(({ name }) => name) } : {};
  }

  /** Starts what was not adopted; a workload waits until what it depends on has started, but never for ever. */
  async #startRest(order: readonly string[], adopted: ReadonlySet<string>): Promise<void> {
    const { bootId, guardedUntilWallMs } = this.#parts;
    const waits = new Map<string, readonly string[]>();
    for (const name of order) {
      if (adopted.has(name)) continue;
      const waitFor = this.spec(name).dependsOn.filter((need) => !adopted.has(need));
      if (waitFor.length > 0) waits.set(name, waitFor);
      this.post(name, { is: "boot", bootId, guardedUntilWallMs, ...(waitFor.length > 0 && { waitFor }) });
    }
    await letGoInOrder(this, order, waits);
  }

  /** Tells a workload what happened. Throws WORKLOAD_UNKNOWN. */
  post(name: string, event: Event): void {
    const actor = this.#actor(name);
    if (isRefused(this.#halt, event)) return;
    if (event.is === "boot") actor.told = true;
    if (actor.queue.length >= queueMax && (event.is === "beat" || event.is === "probed" || event.is === "look")) return;
    actor.queue.push(isOfLife(event) ? { event, of: this.#hands.lifeOf(actor) } : { event });
    void this.#drain(actor);
  }

  /**
   * Tells it and resolves when the answer is durable and its effects have begun. Rejects with STORE_WRITE_FAILED when it is not
   * durable, with CONDITION_FALSE when the supervisor was closed before, or goes down and is asked for a start.
   */
  tell(name: string, event: Event): Promise<void> {
    const actor = this.#actor(name);
    if (this.#closed) return Promise.reject(new Fault("CONDITION_FALSE", "the agent leaves"));
    if (isRefused(this.#halt, event))
      return Promise.reject(
        new Fault("CONDITION_FALSE", "the agent goes down: nothing is started before the next `up`"),
      );
    return new Promise((resolve, reject) => {
      actor.queue.push({ event, settled: (problem) => (problem ? reject(problem) : resolve()) });
      void this.#drain(actor);
    });
  }

  /**
   * From now on nothing is started, by nobody: who is on the way to a start is told `halt` at once, who runs when it would start
   * again; the rest is for whoever stops them in order. `undefined` takes a hold back; going down is for good.
   */
  startsNothing(halt: Halt | undefined): void {
    if (this.#halt?.is === "down") return;
    this.#halt = halt;
    if (halt) for (const [name, { state }] of this.#actors) if (isComing(state)) this.post(name, halt);
  }

  state(name: string): State {
    return this.#actor(name).state;
  }
  spec(name: string): WorkloadSpec {
    return this.#actor(name).spec;
  }
  names(): string[] {
    return [...this.#actors.keys()].sort();
  }
  status(name: string): WorkloadStatus {
    const actor = this.#actor(name);
    const { clock, known } = this.#parts;
    return statusOf(actor.spec, actor.state, clock.monotonicMs(), actor.startsAs, known?.(name));
  }
  statuses(): WorkloadStatus[] {
    return this.names().map((name) => this.status(name));
  }
  health(): NodeHealth {
    return nodeHealth([...this.#actors.values()]);
  }
  /** The worst lateness of the agent's own tick since the last call. */
  takeWorstLagMs(): number {
    const worst = this.#worstLagMs;
    this.#worstLagMs = 0;
    return worst;
  }
  /** What people must know of its writing: a disk that does not answer; undefined when all is well. */
  trouble(): string | undefined {
    return this.#recorder.trouble();
  }
  /** Names in the order in which they may be stopped: what depends on others first. */
  stopOrder(): string[] {
    return dependencyOrder(this.#parts.specs).reverse();
  }

  /** Stops looking. Processes go on. */
  close(): void {
    this.#closed = true;
    this.#recorder.close();
    this.#hands.close();
    this.#cancelTick?.();
    const gone = new Fault("CONDITION_FALSE", "the agent leaves");
    for (const actor of this.#actors.values()) {
      actor.cancelLook?.();
      for (const { settled } of actor.queue.splice(0)) settled?.(gone);
      for (const waiter of actor.waiters.splice(0)) waiter();
    }
    this.#parts.processes.close();
  }

  #actor(name: string): Actor {
    const actor = this.#actors.get(name);
    if (!actor) throw new Fault("WORKLOAD_UNKNOWN", `there is no workload '${name}'`);
    return actor;
  }

  // ── one event at a time ────────────────────────────────────────────────────────────────────────────────────────────

  async #drain(actor: Actor): Promise<void> {
    if (actor.running) return;
    actor.running = true;
    try {
      for (let next = actor.queue.shift(); next && !this.#closed; next = actor.queue.shift()) {
        // The last beat of a process that is gone is none of its successor's.
        if (next.of !== undefined && next.of !== this.#hands.lifeOf(actor)) continue;
        const halt = this.#halt;
        if (halt && haltsBefore(halt, actor.spec, actor.state, next.event, this.#moment()))
          await this.#apply(actor, halt, undefined);
        await this.#apply(actor, next.event, next.settled);
      }
    } finally {
      actor.running = false;
    }
  }

  async #apply(actor: Actor, event: Event, settled: ((problem?: Fault) => void) | undefined): Promise<void> {
    this.#forgiveOwnAbsence();
    const now = this.#moment();
    const before = actor.state;
    const result = step(actor.spec, before, event, now);
    actor.state = result.state;
    const matters = isKept(before, result);
    if (matters) {
      const kept = this.#recorder.save(actor, event, before, result, now);
      await kept.mayAct;
      // What was closed meanwhile acts no more: the next agent finds the state, and goes on from it.
      if (!this.#closed) await this.#hands.run(actor, result.effects);
      for (const effect of result.effects) if (effect.do === "incident") this.#told(actor, effect.facts);
      if (settled) void kept.answer().then(settled);
    } else settled?.();
    if (!this.#closed) {
      this.#watch(actor);
      this.#scheduleLook(actor);
      if (matters) this.#parts.changed();
    }
    if (matters) for (const waiter of actor.waiters.splice(0)) waiter();
    if (maySettleWaits(before, result.state, event))
      for (const name of wokenBy(this.#actors.values())) this.post(name, { is: "rootWell" });
  }

  /** Whoever hears of incidents may be wrong; the supervision goes on. */
  #told(actor: Actor, facts: IncidentFacts): void {
    const { name } = actor.spec;
    try {
      this.#parts.incident?.(name, facts, actor.state);
    } catch (error) {
      this.#parts.log(
        "error",
        { workload: name, incident: facts.id },
        `it was not told to everybody: ${String(error)}`,
      );
    }
  }

  /** Nothing is written for that alone: it goes down with the next step, and an agent that never came to it will act again. */
  #acts(actor: Actor): void {
    actor.state = step(actor.spec, actor.state, { is: "acted" }, { ...this.#now(), id: "" }).state;
  }

  #onExit(id: string, code: number | null, signal: string | null): void {
    for (const actor of this.#actors.values())
      if (this.#hands.lifeOf(actor) === id)
        this.post(actor.spec.name, { is: "exited", id, code, signal, ...this.#needsDown(actor) });
  }

  /** Beats and probes are taken while an instance lives, and no longer. */
  #watch(actor: Actor): void {
    const { phase, incident } = actor.state;
    const runs = incident ? tightened : (spec: WorkloadSpec) => spec;
    const as = phase.at === "starting" ? starting : phase.at === "running" ? runs : undefined;
    const wanted = as?.(actor.spec);
    if (wanted === actor.watched) return;
    if (wanted) this.#parts.signs.watch(wanted);
    else this.#parts.signs.unwatch(actor.spec.name);
    actor.watched = wanted;
  }

  // ── time ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  #scheduleLook(actor: Actor): void {
    const atMs = nextLookMs(actor.spec, actor.state);
    if (atMs === undefined) return;
    // Beats move the deadline on each time; the earlier wake finds nothing due and sets the next one.
    if (actor.cancelLook && actor.lookAtMs <= atMs) return;
    actor.cancelLook?.();
    actor.lookAtMs = atMs;
    actor.cancelLook = this.#parts.clock.wakeAt(atMs, () => {
      actor.cancelLook = undefined;
      actor.lookAtMs = Number.POSITIVE_INFINITY;
      if (!this.#closed) this.post(actor.spec.name, { is: "look" });
    });
  }

  #tick(): void {
    if (this.#closed) return;
    this.#forgiveOwnAbsence();
    const nowMs = this.#parts.clock.monotonicMs();
    this.#lastTickMs = nowMs;
    this.#ownTime.mark();
    const adopted = [...this.#actors.values()].flatMap(({ state }) => adoptedIn(state) ?? []);
    if (this.#parts.processes.mayHaveEnded(adopted) || nowMs + earlyMs >= this.#next.checkMs) {
      this.#next.checkMs = nextRound(nowMs, checkEveryMs);
      this.#lookAround();
    }
    if (nowMs + earlyMs >= this.#next.rotateMs) {
      this.#next.rotateMs = nextRound(nowMs, rotateEveryMs);
      for (const { spec } of this.#actors.values()) void this.#parts.processes.rotate(spec);
    }
    this.#tickDueMs = nextRound(nowMs, adopted.length > 0 ? adoptedEveryMs : tickEveryMs);
    this.#cancelTick = this.#parts.clock.wakeAt(this.#tickDueMs, () => this.#tick());
  }

  #lookAround(): void {
    const mayBe = this.#parts.processes.mayBeStopped();
    for (const one of this.#actors.values())
      if (mayBe || adoptedIn(one.state) || one.state.evidence.stoppedSinceMs !== undefined) this.#lookAt(one);
  }

  #lookAt(actor: Actor): void {
    const instance = instanceOf(actor.state.phase);
    if (!instance || !actor.told) return;
    const sight = this.#parts.processes.look(instance);
    if (sight === "gone" && instance.adopted)
      this.post(actor.spec.name, { is: "vanished", id: instance.id, ...this.#needsDown(actor) });
    if (sight === "stopped" || actor.state.evidence.stoppedSinceMs !== undefined)
      this.post(actor.spec.name, { is: "seen", stopped: sight === "stopped" });
  }

  /** Before anybody is judged: was I away? Then every deadline of judgement moves by that time. */
  #forgiveOwnAbsence(): void {
    const nowMs = this.#parts.clock.monotonicMs();
    this.#worstLagMs = Math.max(this.#worstLagMs, nowMs - this.#tickDueMs);
    // It may have begun right after the last tick, however far the next one was.
    const awayMs = nowMs - this.#lastTickMs - adoptedEveryMs;
    if (awayMs < lateMs) return;
    const pausedMs = this.#ownTime.pausedOf(awayMs);
    this.#lastTickMs = nowMs;
    this.#tickDueMs = nowMs + adoptedEveryMs;
    const away = { awayMs: Math.round(awayMs), pausedMs: Math.round(pausedMs) };
    this.#parts.log("warn", away, "the agent was away; deadlines of judgement move by that time");
    for (const actor of this.#actors.values())
      actor.state = step(actor.spec, actor.state, { is: "late", byMs: awayMs }, this.#moment()).state;
    this.#parts.late?.(awayMs, pausedMs);
  }

  #moment(): Moment {
    const now = this.#now();
    return { ...now, id: uuid7(now.wallMs, this.#parts.random) };
  }
  #now() {
    const { clock } = this.#parts;
    return { ms: clock.monotonicMs(), wallMs: clock.wallMs() };
  }

  /** Resolves when the state satisfies `holds`, at the latest after `limitMs`; true when it does. */
  until(name: string, holds: (state: State) => boolean, limitMs: number): Promise<boolean> {
    const actor = this.#actor(name);
    const { clock } = this.#parts;
    return new Promise((resolve) => {
      let over = false;
      const answer = () => {
        over = true;
        resolve(holds(actor.state));
      };
      const cancel = clock.wakeAt(clock.monotonicMs() + limitMs, answer);
      const check = () => {
        // Who has been answered waits no more: a workload that never gets well would gather them.
        if (over) return;
        if (this.#closed || holds(actor.state)) {
          cancel();
          answer();
        } else actor.waiters.push(check);
      };
      check();
    });
  }
}

/** Opens the supervisor over what the store remembers. */
export async function superviseAll(parts: SupervisorParts): Promise<Supervisor> {
  const stored = await parts.store.workloads();
  return new Supervisor(parts, new Map(stored.map(({ name, state }) => [name, remembered(state as State)])));
}
