import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { places } from "../constants.ts";
import { instanceOf } from "../supervise/state.ts";
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
    const path = join(this.#dataDir, places.killSwitch);
    this.#durably(() => {
      writeFileSync(`${path}.new`, `${JSON.stringify(killed)}\n`, { mode: 0o600, flush: true });
      renameSync(`${path}.new`, path);
    });
  }

  /** As {@link KillSwitch.turnOn}. */
  turnOff(): void {
    this.#durably(() => rmSync(join(this.#dataDir, places.killSwitch), { force: true }));
  }

  #durably(change: () => void): void {
    try {
      change();
      const folder = openSync(this.#dataDir, "r");
      try {
        fsyncSync(folder);
      } finally {
        closeSync(folder);
      }
    } catch (cause) {
      throw new Fault("STORE_WRITE_FAILED", `the kill switch was not turned: ${(cause as Error).message}`, { cause });
    }
  }
}

/** What a workload takes to end beyond its own grace: the kill and the clean-up. */
const stopMarginMs = 10_000;

/**
 * Turns it, and holds every workload or lets it go, in the order of their dependencies. Durable before anything is stopped or
 * started; returns how many that were. Throws STORE_WRITE_FAILED, and then nothing has changed.
 */
export async function turn(
  killSwitch: KillSwitch,
  on: boolean,
  killed: Killed,
  supervisor: Supervisor,
): Promise<number> {
  if (on) killSwitch.turnOn(killed);
  else killSwitch.turnOff();
  const who = `person:${killed.person}`;
  const order = on ? supervisor.stopOrder() : supervisor.stopOrder().reverse();
  let changed = 0;
  for (const name of order) {
    const before = supervisor.state(name);
    if (on ? instanceOf(before.phase) : before.held && before.intent === "run" && before.phase.at !== "completed")
      changed += 1;
    // The file is durable: what a disk refuses of one workload's state, the next start of the agent reads from there.
    await supervisor.tell(name, { is: on ? "hold" : "release", who }).catch(() => undefined);
    const limitMs = supervisor.spec(name).stop.graceMs + stopMarginMs;
    if (on) await supervisor.until(name, ({ phase }) => phase.at === "stopped" || phase.at === "completed", limitMs);
  }
  return changed;
}
