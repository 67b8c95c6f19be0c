/** What the agent sees of a story's world: figures of the machine and its workloads, beats, probes, meta-health. */
import type { MetaSpec } from "@blueflame/agent/config/sections.ts";
import { type MetaHealth, metaHealth } from "@blueflame/agent/meta/meta-health.ts";
import { standsOf } from "@blueflame/agent/supervise/stands.ts";
import type { Figures, Observation } from "@blueflame/agent/triggers/observation.ts";
import type { Actor } from "./node-parts.ts";
import type { NodeWorld } from "./node-world.ts";

/** Senses of one world. */
export class Senses {
  readonly #world: NodeWorld;
  /** Absent: no meta-health is computed. */
  metaSpec: MetaSpec | undefined;
  meta: MetaHealth | undefined;
  /** Age of the data of a source at a moment; it grows from then on. */
  readonly sources = new Map<string, { readonly ageMs: number; readonly atMs: number }>();
  /** HOST:PORT that refuse, and rules that are broken. */
  readonly refusing = new Set<string>();
  readonly broken = new Set<string>();
  readonly lateJobs: Record<string, number> = {};
  stranger = "";
  latest: Observation | undefined;

  constructor(world: NodeWorld) {
    this.#world = world;
  }

  figuresOf(name: string): Figures {
    return this.latest?.workloads[name] ?? {};
  }

  /** A process of it was started: nothing is known of it yet. */
  born(name: string): void {
    if (!this.latest) return;
    const { [name]: _before, ...workloads } = this.latest.workloads;
    this.latest = { ...this.latest, workloads };
  }

  observe(): Observation {
    const { node, actors, clock } = this.#world;
    const nowMs = clock.monotonicMs();
    const workloads: Record<string, Figures> = {};
    for (const [name, { instance, state, figures, spec }] of actors) {
      if (!instance) continue;
      const { lastBeatMs } = state.evidence;
      workloads[name] = {
        trust: this.#world.trust(name).trust,
        ...figures,
        uptime_ms: nowMs - instance.sinceMs,
        ...(lastBeatMs !== undefined && { beat_age_ms: nowMs - lastBeatMs }),
        ...(spec.beat && { beat_timeout_ms: spec.beat.timeoutMs }),
      };
    }
    const stale = (this.metaSpec?.sources ?? []).filter(({ name, staleMs }) => (this.#ageOf(name) ?? 0) > staleMs);
    this.latest = {
      node: { ...node },
      workloads,
      lateJobs: { ...this.lateJobs },
      staleSources: stale.map(({ name, external, workload }) => ({
        name,
        external,
        workload,
        ageMs: this.#ageOf(name) ?? 0,
      })),
      heaviestStranger: this.stranger,
    };
    return this.latest;
  }

  /** M1 to M5 as the agent computes them, from what stands in this world. */
  computeMeta(): MetaHealth | undefined {
    const { actors, clock } = this.#world;
    const spec = this.metaSpec;
    if (!spec) return undefined;
    const nowMs = clock.monotonicMs();
    const workloads = [...actors].map(([name, { instance, state, spec: own }]) => {
      const { lastBeatMs } = state.evidence;
      const beatAgeMs = own.beat && instance ? nowMs - (lastBeatMs ?? instance.sinceMs) : undefined;
      const stopped = standsOf(state) === "stopped" || state.phase.at === "completed";
      return [
        name,
        {
          alive: instance !== undefined,
          stopped,
          ...(beatAgeMs !== undefined && { beatAgeMs }),
          ...(own.beat && { beatTimeoutMs: own.beat.timeoutMs }),
        },
      ] as const;
    });
    const part = (isBroken: boolean, because: string) => ({
      value: isBroken ? 0 : 1,
      because: isBroken ? because : "",
    });
    this.meta = metaHealth(
      spec,
      {
        workloads: Object.fromEntries(workloads),
        sources: Object.fromEntries(
          [...this.sources.keys()].map((name) => [name, { ageMs: this.#ageOf(name) ?? 0, because: "" }]),
        ),
        ports: Object.fromEntries(
          spec.ports
            .map(({ host, port }) => `${host}:${port}`)
            .map((name) => [name, part(this.refusing.has(name), "it refuses")]),
        ),
        rules: Object.fromEntries(
          spec.coherence.map(({ name }) => [name, part(this.broken.has(name), "its data breaks the rule")]),
        ),
      },
      clock.wallMs(),
    );
    return this.meta;
  }

  /** Beats and answers of probes, as they come in each second; what is stopped gives none. */
  signs(): void {
    const world = this.#world;
    for (const [name, actor] of world.actors) {
      if (!actor.instance) continue;
      if (actor.stopped || actor.state.evidence.stoppedSinceMs !== undefined)
        world.tell(name, { is: "seen", stopped: actor.stopped });
      if (actor.stopped) continue;
      if (actor.beating && isDue(actor, world.clock.monotonicMs()))
        world.tell(name, { is: "beat", ready: true, status: "" });
      for (const { name: probe } of actor.spec.probes)
        world.tell(name, { is: "probed", probe, ok: actor.probing, because: actor.probing ? "answered" : "no answer" });
    }
  }

  #ageOf(name: string): number | undefined {
    const source = this.sources.get(name);
    return source && source.ageMs + this.#world.clock.monotonicMs() - source.atMs;
  }
}

function isDue({ beatEveryMs, state }: Actor, nowMs: number): boolean {
  return beatEveryMs !== undefined && nowMs >= (state.evidence.lastBeatMs ?? Number.NEGATIVE_INFINITY) + beatEveryMs;
}
