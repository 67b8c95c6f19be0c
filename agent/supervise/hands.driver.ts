import type { Actor, SupervisorParts } from "./parts.ts";
import { policyJson } from "./recorder.driver.ts";
import { fingerprint, inSafeMode } from "./start-spec.ts";
import type { Effect, Event, Instance } from "./state.ts";

/** Does what a workload's machine has decided. An answer goes before what was queued meanwhile: nobody sees a start half done. */
export class Hands {
  readonly #parts: SupervisorParts;
  readonly #post: (workload: string, event: Event) => void;

  /** `post` takes the answers of what takes long. */
  constructor(parts: SupervisorParts, post: (workload: string, event: Event) => void) {
    this.#parts = parts;
    this.#post = post;
  }

  /** Resolves when all has been done or has begun. */
  async run(actor: Actor, effects: readonly Effect[]): Promise<void> {
    const { processes, remedies } = this.#parts;
    for (const effect of effects) {
      if (effect.do === "signal") processes.signal(effect.instance, effect.signal);
      if (effect.do === "spawn") this.#spawn(actor, effect.id, effect.safe === true);
      if (effect.do === "examine") {
        actor.queue.unshift({ event: { is: "examined", facts: await remedies.examine(actor.spec.name) } });
      }
      if (effect.do === "remedy") void this.#remedy(actor, effect);
      if (effect.do === "cancelRemedy") remedies.cancel(effect.id);
      if (effect.do === "clean") {
        const cleaned = await processes.clean(actor.spec, effect.last);
        const answer: Event = cleaned.ok
          ? { is: "cleaned", killed: cleaned.killed, removed: cleaned.removed, tookMs: cleaned.tookMs }
          : { is: "cleanFailed", because: cleaned.because };
        actor.queue.unshift({ event: answer });
      }
    }
  }

  /** Not awaited: it may take hours, and whoever runs is judged meanwhile. Its answer is an event like any other. */
  async #remedy(actor: Actor, effect: Extract<Effect, { do: "remedy" }>): Promise<void> {
    const { remedies } = this.#parts;
    const { id, remedy, budgetMs } = effect;
    const request = { id, workload: actor.spec.name, incidentId: actor.state.incident?.id ?? "", budgetMs };
    const asked =
      remedy.by === "rung"
        ? remedies.prepare({ ...request, rung: remedy.rung })
        : remedies.play({ ...request, playbook: remedy.playbook });
    const result = await asked.catch((error: unknown) => ({ ok: false, because: `it broke off: ${String(error)}` }));
    this.#takeSpec(actor);
    this.#post(actor.spec.name, { is: "remedied", id, ...result });
  }

  /** After a rollback the next instance is another version's. */
  #takeSpec(actor: Actor): void {
    const spec = this.#parts.remedies.specInUse(actor.spec.name);
    if (spec === actor.spec) return;
    actor.spec = spec;
    actor.policyJson = policyJson(spec);
    actor.startsAs = fingerprint(spec);
  }

  #spawn(actor: Actor, id: string, safe: boolean): void {
    const { processes, clock, envFor } = this.#parts;
    // A person's playbook, or a bad config that came again, may have rolled it back beside the machine.
    this.#takeSpec(actor);
    const spec = safe ? inSafeMode(actor.spec) : actor.spec;
    const spawned = processes.spawn({ spec, id, env: envFor(spec.name) });
    if ("failed" in spawned) {
      actor.queue.unshift({ event: { is: "spawnFailed", because: spawned.failed } });
      return;
    }
    const instance: Instance = {
      id,
      ...spawned,
      sinceMs: clock.monotonicMs(),
      sinceWallMs: clock.wallMs(),
      adopted: false,
      startedAs: actor.startsAs,
    };
    this.#parts.spawned?.(actor.spec.name, instance, false);
    actor.queue.unshift({ event: { is: "spawned", instance } });
  }
}
