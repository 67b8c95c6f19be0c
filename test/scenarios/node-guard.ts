/** Watchdog and agent of a story's node guard each other: the real machine on both sides, over processes of this world. */
import { begin, step, wakeMs } from "@blueflame/agent/watchdog/machine.ts";
import { agentPolicy, type GuardPolicy, watchdogPolicy } from "@blueflame/agent/watchdog/policy.ts";
import { type Effect, type Event, type Identity, type State, same } from "@blueflame/agent/watchdog/state.ts";
import { emergency } from "./node-emergency.ts";
import type { NodeWorld } from "./node-world.ts";

const beatMs = 1000;

/** One of the two processes. */
interface Side {
  process: Identity | undefined;
  /** It has said its first word. */
  awake: boolean;
  hung: boolean;
  /** Lives while its owner does. */
  guard: State | undefined;
  /** Its guard is the parent of the other, and hears of its end at once. */
  parent: boolean;
}

type Name = "watchdog" | "agent";

/** The two of one node. */
export class Guards {
  readonly #world: NodeWorld;
  readonly #sides: Readonly<Record<Name, Side>> = {
    watchdog: { process: undefined, awake: false, hung: false, guard: undefined, parent: false },
    agent: { process: undefined, awake: false, hung: false, guard: undefined, parent: false },
  };
  #pids = 10;

  constructor(world: NodeWorld) {
    this.#world = world;
    world.onAgentDeath = () => this.#ended("agent");
  }

  lives(name: Name): "answers" | "silent" | "dead" {
    const { process, awake, hung } = this.#sides[name];
    return !process ? "dead" : awake && !hung ? "answers" : "silent";
  }

  /** Starts one of the two; the other follows. */
  start(name: Name): void {
    this.#spawn(name);
  }
  kill(name: Name): void {
    const side = this.#sides[name];
    if (!side.process) return;
    if (name === "agent" && !side.hung) this.#world.killAgent();
    else this.#ended(name);
  }
  /** It lives and does nothing more. */
  hang(name: Name): void {
    if (name === "agent") {
      const { process } = this.#sides.agent;
      this.#world.onAgentDeath = () => undefined;
      this.#world.killAgent();
      this.#world.onAgentDeath = () => this.#ended("agent");
      this.#sides.agent.process = process;
    }
    this.#sides[name].hung = true;
    this.#sides[name].guard = undefined;
  }
  /** The machine has lost its power. */
  reboots(): void {
    for (const side of Object.values(this.#sides)) Object.assign(side, { process: undefined, guard: undefined });
  }

  #spawn(name: Name): void {
    const world = this.#world;
    const side = this.#sides[name];
    if (side.process) return;
    const process: Identity = { pid: this.#pids++, startTicks: world.clock.monotonicMs() };
    side.process = process;
    Object.assign(side, { awake: false, hung: false });
    if (name === "watchdog") world.see({ is: "life", who: "watchdog", what: "starts" });
    world.later(world.pace("wake"), () => {
      if (!same(side.process, process)) return;
      side.awake = true;
      if (name === "agent") world.startAgent();
      this.#beat(name, process);
      side.guard = begin(policyOf(name), undefined, this.#now());
      const other = this.#sides[otherOf(name)];
      if (other.process) this.#tell(name, { is: "seen", process: other.process, guards: true });
      this.#sleep(name);
    });
  }

  #beat(name: Name, process: Identity): void {
    const side = this.#sides[name];
    if (!same(side.process, process) || side.hung) return;
    this.#tell(otherOf(name), { is: "seen", process, guards: true });
    this.#world.later(beatMs, () => this.#beat(name, process));
  }

  #ended(name: Name): void {
    const side = this.#sides[name];
    const { process } = side;
    Object.assign(side, { process: undefined, guard: undefined, hung: false });
    if (!process) return;
    if (name === "watchdog") this.#world.see({ is: "life", who: "watchdog", what: "dies" });
    const other = otherOf(name);
    if (this.#sides[other].parent)
      this.#world.later(1, () => this.#tell(other, { is: "looked", process, sight: "gone" }));
  }

  #tell(name: Name, event: Event): void {
    const side = this.#sides[name];
    if (!side.guard || side.hung) return;
    const { state, effects } = step(policyOf(name), side.guard, event, this.#now());
    side.guard = state;
    for (const effect of effects) this.#act(name, effect);
    this.#sleep(name);
  }

  #act(name: Name, effect: Effect): void {
    const world = this.#world;
    const other = otherOf(name);
    switch (effect.do) {
      case "look": {
        const { process } = effect;
        const lives = () => same(this.#sides[other].process, process);
        world.later(1, () => this.#tell(name, { is: "looked", process, sight: lives() ? "running" : "gone" }));
        break;
      }
      case "spawn": {
        this.#spawn(other);
        this.#sides[name].parent = true;
        const { process } = this.#sides[other];
        if (process) world.later(1, () => this.#tell(name, { is: "spawned", process }));
        break;
      }
      case "signal":
        this.kill(other);
        break;
      case "emergency":
        emergency(world, this, "", (because) => this.#tell(name, { is: "emergencyEnded", ok: true, because }));
        break;
      case "note":
        if (effect.from !== effect.to) world.see({ is: "life", who: name, what: `judges: ${effect.because}` });
        break;
      default:
        break;
    }
  }

  #sleep(name: Name): void {
    const { guard } = this.#sides[name];
    const atMs = guard ? wakeMs(guard) : Number.POSITIVE_INFINITY;
    if (!guard || atMs === Number.POSITIVE_INFINITY) return;
    const { clock } = this.#world;
    clock.wakeAt(Math.max(atMs, clock.monotonicMs() + 1), () => {
      if (this.#sides[name].guard === guard) this.#tell(name, { is: "woke" });
    });
  }

  #now() {
    return { ms: this.#world.clock.monotonicMs(), chance: 0.5 };
  }
}

function otherOf(name: Name): Name {
  return name === "agent" ? "watchdog" : "agent";
}
function policyOf(name: Name): GuardPolicy {
  return name === "watchdog" ? agentPolicy : watchdogPolicy;
}
