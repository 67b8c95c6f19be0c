/**
 * Sockets on which workloads speak the notify protocol. One per workload: what floods its own fills its own queue, waits there,
 * and holds up nobody else's beat. A message wakes the agent by SIGIO, and one poll(2) says whose it is, so quiet sockets cost
 * nothing; libuv cannot watch a datagram socket of this kind, and a thread that waits in recvmsg would be one thread per socket.
 */
import { closeSync, lstatSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { Cancel, Clock } from "@blueflame/shared/time/clock.ts";
import { unixAddress } from "./address.ts";
import { type Datagram, type UnixDatagrams, unixDatagrams } from "./datagram.driver.ts";
import { messageBytesMax } from "./message.ts";

/** So many messages in so long, 640 a second, from one workload; what comes faster waits in its own socket, and its sends wait with it. */
const perTurn = 32;
const turnMs = 50;
/** A signal is a hint. All are looked at this often without one, should a kernel not send it. */
const lookMs = 1000;

/** Called for each message of one socket, in their order; must not throw. */
type OnMessage = (message: Pick<Datagram, "pid" | "uid" | "bytes">) => void;

const open = new Set<NotifySockets>();
let listens = false;

/** One listener for all sockets, for the life of the process: without one a late SIGIO would end it. */
function listen(): void {
  if (listens) return;
  listens = true;
  process.on("SIGIO", () => {
    for (const sockets of open) sockets.look();
  });
}

/** All sockets of one agent. Whoever made it closes it. */
export class NotifySockets {
  readonly #clock: Clock;
  readonly #calls = unixDatagrams();
  readonly #room = this.#calls?.room(messageBytesMax);
  readonly #lines = new Map<number, Line>();
  #cancel: Cancel = () => undefined;
  #lookAtMs = Number.POSITIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
    listen();
    open.add(this);
  }

  /**
   * Takes messages at `path`, of at most 107 bytes, with mode 0600 from its first moment; what lies there is replaced. The answer
   * says why it cannot be had here; undefined when it can.
   */
  take(path: string, onMessage: OnMessage): string | undefined {
    const calls = this.#calls;
    if (!calls) return "C functions cannot be called here: the optional package @koromix/koffi is missing";
    const first = unixAddress(besides(path));
    if (!first) return `'${path}' is longer than the 107 bytes of a socket's path`;
    let fd: number | undefined;
    try {
      fd = calls.open();
      const file = place(calls, fd, first, path);
      calls.signalOnMessage(fd);
      this.#lines.set(fd, { path, file, onMessage, turnEndsMs: 0, leftInTurn: 0 });
      this.#wakeWithin(lookMs);
      return undefined;
    } catch (error) {
      if (fd !== undefined) closeSync(fd);
      return `cannot take messages on '${path}': ${(error as Error).message}`;
    }
  }

  /** Receives what is there, from each as much as its turn allows. */
  look(): void {
    const nowMs = this.#clock.monotonicMs();
    const due = [...this.#lines].filter(([, line]) => line.leftInTurn > 0 || nowMs >= line.turnEndsMs);
    for (const fd of this.#calls?.readable(due.map(([fd]) => fd)) ?? []) {
      const line = this.#lines.get(fd); // gone when an earlier message has closed us
      if (line && !this.#receive(fd, line, nowMs)) this.#wakeWithin(line.turnEndsMs - nowMs);
    }
  }

  /** False when it has had its turn, and more may wait. */
  #receive(fd: number, line: Line, nowMs: number): boolean {
    if (!this.#calls || !this.#room) return true;
    if (nowMs >= line.turnEndsMs) {
      line.turnEndsMs = nowMs + turnMs;
      line.leftInTurn = perTurn;
    }
    for (; line.leftInTurn > 0; line.leftInTurn--) {
      const message = this.#lines.has(fd) ? this.#calls.receive(fd, this.#room) : undefined;
      if (!message) return true;
      try {
        line.onMessage(message);
      } finally {
        // Only after the sender was looked at: a barrier (sd_notify_barrier) holds it alive until its file is closed here.
        for (const file of message.files) closeSync(file);
      }
    }
    return false;
  }

  #wakeWithin(ms: number): void {
    const atMs = this.#clock.monotonicMs() + ms;
    if (atMs >= this.#lookAtMs || !open.has(this)) return;
    this.#cancel();
    this.#lookAtMs = atMs;
    this.#cancel = this.#clock.wakeAt(atMs, () => {
      this.#lookAtMs = Number.POSITIVE_INFINITY;
      this.#wakeWithin(lookMs);
      this.look();
    });
  }

  /** Removes each file, unless an agent that came later has put its own there. */
  close(): void {
    if (!open.delete(this)) return;
    this.#cancel();
    for (const [fd, { path, file }] of this.#lines) {
      closeSync(fd);
      const now = lstatSync(path, { throwIfNoEntry: false });
      if (now?.ino === file.ino && now.dev === file.dev) rmSync(path, { force: true });
    }
    this.#lines.clear();
  }
}

interface Line {
  readonly path: string;
  readonly file: File;
  readonly onMessage: OnMessage;
  turnEndsMs: number;
  leftInTurn: number;
}

interface File {
  readonly ino: number;
  readonly dev: number;
}

/** Bound beside its place and moved there: a sender finds either the old socket or the new one, and only we may write to it. */
function place(calls: UnixDatagrams, fd: number, first: Buffer, path: string): File {
  rmSync(besides(path), { force: true });
  const before = process.umask(0o177);
  try {
    calls.bind(fd, first);
  } finally {
    process.umask(before);
  }
  renameSync(besides(path), path);
  const { ino, dev } = lstatSync(path);
  return { ino, dev };
}

/** As many bytes as the path itself. */
function besides(path: string): string {
  const name = basename(path);
  return join(dirname(path), `${name.startsWith("~") ? "_" : "~"}${name.slice(1)}`);
}
