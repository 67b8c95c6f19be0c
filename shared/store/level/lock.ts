import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { Fault } from "../../errors/fault.ts";

/** Who a process is beyond its number, which is given out again. Empty parts where the system does not tell. */
interface Holder {
  readonly pid: number;
  readonly started: string;
  readonly boot: string;
}

function readOr(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
/** The start time of a process in ticks since boot; empty when there is none, or no /proc. */
function startedAt(pid: number): string {
  const stat = readOr(`/proc/${pid}/stat`);
  // The second field is the program's name and may hold spaces and brackets; the third is the state, the 22nd the start.
  const [state = "", ...fields] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  // A zombie holds nothing any more. Its parent may never ask for it: in a container, PID 1 often does not.
  return state === "Z" || state === "X" ? "" : (fields[18] ?? "");
}
function self(): Holder {
  return {
    pid: process.pid,
    started: startedAt(process.pid),
    boot: readOr("/proc/sys/kernel/random/boot_id").trim(),
  };
}
function parse(text: string): Holder | undefined {
  try {
    const read: unknown = JSON.parse(text);
    if (typeof read !== "object" || read === null) return undefined;
    const { pid, started, boot } = read as Partial<Holder>;
    if (typeof pid !== "number" || typeof started !== "string" || typeof boot !== "string") return undefined;
    return { pid, started, boot };
  } catch {
    return undefined;
  }
}
function lives(holder: Holder): boolean {
  const now = self();
  if (holder.boot !== now.boot) return false;
  if (holder.started !== "") return startedAt(holder.pid) === holder.started;
  try {
    process.kill(holder.pid, 0); // no /proc: the number is all there is
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** A held lock. */
export interface StoreLock {
  release(): void;
}

/**
 * Takes the store for this process, or throws STORE_LOCKED. LevelDB's own lock is not enough: a second open inside the
 * process that holds it lets go of it. This one stands outside the database's folder and names its holder by boot, pid
 * and start time, so that the lock of a dead process is known as such. Two that find the same dead lock at the same
 * instant are parted by LevelDB's lock, which still stands behind this one.
 */
export function takeLock(path: string): StoreLock {
  const own = JSON.stringify(self());
  const draft = `${path}.${process.pid}`;
  mkdirSync(dirname(path), { recursive: true });
  try {
    writeFileSync(draft, own, { mode: 0o600 });
    for (let attempt = 0; attempt < 3; attempt++) {
      try {
        linkSync(draft, path); // whole or not at all: nobody reads half a lock
        return { release: () => readOr(path) === own && rmSync(path, { force: true }) };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      }
      const found = readOr(path);
      const holder = parse(found);
      if (holder && lives(holder)) throw new Fault("STORE_LOCKED", `process ${holder.pid} holds '${path}'`);
      setAside(path, draft, found);
    }
    throw new Fault("STORE_LOCKED", `'${path}' keeps being taken by others`);
  } finally {
    rmSync(draft, { force: true });
  }
}

/** Removes the dead lock whose text is `found`; puts back what it moved when that was another one. */
function setAside(path: string, draft: string, found: string): void {
  const aside = `${draft}.dead`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return; // somebody else was faster
    throw error;
  }
  try {
    if (readOr(aside) !== found) linkSync(aside, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    unlinkSync(aside);
  }
}
