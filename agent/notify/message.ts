/**
 * One message of systemd's notify protocol, as sd_notify(3) describes it: lines of KEY=VALUE in one datagram. Pure.
 * Only what we act upon is kept. Keys that we do not know are passed over, as the protocol asks: MAINPID, ERRNO, FDSTORE,
 * BARRIER and those of tomorrow.
 */

/** What a workload says of itself. */
export interface NotifyMessage {
  /** READY=1: its start, or its reload, is over. */
  readonly ready: boolean;
  /** RELOADING=1: it reads its config again, and says READY=1 after that. */
  readonly reloading: boolean;
  /** STOPPING=1: it is about to end. */
  readonly stopping: boolean;
  /** WATCHDOG=1: it lives. */
  readonly watchdog: boolean;
  /** STATUS=: one sentence for people, at most 200 characters, nothing in it that moves a cursor; may be empty. */
  readonly status?: string;
}

/** Larger than any that a program may send: systemd takes no more either (PIPE_BUF). */
export const messageBytesMax = 4096;
const statusCharsMax = 200;

const text = new TextDecoder("utf-8", { fatal: true });
// Control characters and those that turn the direction of writing: a status is printed on terminals.
const unprintable = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu;

/** Reads a datagram. Never throws. A message with one line that is no assignment is refused as a whole: half of it may be lost. */
export function parseNotify(bytes: Uint8Array): NotifyMessage | { readonly refused: string } {
  if (bytes.length === 0) return { refused: "it is empty" };
  if (bytes.length > messageBytesMax) return { refused: `it is longer than ${messageBytesMax} bytes` };
  let lines: string[];
  try {
    // C programs may send the NUL at the end of their string too.
    lines = text.decode(bytes.at(-1) === 0 ? bytes.subarray(0, -1) : bytes).split("\n");
  } catch {
    return { refused: "it is not UTF-8" };
  }
  const said = new Map<string, string>();
  for (const line of lines) {
    if (line === "") continue;
    const at = line.indexOf("=");
    if (at < 1 || line.includes("\0")) return { refused: "it has a line that is not KEY=VALUE" };
    said.set(line.slice(0, at), line.slice(at + 1));
  }
  const status = said.get("STATUS");
  return {
    ready: said.get("READY") === "1",
    reloading: said.get("RELOADING") === "1",
    stopping: said.get("STOPPING") === "1",
    watchdog: said.get("WATCHDOG") === "1",
    ...(status !== undefined && { status: printable(status) }),
  };
}

/** Cut between characters, never through one. */
function printable(status: string): string {
  return [...status.replace(unprintable, " ").trim()].slice(0, statusCharsMax).join("");
}
