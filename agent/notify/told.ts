/**
 * What one instance has told so far by the notify protocol, and which of its messages are beats. Pure.
 *
 *   starting ──READY=1──▶ ready ──RELOADING=1──▶ reloading ──READY=1──▶ ready
 *                           └───────STOPPING=1─────┴──▶ stopping     until its next life
 */
import type { NotifyMessage } from "./message.ts";

/** Remembered from message to message; a new instance begins at {@link untold}. */
export interface Told {
  readonly at: "starting" | "ready" | "reloading" | "stopping";
  /** The last STATUS=, empty before the first. */
  readonly status: string;
}

export const untold: Told = { at: "starting", status: "" };
/** One whose start an earlier agent process has seen: what it said then is over, and it may never say READY=1 again. */
export const adoptedReady: Told = { at: "ready", status: "" };

/** What the supervisor is told: its `beat` event. */
export interface Beat {
  readonly is: "beat";
  readonly ready: boolean;
  readonly status: string;
}

/**
 * Takes one message in. `judged`: the workload is frozen when its beats stay away. Then a status alone is no beat, as with
 * systemd, and waits for the next one: a thread that only writes statuses would hide that the work stands still.
 */
export function hear(
  before: Told,
  message: NotifyMessage,
  judged: boolean,
): { readonly told: Told; readonly beat?: Beat } {
  const at = phase(before.at, message);
  const told: Told = { at, status: message.status ?? before.status };
  const counts = message.watchdog || message.ready || message.reloading || message.stopping;
  const news = message.status !== undefined && !judged;
  if (!counts && !news) return { told };
  return { told, beat: { is: "beat", ready: at === "ready", status: words(told) } };
}

function phase(before: Told["at"], message: NotifyMessage): Told["at"] {
  if (before === "stopping" || message.stopping) return "stopping";
  if (message.ready) return "ready";
  // Before its first READY=1 it is not ready by its start already.
  return message.reloading && before === "ready" ? "reloading" : before;
}

function words({ at, status }: Told): string {
  if (at === "ready") return status;
  const own = { starting: "has not said READY=1 yet", reloading: "reloads", stopping: "says that it stops" }[at];
  return status === "" ? own : `${own}: ${status}`;
}
