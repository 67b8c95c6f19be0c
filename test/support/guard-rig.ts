import type { GuardPolicy } from "@blueflame/agent/watchdog/policy.ts";
import { Runner } from "@blueflame/agent/watchdog/runner.ts";
import type { Effect, Farewell, Identity, Look, Sight } from "@blueflame/agent/watchdog/state.ts";
import type { Cancel } from "@blueflame/shared/time/clock.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";

/** What a process of the fake world does. */
interface Life {
  readonly process: Identity;
  /** It says something this often; 0: nothing. */
  beatEveryMs: number;
  sight: Sight;
  /** The share of its time that it waits for a processor: with 1 it says nothing. */
  starved: number;
  waitedMs: number;
  leaves: boolean;
  /** It has still to write down why it leaves. */
  writes: boolean;
  /** On its way down, by a person's word. */
  goes: boolean;
  lookedMs: number;
  guards: boolean;
}

/** The shell of one who guards, on virtual time: processes that are started, killed, hang and speak. */
export class GuardRig {
  readonly clock = new VirtualClock(1_000_000);
  /** The one that guards now. */
  runner: Runner;
  /** What was done, each with its second: `0.0 spawn current`. */
  readonly did: string[] = [];
  readonly lives = new Map<number, Life>();
  /** Whether the next starts work, one answer each; then all do. `mute`: it lives and says nothing; `wakes`: it says for 20 s that it starts. */
  starts: ("well" | "fails" | "dies" | "quiet" | "mute" | "wakes")[] = [];
  emergencies: (boolean | "later")[] = [];
  /** What `intent.json` says: one that we start leaves again when it has read a word. */
  kept: "down" | "stop" | undefined;
  /** Processes that survive SIGKILL. */
  immortal = new Set<number>();
  tends = 0;
  /** When it was looked at. */
  readonly looksMs: number[] = [];
  /** How often who guards was woken by the clock. */
  wakes = 0;
  readonly #beginMs: number;
  readonly #beatEveryMs: number;
  readonly #leaveMs: number;
  readonly #guarding: (rests: Farewell | undefined) => Runner;
  #nextPid = 100;

  /** `leaveMs`: one that guards needs so long to leave; 0: it is gone at once, and without a word. */
  constructor(
    policy: GuardPolicy,
    options: { rests?: Farewell; beatEveryMs?: number; leaveMs?: number; chance?: () => number } = {},
  ) {
    this.#beginMs = this.clock.monotonicMs();
    this.#beatEveryMs = options.beatEveryMs ?? 1000;
    this.#leaveMs = options.leaveMs ?? 0;
    const world = {
      nowMs: () => this.clock.monotonicMs(),
      chance: options.chance ?? (() => 0.5),
      wakeAt: (atMs: number, wake: () => void): Cancel =>
        this.clock.wakeAt(atMs, () => {
          this.wakes++;
          wake();
        }),
      look: (process: Identity) => this.#look(process),
      perform: (effect: Exclude<Effect, { do: "look" }>) => this.#perform(effect),
    };
    this.#guarding = (rests) => new Runner(() => policy, world, rests);
    this.runner = this.#guarding(options.rests);
  }

  /** Who guards was killed, and is started anew: it knows what is kept, and who lives. */
  guardedAnew(): void {
    this.runner.stop();
    this.runner = this.#guarding(this.kept);
    for (const life of this.lives.values()) {
      this.runner.post({ is: "seen", process: life.process, guards: true });
      if (this.kept) this.runner.post({ is: "ordered", to: "rest" });
      if (!life.goes) continue;
      this.goesDown(life);
      if (!this.kept) this.runner.post({ is: "ordered", to: "run" });
    }
  }

  /** A person's `down` has reached it. */
  goesDown(life = this.life()): void {
    life.goes = true;
    this.runner.post({ is: "word", process: life.process });
  }

  get at(): string {
    return this.runner.state.phase.at;
  }

  /** The guarded one's number. */
  get pid(): number {
    const { phase } = this.runner.state;
    return "process" in phase ? (phase.process?.pid ?? 0) : 0;
  }

  pass(ms: number): void {
    this.clock.advance(ms);
  }

  /** Somebody starts one, not we. */
  arrives(beatEveryMs = this.#beatEveryMs): Life {
    const life = this.#born("well", beatEveryMs);
    this.runner.post({ is: "seen", process: life.process, guards: true });
    return life;
  }

  life(pid = this.pid): Life {
    const life = this.lives.get(pid);
    if (!life) throw new Error(`no process ${pid}`);
    return life;
  }

  /** It ends; who guards hears of it at once, as by the end of its line. */
  crash(pid = this.pid): void {
    const { process } = this.life(pid);
    this.lives.delete(pid);
    this.runner.post({ is: "looked", process, sight: "gone" });
  }

  says(farewell: Farewell, pid = this.pid): void {
    this.runner.post({ is: "told", process: this.life(pid).process, farewell });
  }

