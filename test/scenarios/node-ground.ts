/** The ground on which a story's node stands: processes that start, fail and end, whoever guards them; time; what is wrong with them. */
import type { WorkloadSpec } from "@blueflame/agent/supervise/spec.ts";
import { standsOf } from "@blueflame/agent/supervise/stands.ts";
import { type Event, fresh } from "@blueflame/agent/supervise/state.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { type Actor, type Manner, type Pace, type Seen, usually } from "./node-parts.ts";

/** What the world does by itself. The agent is told of it, if one lives. */
export abstract class Ground {
  readonly clock: VirtualClock;
  readonly pace: Pace;
  readonly see: (seen: Seen) => void;
  readonly actors = new Map<string, Actor>();
  readonly node: Record<string, number> = {
    cpu_busy_ratio: 0.1,
    memory_used_ratio: 0.3,
    disk_used_ratio: 0.4,
    ours_cpu_ratio: 0.05,
    ours_memory_ratio: 0.1,
  };
  readonly manners = new Map<string, Manner>();
  bootId = "boot-1";
  /** Effects of an agent that has died are nobody's any more. */
  protected life = 0;
  #pids = 100;
  #ids = 0;
  #faults: { readonly until: readonly string[]; readonly mend: () => void }[] = [];

  constructor(see: (seen: Seen) => void, clock: VirtualClock = new VirtualClock(0), pace: Pace = usually) {
    this.see = see;
    this.clock = clock;
    this.pace = pace;
  }

  /** Something happened to a workload. */
  abstract tell(name: string, event: Event): void;

  /** `beatEveryMs`: 0 is with each look at it; without, it beats so when its spec expects beats. */
  add(spec: WorkloadSpec, leans = false, beatEveryMs: number | undefined = spec.beat && 0): void {
    const state = fresh(this.bootId, 7 + this.actors.size);
    this.actors.set(spec.name, {
      spec,
      state,
      kept: state,
      instance: undefined,
      ailment: undefined,
      beating: true,
      ...(beatEveryMs !== undefined && { beatEveryMs }),
      probing: true,
      stopped: false,
      leans,
      config: { version: "v1", healthy: [] },
      facts: { hints: [], exhausted: [], externalStale: [] },
      figures: { p95_latency_ms: 100, error_rate: 0 },
      told: false,
    });
  }

  actor(name: string): Actor {
    const found = this.actors.get(name);
    if (!found) throw new Error(`a story speaks of '${name}' before it names the workload`);
    return found;
  }

  // ── processes ──────────────────────────────────────────────────────────────────────────────────────────────────────

  protected spawn(name: string, actor: Actor, id: string, safe: boolean): void {
    const nowMs = this.clock.monotonicMs();
    const instance = { id, pid: this.#pids++, startTicks: nowMs, sinceMs: nowMs, sinceWallMs: nowMs, adopted: false };
    this.see({ is: "process", workload: name, at: "born" });
    actor.instance = instance;
    actor.stopped = false;
    if (safe) this.fixed(name, "safe_mode");
    this.fixed(name, "restart");
    if (actor.ailment?.starts !== undefined && actor.ailment.starts-- <= 0) actor.ailment = undefined;
    const { ailment } = actor;
    const silent = ailment !== undefined && ailment.how !== "late";
    actor.beating = !silent;
    actor.probing = !silent;
    this.soon(this.pace("spawn"), () => this.tell(name, { is: "spawned", instance }));
    const ends = (ms: number, code: number) =>
      this.later(ms, () => {
        if (actor.instance?.id === id) this.exit(name, code);
      });
    if (ailment?.how === "exit") ends(this.pace("exit"), ailment.code);
    if (ailment?.how === "late") ends(ailment.afterMs, ailment.code);
    if (ailment?.how === "slow")
      this.later(ailment.afterMs, () => {
        if (actor.instance?.id === id) Object.assign(actor, { beating: true, probing: true });
      });
    if (actor.leans && actor.spec.dependsOn.some((need) => this.#isMissing(this.actor(need))))
      ends(this.pace("lean"), 1);
  }

  /** Its process ends, whether an agent lives to see it or not. */
  exit(name: string, code: number, signal: string | null = null): void {
    const actor = this.actor(name);
    const { instance } = actor;
    if (!instance) return;
    this.gone(name, actor);
    const { id, adopted } = instance;
    const needs = (): { needsDown?: string[] } => {
      const down = actor.spec.dependsOn.filter((need) =>
        ["recovering", "down"].includes(standsOf(this.actor(need).state)),
      );
      return down.length > 0 ? { needsDown: down } : {};
    };
    if (adopted) this.soon(this.pace("vanish"), () => this.tell(name, { is: "vanished", id, ...needs() }));
    else
      this.#hear(name, id, () => this.tell(name, { is: "exited", id, code: signal ? null : code, signal, ...needs() }));
  }

  /** What a process has come to is never heard before that it was started. */
  #hear(name: string, id: string, tell: () => void): void {
    const { phase } = this.actor(name).state;
    if (phase.at === "spawning" && phase.id === id) this.soon(1, () => this.#hear(name, id, tell));
    else tell();
  }

  protected gone(name: string, actor: Actor): void {
    actor.instance = undefined;
    this.see({ is: "process", workload: name, at: "dead" });
    for (const [other, one] of this.actors)
      if (one.leans && one.spec.dependsOn.includes(name) && one.instance) {
        const { id } = one.instance;
        this.later(this.pace("lean"), () => {
          if (this.#isMissing(actor) && one.instance?.id === id) this.exit(other, 1);
        });
      }
  }

  /** A job that has done its work is missed by nobody. */
  #isMissing({ instance, spec }: Actor): boolean {
    return instance === undefined && spec.restart === "always";
  }

  ail(name: string, ailment: NonNullable<Actor["ailment"]>): void {
    this.actor(name).ailment = ailment;
  }

  /** Something is wrong until one of the fixes was done: `FIX`, or `SUBJECT:FIX` with a workload or `node`. */
  fault(subject: string, until: readonly string[], mend: () => void): void {
    this.#faults.push({ until: until.map((fix) => (fix.includes(":") ? fix : `${subject}:${fix}`)), mend });
  }

  fixed(subject: string, fix: string): void {
    for (const [name, actor] of this.actors) {
      const until = actor.ailment?.until ?? [];
      if (until.includes(`${subject}:${fix}`) || (name === subject && until.includes(fix))) actor.ailment = undefined;
    }
    const over = this.#faults.filter(({ until }) => until.includes(`${subject}:${fix}`));
    this.#faults = this.#faults.filter((one) => !over.includes(one));
    for (const { mend } of over) mend();
  }

  // ── time ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  moment() {
    const ms = this.clock.monotonicMs();
    return { ms, wallMs: this.clock.wallMs(), id: `id-${String(this.#ids++).padStart(6, "0")}` };
  }
  /** An answer to what the agent asked; void when it has died meanwhile. */
  soon(ms: number, act: () => void): void {
    const life = this.life;
    this.later(ms, () => {
      if (life === this.life) act();
    });
  }
  /** Something of the world, whoever lives. */
  later(ms: number, act: () => void): void {
    this.clock.wakeAt(this.clock.monotonicMs() + ms, act);
  }
  protected repeat(firstMs: number, everyMs: number, act: () => void): void {
    this.soon(firstMs, () => {
      act();
      this.repeat(everyMs, everyMs, act);
    });
  }
}
