/**
 * The watchdog's word to systemd, which guards it (sd_notify(3)). Node has no datagram socket of the unix kind, and nothing may be
 * loaded here but built-ins; so systemd's own program for scripts says it, which is there where systemd is. About 5 ms each time.
 */
import { spawn } from "node:child_process";

/** The agent has not come up by then: the unit counts as started all the same, for the watchdog guards. */
const readyWithinMs = 15_000;

/** More of them that have not ended say that systemd itself does not answer. */
const tellingMax = 4;

/** Tells systemd that the work goes on. Whoever made it closes it. */
export class InitFeed {
  readonly #env: NodeJS.ProcessEnv;
  readonly #timers: NodeJS.Timeout[] = [];
  #ready = false;
  #status = "";
  #telling = 0;

  /** Undefined where no systemd wants to be told. */
  static from(env: NodeJS.ProcessEnv): InitFeed | undefined {
    return env.NOTIFY_SOCKET ? new InitFeed({ ...env }) : undefined;
  }

  private constructor(env: NodeJS.ProcessEnv) {
    this.#env = env;
    this.#timers.push(setTimeout(() => this.ready(), readyWithinMs));
    const watchdogMs = Number(env.WATCHDOG_USEC) / 1000;
    // Fed by the loop's own timer: a loop that hangs feeds nobody. Three times in the time that systemd grants.
    if (watchdogMs > 0) this.#timers.push(setInterval(() => this.#tell("WATCHDOG=1"), watchdogMs / 3));
  }

  ready(): void {
    if (this.#ready) return;
    this.#ready = true;
    this.#tell("READY=1");
  }

  status(text: string): void {
    if (text === this.#status) return;
    this.#status = text;
    this.#tell(`STATUS=${text.replace(/\s+/g, " ").slice(0, 200)}`);
  }

  close(): void {
    for (const timer of this.#timers) clearInterval(timer);
    this.#tell("STOPPING=1");
  }

  #tell(message: string): void {
    if (this.#telling >= tellingMax) return;
    const child = spawn("systemd-notify", [message], { env: this.#env, stdio: "ignore" });
    this.#telling += 1;
    const over = () => {
      this.#telling -= 1;
    };
    child.once("exit", over);
    child.once("error", over); // there is no other way to tell it
    child.unref();
  }
}