  /** SIGTERM, or Ctrl-C. One that guards says that it leaves, writes it down a little later, and is gone after `leaveMs`. */
  terminate(pid = this.pid): void {
    const life = this.lives.get(pid);
    if (life?.sight !== "running") return;
    if (this.#leaveMs === 0 || !life.guards || life.beatEveryMs === 0) {
      if (this.#leaveMs > 0) this.says("stop", pid); // by the signal that its exit tells
      this.#ended(life);
      return;
    }
    this.leave("stop", pid);
    life.writes = true;
    this.#soon(this.#leaveMs / 2, () => {
      life.writes = false;
      if (this.lives.has(pid)) this.kept ??= "stop";
    });
  }

  /** It says that it leaves, and is gone after `leaveMs`. */
  leave(farewell: Farewell, pid = this.pid): void {
    const life = this.life(pid);
    this.says(farewell, pid);
    if (life.leaves) return;
    life.leaves = true;
    this.#soon(this.#leaveMs, () => {
      if (this.lives.has(pid)) this.crash(pid);
    });
  }

  /** How many live. */
  get alive(): number {
    return this.lives.size;
  }

  #born(how: "well" | "mute" | "wakes", beatEveryMs: number): Life {
    const pid = this.#nextPid++;
    const life: Life = {
      process: { pid, startTicks: pid * 10 },
      beatEveryMs: how === "mute" ? 0 : beatEveryMs,
      sight: "running",
      starved: 0,
      waitedMs: 0,
      leaves: false,
      writes: false,
      goes: false,
      lookedMs: this.clock.monotonicMs(),
      guards: how !== "wakes",
    };
    this.lives.set(pid, life);
    this.#speak(life);
    if (how === "wakes") this.#soon(20_000, () => (life.guards = true));
    return life;
  }

  #speak(life: Life): void {
    if (life.beatEveryMs === 0) return;
    this.clock.wakeAt(this.clock.monotonicMs() + life.beatEveryMs, () => {
      if (!this.lives.has(life.process.pid)) return;
      if (life.sight === "running" && life.starved < 1 && life.beatEveryMs > 0)
        this.runner.post({ is: "seen", process: life.process, guards: life.guards });
      this.#speak(life);
    });
  }

  #look({ pid, startTicks }: Identity): Look {
    this.looksMs.push(this.clock.monotonicMs());
    const life = this.lives.get(pid);
    if (!life || life.process.startTicks !== startTicks) return { sight: "gone" };
    const nowMs = this.clock.monotonicMs();
    life.waitedMs += life.starved * (nowMs - life.lookedMs);
    life.lookedMs = nowMs;
    return { sight: life.sight, waitedMs: life.waitedMs };
  }

  #perform(effect: Exclude<Effect, { do: "look" }>): void {
    if (effect.do === "note") return;
    if (effect.do === "clearWord") {
      this.kept = undefined;
      return;
    }
    if (effect.do === "tend") {
      this.tends += 1;
      return;
    }
    const seconds = ((this.clock.monotonicMs() - this.#beginMs) / 1000).toFixed(1);
    this.did.push(`${seconds} ${words(effect)}`);
    if (effect.do === "spawn") this.#spawn();
    if (effect.do === "signal") this.#signal(effect.process.pid, effect.signal);
    if (effect.do === "emergency") {
      const came = this.emergencies.shift() ?? true;
      const { runner } = this;
      this.#soon(1000, () =>
        runner.post({ is: "emergencyEnded", ok: came === true, later: came === "later", because: "rehearsed" }),
      );
    }
  }

  #spawn(): void {
    const how = this.kept ? "quiet" : (this.starts.shift() ?? "well");
    if (how === "fails") {
      const { runner } = this; // the one that has tried
      this.#soon(0, () => runner.post({ is: "spawnFailed", because: "ENOENT" }));
      return;
    }
    const life = this.#born(how === "mute" || how === "wakes" ? how : "well", this.#beatEveryMs);
    const { process } = life;
    this.runner.post({ is: "spawned", process });
    if (how !== "dies" && how !== "quiet") return;
    life.beatEveryMs = 0;
    this.#soon(100, () => {
      this.lives.delete(process.pid);
      this.runner.post({ is: "looked", process, sight: "gone", quiet: how === "quiet" });
    });
  }

  #signal(pid: number, signal: string): void {
    if (this.immortal.has(pid) && signal === "SIGKILL") return;
    const life = this.lives.get(pid);
    if (signal === "SIGTERM") this.terminate(pid);
    else if (life) this.#ended(life);
  }

  #ended(life: Life): void {
    this.lives.delete(life.process.pid);
    this.#soon(5, () => this.runner.post({ is: "looked", process: life.process, sight: "gone" }));
  }

  #soon(ms: number, run: () => void): void {
    this.clock.wakeAt(this.clock.monotonicMs() + ms, run);
  }
}

function words(effect: Exclude<Effect, { do: "look" | "note" | "clearWord" }>): string {
  if (effect.do === "spawn" || effect.do === "emergency") return `${effect.do} ${effect.program}`;
  return effect.do === "signal" ? `${effect.signal} ${effect.process.pid}` : effect.do;
}
