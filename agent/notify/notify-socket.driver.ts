/**
 * A socket on which one workload speaks the notify protocol. One per workload: what floods its own fills its own queue, waits
 * there, and holds up nobody else's beat. A message wakes the agent by SIGIO, so a quiet socket costs nothing; libuv cannot
 * watch a datagram socket of this kind, and a thread that waits in recvmsg would be one thread per socket.
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
/** A signal is a hint. Looked at this often without one, should a kernel not send it; one look costs a microsecond. */
const lookMs = 1000;

/** An open socket; whoever opened it closes it. */
export interface NotifySocket {
  /** What the workload gets as NOTIFY_SOCKET. */
  readonly path: string;
  /** Removes the file, unless an agent that came later has put its own there. */
  close(): void;
}

/** What a socket is made of. */
export interface NotifySocketOptions {
  /** At most 107 bytes. What lies there is replaced. */
  readonly path: string;
  readonly clock: Clock;
  /** Called for each message, in their order; must not throw. */
  readonly onMessage: (message: Pick<Datagram, "pid" | "uid" | "bytes">) => void;
}

/** Opens it with mode 0600 from its first moment; `failed` says why it cannot be had here. */
export function openNotifySocket(options: NotifySocketOptions): NotifySocket | { readonly failed: string } {
  const sockets = unixDatagrams();
  if (!sockets) return { failed: "C functions cannot be called here: the optional package @koromix/koffi is missing" };
  const first = unixAddress(besides(options.path));
  if (!first) return { failed: `'${options.path}' is longer than the 107 bytes of a socket's path` };
  let fd: number | undefined;
  try {
    fd = sockets.open();
    const file = place(sockets, fd, first, options.path);
    return new Receiver(sockets, fd, file, options);
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    return { failed: `cannot take messages on '${options.path}': ${(error as Error).message}` };
  }
}

/** Bound beside its place and moved there: a sender finds either the old socket or the new one, and only we may write to it. */
function place(sockets: UnixDatagrams, fd: number, first: Buffer, path: string): File {
  rmSync(besides(path), { force: true });
  const before = process.umask(0o177);
  try {
    sockets.bind(fd, first);
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

interface File {
  readonly ino: number;
  readonly dev: number;
}

const receivers = new Set<Receiver>();
let listens = false;

/** One listener for all sockets, for the life of the process: without one a late SIGIO would end it. */
function listen(): void {
  if (listens) return;
  listens = true;
  process.on("SIGIO", () => {
    for (const receiver of receivers) receiver.look();
  });
}

class Receiver implements NotifySocket {
  readonly #sockets: UnixDatagrams;
  readonly #fd: number;
  readonly #file: File;
  readonly #options: NotifySocketOptions;
  readonly #room: ReturnType<UnixDatagrams["room"]>;
  #turnEndsMs = 0;
  #leftInTurn = 0;
  /** It has had its turn, and more may wait. */
  #paced = false;
  #cancel: Cancel = () => undefined;

  constructor(sockets: UnixDatagrams, fd: number, file: File, options: NotifySocketOptions) {
    this.#sockets = sockets;
    this.#fd = fd;
    this.#file = file;
    this.#options = options;
    this.#room = sockets.room(messageBytesMax);
    listen();
    sockets.signalOnMessage(fd);
    receivers.add(this);
    this.#wakeAt(options.clock.monotonicMs() + lookMs);
  }

  get path(): string {
    return this.#options.path;
  }

  look(): void {
    if (this.#paced) return;
    const nowMs = this.#options.clock.monotonicMs();
    if (nowMs >= this.#turnEndsMs) {
      this.#turnEndsMs = nowMs + turnMs;
      this.#leftInTurn = perTurn;
    }
    for (; this.#leftInTurn > 0; this.#leftInTurn--) {
      const message = this.#sockets.receive(this.#fd, this.#room);
      if (!message) return;
      try {
        this.#options.onMessage(message);
      } finally {
        // Only after the sender was looked at: a barrier (sd_notify_barrier) holds it alive until its file is closed here.
        for (const file of message.files) closeSync(file);
      }
      if (!receivers.has(this)) return; // closed by what it said
    }
    this.#paced = true;
    this.#cancel();
    this.#wakeAt(this.#turnEndsMs);
  }

  #wakeAt(atMs: number): void {
    const { clock } = this.#options;
    this.#cancel = clock.wakeAt(atMs, () => {
      this.#paced = false;
      this.#wakeAt(clock.monotonicMs() + lookMs);
      this.look();
    });
  }

  close(): void {
    if (!receivers.delete(this)) return;
    this.#cancel();
    closeSync(this.#fd);
    const now = lstatSync(this.path, { throwIfNoEntry: false });
    if (now?.ino === this.#file.ino && now.dev === this.#file.dev) rmSync(this.path, { force: true });
  }
}
