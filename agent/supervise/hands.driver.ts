import { askAgainMs, type RemedyResult } from "../remedies/ports.ts";
import type { Actor, SupervisorParts } from "./parts.ts";
import { policyJson } from "./recorder.driver.ts";
import { fingerprint, inSafeMode } from "./start-spec.ts";
import { type Effect, type Event, type Instance, instanceOf } from "./state.ts";
import { awaitsRemedy } from "./treatment.ts";

/** Who waits for a place in its pool looks again this often. */
const turnMs = 100;

/** Does what a workload's machine has decided. An answer goes before what was queued meanwhile: nobody sees a start half done. */
export class Hands {
  readonly #parts: SupervisorParts;
  readonly #others: (actor: Actor) => readonly Actor[];
  /** The start that was made for a workload last: until its machine has heard of it, it counts as on its way up. */
  readonly #begun = new WeakMap<Actor, string>();
  #closed = false;
  readonly #post: (workload: string, event: Event) => void;
  readonly #acts: (actor: Actor) => void;

  /** `post` takes the answers of what takes long, `acts` is told right before each deed; `others` gives all other workloads. */
  constructor(
    parts: SupervisorParts,
    post: (workload: string, event: Event) => void,
    acts: (actor: Actor) => void,
    others: (actor: Actor) => readonly Actor[],
  ) {
    this.#parts = parts;
    this.#others = others;
    this.#post = post;
    this.#acts = acts;
  }

  /** Resolves when all has been done or has begun. */
  async run(actor: Actor, effects: readonly Effect[]): Promise<void> {
    const { processes, remedies } = this.#parts;
    for (const effect of effects) {
      if (effect.do === "signal") {
        this.#acts(actor);
        processes.signal(effect.instance, effect.signal);
      }
      if (effect.do === "spawn") this.#spawnInTurn(actor, effect.id, effect.safe === true);
      if (effect.do === "examine") {
        actor.queue.unshift({ event: { is: "examined", facts: await remedies.examine(actor.spec.name) } });
      }
      if (effect.do === "remedy") void this.#remedy(actor, effect);
      if (effect.do === "cancelRemedy") remedies.cancel(effect.id);
      if (effect.do === "clean") {
        this.#acts(actor);
        const cleaned = await processes.clean(actor.spec, effect.last);
        const answer: Event = cleaned.ok
          ? { is: "cleaned", killed: cleaned.killed, removed: cleaned.removed, tookMs: cleaned.tookMs }
          : { is: "cleanFailed", because: cleaned.because };
        actor.queue.unshift({ event: answer });
      }
    }
  }

  /** Id of the instance that lives, or was just started and its machine has not heard of it; empty: none, and nothing tells of one. */
  lifeOf(actor: Actor): string {
    const { phase } = actor.state;
    return instanceOf(phase)?.id ?? (phase.at === "spawning" && this.#begun.get(actor) === phase.id ? phase.id : "");
  }

  /** Not awaited: it may take hours, and whoever runs is judged meanwhile. Its answer is an event like any other. */
  async #remedy(actor: Actor, effect: Extract<Effect, { do: "remedy" }>): Promise<void> {
    const { remedies } = this.#parts;
    const { id, remedy, budgetMs } = effect;
    const incidentId = actor.state.incident?.id ?? "";
    const request = { id, workload: actor.spec.name, incidentId, budgetMs, begun: () => this.#acts(actor) };
    const ask = () =>
      remedy.by === "rung"
        ? remedies.prepare({ ...request, rung: remedy.rung })
        : remedies.play({ ...request, playbook: remedy.playbook });
    for (;;) {
      const { turnedAway, ...result } = await ask().catch(
        (error: unknown): RemedyResult => ({ ok: false, because: `it broke off: ${String(error)}` }),
      );
      this.#takeSpec(actor);
      if (!turnedAway) return this.#post(actor.spec.name, { is: "remedied", id, ...result });
      // Nothing was tried, so nothing has failed: it has its turn when the others have had theirs.
      await this.#pause(askAgainMs);
      if (this.#closed || !awaitsRemedy(actor.state, id)) return;
    }
  }

  #pause(ms: number): Promise<void> {
    const { clock } = this.#parts;
    return new Promise((resolve) => void clock.wakeAt(clock.monotonicMs() + ms, resolve));
  }

  /** After a rollback the next instance is another version's. */
  #takeSpec(actor: Actor): void {
    const spec = this.#parts.remedies.specInUse(actor.spec.name);
    if (spec === actor.spec) return;
    actor.spec = spec;
    actor.policyJson = policyJson(spec);
    actor.startsAs = fingerprint(spec);
  }

  /** Starts nothing any more. */
  close(): void {
    this.#closed = true;
  }

  /** A recovery can never start a process explosion: whose pool is full waits until another one of it is up. */
  #spawnInTurn(actor: Actor, id: string, safe: boolean): void {
    if (this.#hasTurn(actor)) {
      actor.queue.unshift({ event: this.#spawn(actor, id, safe) });
      return;
    }
    const { clock } = this.#parts;
    const again = () => {
      const { phase } = actor.state;
      // A person or the kill switch was faster, or the agent leaves: the next one starts it.
      if (this.#closed || phase.at !== "spawning" || phase.id !== id) return;
      if (this.#hasTurn(actor)) this.#post(actor.spec.name, this.#spawn(actor, id, safe));
      else clock.wakeAt(clock.monotonicMs() + turnMs, again);
    };
    clock.wakeAt(clock.monotonicMs() + turnMs, again);
  }

  #hasTurn(actor: Actor): boolean {
    const { pool } = actor.spec;
    const max = pool === "" ? undefined : this.#parts.pools?.[pool];
    if (max === undefined) return true;
    const climbing = this.#others(actor).filter((one) => one.spec.pool === pool && this.#climbs(one));
    return climbing.length < max;
  }

  #climbs(one: Actor): boolean {
    const { phase } = one.state;
    return phase.at === "starting" || (phase.at === "spawning" && this.#begun.get(one) === phase.id);
  }

  #spawn(actor: Actor, id: string, safe: boolean): Event {
    const { processes, clock, envFor } = this.#parts;
    // A person's playbook, or a bad config that came again, may have rolled it back beside the machine.
    this.#takeSpec(actor);
    const spec = safe ? inSafeMode(actor.spec) : actor.spec;
    this.#begun.set(actor, id);
    this.#acts(actor);
    const spawned = processes.spawn({ spec, id, env: envFor(spec.name) });
    if ("failed" in spawned) return { is: "spawnFailed", because: spawned.failed };
    const instance: Instance = {
      id,
      ...spawned,
      sinceMs: clock.monotonicMs(),
      sinceWallMs: clock.wallMs(),
      adopted: false,
      startedAs: actor.startsAs,
    };
    this.#parts.spawned?.(actor.spec.name, instance, false);
    return { is: "spawned", instance };
  }
}
