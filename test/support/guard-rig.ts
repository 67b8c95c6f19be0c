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
  lookedMs: number;
  guards: boolean;
}

/** The shell of one who guards, on virtual time: processes that are started, killed, hang and speak. */
export class GuardRig {
  readonly clock = new VirtualClock(1_000_000);
  readonly runner: Runner;
  /** What was done, each with its second: `0.0 spawn current`. */
  readonly did: string[] = [];
  readonly lives = new Map<number, Life>();
  /** Whether the next starts work, one answer each; then all do. `mute`: it lives and says nothing; `wakes`: it says for 20 s that it starts. */
  starts: ("well" | "fails" | "dies" | "quiet" | "mute" | "wakes")[] = [];
  emergencies: boolean[] = [];
  /** Processes that survive SIGKILL. */
  immortal = new Set<number>();
  tends = 0;
  /** When it was looked at. */
  readonly looksMs: number[] = [];
  /** How often who guards was woken by the clock. */
  wakes = 0;
  readonly #beginMs: number;
  readonly #beatEveryMs: number;
  #nextPid = 100;

  constructor(policy: GuardPolicy, options: { rests?: Farewell; beatEveryMs?: number; chance?: () => number } = {}) {
    this.#beginMs = this.clock.monotonicMs();
    this.#beatEveryMs = options.beatEveryMs ?? 1000;
    const chance = options.chance ?? (() => 0.5);
    this.runner = new Runner(
      () => policy,
      {
        nowMs: () => this.clock.monotonicMs(),
        chance,
        wakeAt: (atMs, wake): Cancel =>
          this.clock.wakeAt(atMs, () => {
            this.wakes++;
            wake();
          }),
        look: (process) => this.#look(process),
        perform: (effect) => this.#perform(effect),
      },
      options.rests,
    );
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
    if (effect.do === "tend") {
      this.tends += 1;
      return;
    }
    const seconds = ((this.clock.monotonicMs() - this.#beginMs) / 1000).toFixed(1);
    this.did.push(`${seconds} ${words(effect)}`);
    if (effect.do === "spawn") this.#spawn();
    if (effect.do === "signal") this.#signal(effect.process.pid, effect.signal);
    if (effect.do === "emergency") {
      const ok = this.emergencies.shift() ?? true;
      this.#soon(1000, () => this.runner.post({ is: "emergencyEnded", ok, because: "rehearsed" }));
    }
  }

  #spawn(): void {
    const how = this.starts.shift() ?? "well";
    if (how === "fails") {
      this.#soon(0, () => this.runner.post({ is: "spawnFailed", because: "ENOENT" }));
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
    if (!life || (signal !== "SIGKILL" && life.sight !== "running")) return;
    this.lives.delete(pid);
    this.#soon(5, () => this.runner.post({ is: "looked", process: life.process, sight: "gone" }));
  }

  #soon(ms: number, run: () => void): void {
    this.clock.wakeAt(this.clock.monotonicMs() + ms, run);
  }
}

function words(effect: Exclude<Effect, { do: "look" | "note" }>): string {
  if (effect.do === "spawn" || effect.do === "emergency") return `${effect.do} ${effect.program}`;
  return effect.do === "signal" ? `${effect.signal} ${effect.process.pid}` : effect.do;
}
