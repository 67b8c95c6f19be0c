/** The agent's own word to the service manager that started it: sd_notify(3), sd_watchdog_enabled(3). */
import { spawn } from "node:child_process";
import { closeSync } from "node:fs";
import type { Cancel, Clock } from "@blueflame/shared/time/clock.ts";
import { unixAddress } from "./address.ts";
import { type UnixDatagrams, unixDatagrams } from "./datagram.driver.ts";

/** What was not taken is said again this often: a manager that is busy, or that is being started anew itself. */
const againMs = 1000;
const statusCharsMax = 200;

/** Speaks to the service manager; none of it waits or throws. Whoever made it closes it. */
export interface ServiceNotifier {
  /** The start is over. */
  ready(status: string): void;
  /** The work goes on. Due at least twice in `watchdogMs`, and only from where the work is seen to go on. */
  watchdog(): void;
  /** One sentence for `systemctl status`. */
  status(text: string): void;
  /** The whole unit ends, by its own will: never when only the agent makes way for a new one. */
  stopping(): void;
  close(): void;
  /** Silence of this length is a hang to the manager; undefined when it does not watch, or watches another process. */
  readonly watchdogMs: number | undefined;
}

/** Hands over one message: true when it was taken, false when it may be tried again. */
type Send = (message: string) => boolean;

type Env = Readonly<Record<string, string | undefined>>;

/**
 * By what systemd wrote into our environment; undefined without a manager that wants to be told, or without a way to tell it.
 * Below another main process of the unit, which is our watchdog, that one speaks for itself, and the agent only says that it is
 * ready (NotifyAccess=all): its own WATCHDOG=1 would hide that the watchdog hangs.
 */
export function serviceNotifier(
  env: Env,
  clock: Clock,
  sockets: UnixDatagrams | null = unixDatagrams() ?? null,
): ServiceNotifier | undefined {
  const address = env.NOTIFY_SOCKET === undefined ? undefined : unixAddress(env.NOTIFY_SOCKET);
  if (!address) return undefined;
  return new Notifier(bySocket(address, sockets) ?? { send: byProgram(env), close: () => undefined }, clock, env);
}

/** Has systemd started this very process? Older versions say it only where they watch it. */
function isMain({ SYSTEMD_EXEC_PID: started, WATCHDOG_PID: watched }: Env): boolean {
  return (started ?? watched ?? String(process.pid)) === String(process.pid);
}

function bySocket(address: Buffer, sockets: UnixDatagrams | null): { send: Send; close: () => void } | undefined {
  if (!sockets) return undefined;
  let fd: number;
  try {
    fd = sockets.open();
  } catch {
    return undefined;
  }
  return { send: (message) => sockets.send(fd, address, Buffer.from(message)), close: () => closeSync(fd) };
}

/** Where no C function can be called: systemd's own program for scripts, which is there where systemd is. */
function byProgram(env: Env): Send {
  return (message) => {
    try {
      const child = spawn("systemd-notify", message.split("\n"), { env, stdio: "ignore" });
      child.on("error", () => undefined); // there is no other way left
      child.unref();
    } catch {
      // It is just being written; the next word is tried again.
    }
    return true;
  };
}

class Notifier implements ServiceNotifier {
  readonly watchdogMs: number | undefined;
  readonly #socket: { readonly send: Send; close(): void };
  readonly #clock: Clock;
  readonly #main: boolean;
  /** What the manager should know, as lines by their keys. */
  readonly #known = new Map<"READY" | "STATUS" | "STOPPING", string>();
  #cancel: Cancel | undefined;
  #closed = false;

  constructor(socket: { readonly send: Send; close(): void }, clock: Clock, env: Env) {
    this.#socket = socket;
    this.#clock = clock;
    this.#main = isMain(env);
    const watched = this.#main && /^[1-9]\d{0,15}$/.test(env.WATCHDOG_USEC ?? "");
    this.watchdogMs = watched ? Number(env.WATCHDOG_USEC) / 1000 : undefined;
  }

  ready(status: string): void {
    this.#known.set("READY", "1");
    if (this.#main) this.status(status);
    else this.#tell();
  }

  watchdog(): void {
    // Not tried again: the next one is on its way.
    if (this.#main && !this.#closed) this.#socket.send("WATCHDOG=1");
  }

  status(text: string): void {
    if (!this.#main) return;
    this.#known.set("STATUS", text.replace(/\s+/g, " ").slice(0, statusCharsMax));
    this.#tell();
  }

  stopping(): void {
    if (!this.#main) return;
    this.#known.delete("READY");
    this.#known.set("STOPPING", "1");
    this.#tell();
  }

  #tell(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    if (this.#closed) return;
    if (this.#socket.send([...this.#known].map(([key, value]) => `${key}=${value}`).join("\n"))) return;
    this.#cancel = this.#clock.wakeAt(this.#clock.monotonicMs() + againMs, () => this.#tell());
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancel?.();
    this.#socket.close();
  }
}
