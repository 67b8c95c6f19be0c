import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { replaceFile, syncFolder } from "@blueflame/shared/store/folder.ts";
import { places } from "../constants.ts";
import { letGoInOrder } from "../supervise/in-order.ts";
import { hasStarted } from "../supervise/stands.ts";
import { type Event, instanceOf, type State } from "../supervise/state.ts";
import type { Supervisor } from "../supervise/supervisor.driver.ts";

/** Who turned the kill switch on, when and why. */
export interface Killed {
  readonly person: string;
  readonly reason: string;
  /** ISO time. */
  readonly at: string;
}

/**
 * The kill switch of one node: on exactly while its file exists, so that watchdog and bootstrap see it without the store. It is
 * remembered over reboots and is never turned by the machine (GRC-7).
 */
export class KillSwitch {
  readonly #dataDir: string;

  constructor(dataDir: string) {
    this.#dataDir = dataDir;
  }

  isOn(): boolean {
    return existsSync(join(this.#dataDir, places.killSwitch));
  }

  /** Undefined while it is off; a file that cannot be read still means on. */
  killed(): Killed | undefined {
    if (!this.isOn()) return undefined;
    try {
      const { person, reason, at } = JSON.parse(
        readFileSync(join(this.#dataDir, places.killSwitch), "utf8"),
      ) as Partial<Killed>;
      return { person: person ?? "unknown", reason: reason ?? "", at: at ?? "" };
    } catch {
      return { person: "unknown", reason: "", at: "" };
    }
  }

  /** Durable on return. Throws STORE_WRITE_FAILED, and then nothing has changed. */
  turnOn(killed: Killed): void {
    this.#durably(() => replaceFile(join(this.#dataDir, places.killSwitch), `${JSON.stringify(killed)}\n`));
  }

  /** As {@link KillSwitch.turnOn}. */
  turnOff(): void {
    this.#durably(() => {
      rmSync(join(this.#dataDir, places.killSwitch), { force: true });
      syncFolder(this.#dataDir);
    });
  }

  #durably(change: () => void): void {
    try {
      change();
    } catch (cause) {
      throw new Fault("STORE_WRITE_FAILED", `the kill switch was not turned: ${(cause as Error).message}`, { cause });
    }
  }
}

/** What a workload takes to end beyond its own grace: the kill and the clean-up. */
const stopMarginMs = 10_000;

/** What of the supervisor the switch tells. */
export type Held = Pick<Supervisor, "stopOrder" | "state" | "spec" | "post" | "tell" | "until" | "startsNothing">;

/**
 * Turns it for a running agent: the file first, then every workload is held or let go in the order of their dependencies. One turn
 * after the other; the last word counts, and a turn that was overtaken tells nobody else.
 */
export class Turner {
  readonly #killSwitch: KillSwitch;
  readonly #begun = Promise.withResolvers<void>();
  #supervisor: Held | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor(killSwitch: KillSwitch) {
    this.#killSwitch = killSwitch;
  }

  /** Before it boots: from now on the switch holds its workloads. What was on before, it knows by itself. */
  over(supervisor: Held): void {
    this.#supervisor = supervisor;
  }

  /** It has booted, or never will: workloads may be let go. */
  begun(): void {
    this.#begun.resolve();
  }

  /**
   * Durable at once, before anything is stopped or started; resolves with how many workloads that were, once all have stopped or
   * were told to start. Throws STORE_WRITE_FAILED, and then nothing has changed.
   */
  turn(on: boolean, killed: Killed): Promise<number> {
    if (on) this.#killSwitch.turnOn(killed);
    else this.#killSwitch.turnOff();
    return this.#turned(on, `person:${killed.person}`);
  }

  /**
   * Looks at the file: whoever could reach no agent has turned only that, and it counts as if we had been asked. To be called when the
   * door is open, and while the switch is on now and then. True when something had to be told.
   */
  heed(): boolean {
    const supervisor = this.#supervisor;
    const killed = this.#killSwitch.killed();
    const differs = (name: string) => (supervisor?.state(name).held === true) !== (killed !== undefined);
    if (!supervisor?.stopOrder().some(differs)) return false;
    void this.#turned(killed !== undefined, `person:${killed?.person ?? "unknown"}`);
    return true;
  }

  #turned(on: boolean, who: string): Promise<number> {
    this.#supervisor?.startsNothing(on ? { is: "hold", who } : undefined);
    const turned = this.#last.then(() => (on ? this.#hold(who) : this.#release(who)));
    this.#last = turned.catch(() => undefined);
    return turned;
  }

  async #hold(who: string): Promise<number> {
    const supervisor = this.#supervisor;
    let stopped = 0;
    for (const name of supervisor?.stopOrder() ?? []) {
      if (!supervisor || !this.#killSwitch.isOn()) break;
      if (instanceOf(supervisor.state(name).phase)) stopped += 1;
      await told(supervisor, name, { is: "hold", who });
      await supervisor.until(name, isAtRest, supervisor.spec(name).stop.graceMs + stopMarginMs);
    }
    return stopped;
  }

  /** A workload waits for what it depends on, as at the agent's start. */
  async #release(who: string): Promise<number> {
    // What lives of an earlier agent is adopted first: nothing is started beside it.
    await this.#begun.promise;
    const supervisor = this.#supervisor;
    if (!supervisor) return 0;
    const order = supervisor.stopOrder().reverse();
    const waits = new Map<string, readonly string[]>();
    let started = 0;
    for (const name of order) {
      if (this.#killSwitch.isOn()) return started;
      const { held, intent, phase } = supervisor.state(name);
      if (held && intent === "run" && phase.at !== "completed") started += 1;
      const waitFor = supervisor.spec(name).dependsOn.filter((need) => !hasStarted(supervisor.state(need)));
      if (waitFor.length > 0) waits.set(name, waitFor);
      await told(supervisor, name, { is: "release", who, ...(waitFor.length > 0 && { waitFor }) });
    }
    void letGoInOrder(supervisor, order, waits);
    return started;
  }
}

/** The file is durable: what a disk refuses of one workload's state, the next start of the agent reads from there. */
function told(supervisor: Held, name: string, event: Event): Promise<void> {
  return supervisor.tell(name, event).catch(() => undefined);
}

function isAtRest({ phase }: State): boolean {
  return phase.at === "stopped" || phase.at === "completed";
}
