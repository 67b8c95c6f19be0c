import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { places } from "../constants.ts";

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
