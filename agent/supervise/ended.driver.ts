/**
 * Which of the processes that are not our children have ended? poll(2) answers for all of them in one system call, by descriptors
 * that belong to a process and not to its number (pidfd_open(2), Linux 5.3): where each was looked at by itself, fifty that were
 * adopted cost the agent a third of all its CPU at rest.
 */
import { closeSync } from "node:fs";
import { koffi, type Native } from "../libc.driver.ts";
import { procStat } from "./proc.driver.ts";

/** A process, for good. */
interface Named {
  readonly pid: number;
  readonly startTicks: number;
}

/** The number of the call on every architecture. */
const pidfdOpen = 434;
/** `struct pollfd`: descriptor, events, answer. */
const entryBytes = 8;
const readable = 1;

interface Calls {
  readonly open: Native;
  readonly poll: Native;
}

/** Watches those that it was asked about last. Whoever made it closes it. */
export class EndWatch {
  readonly #calls: Calls | undefined;
  #watched: readonly Named[] = [];
  #files: readonly number[] = [];
  #entries: Buffer = Buffer.alloc(0);
  #blind = false;

  /** Without the calls it cannot tell. */
  constructor(calls: Calls | undefined = callsOf()) {
    this.#calls = calls;
  }

  /** False only when it is certain that all of them live; true also where nobody can say. */
  mayHaveEnded(processes: readonly Named[]): boolean {
    if (processes.length === 0) return false;
    if (!this.#calls) return true;
    if (!isSame(processes, this.#watched)) this.#watch(processes, this.#calls);
    return this.#blind || this.#calls.poll(this.#entries, this.#files.length, 0) !== 0;
  }

  close(): void {
    for (const file of this.#files) closeSync(file);
    this.#files = [];
    this.#watched = [];
  }

  /** A descriptor is opened first and the number looked at then: what lives under it now is what the descriptor shows. */
  #watch(processes: readonly Named[], { open }: Calls): void {
    this.close();
    const files = processes.map(({ pid, startTicks }) => {
      const file = open(pidfdOpen, pid, 0);
      if (file < 0 || procStat(pid)?.startTicks === startTicks) return file;
      closeSync(file);
      return -1;
    });
    this.#watched = [...processes];
    this.#files = files.filter((file) => file >= 0);
    // One that is gone, or cannot be opened, is looked at by itself until nobody asks about it any more.
    this.#blind = this.#files.length < files.length;
    this.#entries = Buffer.alloc(Math.max(1, this.#files.length) * entryBytes);
    for (const [at, file] of this.#files.entries()) {
      this.#entries.writeInt32LE(file, at * entryBytes);
      this.#entries.writeInt16LE(readable, at * entryBytes + 4);
    }
  }
}

function isSame(a: readonly Named[], b: readonly Named[]): boolean {
  return (
    a.length === b.length &&
    a.every(({ pid, startTicks }, at) => b[at]?.pid === pid && b[at]?.startTicks === startTicks)
  );
}

function callsOf(): Calls | undefined {
  try {
    const libc = koffi()?.load(null);
    const open = libc?.func("long syscall(long number, int pid, unsigned int flags)");
    const poll = libc?.func("int poll(void *entries, unsigned long count, int timeoutMs)");
    return open && poll && { open, poll };
  } catch {
    return undefined; // a libc without the functions
  }
}
