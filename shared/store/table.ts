import { compareKeys, lowerBound } from "./order.ts";
import { type Change, Compacted, type Cond, type Entry, type Lease, type Op, type Rev } from "./state.ts";

/** A key as the table keeps it: with the lease that holds it. */
export interface Row extends Entry {
  readonly lease?: Lease | undefined;
}
/** A commit whose conditions held: what it makes of each key it touches (`null`: nothing), and how watchers see it. */
export interface Staged {
  readonly rev: Rev;
  readonly rows: ReadonlyMap<string, Row | null>;
  readonly changes: readonly Change[];
}
interface Past {
  readonly rev: Rev;
  readonly changes: readonly Change[];
  readonly bytes: number;
}

/** How far a watcher may lag behind before it has to list again. */
export interface HistoryBound {
  readonly commits: number;
  readonly bytes: number;
}
export const defaultHistory: HistoryBound = { commits: 10_000, bytes: 32 * 1024 * 1024 };

/**
 * The whole of a State in memory. A commit goes through it twice: `stage` judges its conditions against everything staged
 * before it, `land` makes it visible once it is durable. Invariants:
 *   – readers and watchers see landed commits only, so nothing is read that a failing disk could take back;
 *   – staged commits land in the order in which they were staged, or `unstage` takes all of them back;
 *   – revisions of landed commits have no gaps.
 * Values are shared, not copied: nobody may change the bytes of an entry.
 */
export class StateTable {
  #rows = new Map<string, Row>();
  #rev: Rev;
  /** What staged commits make of keys, until they land. */
  #staged = new Map<string, Row | null>();
  #stagedRev: Rev;
  #sorted: string[] | undefined;
  #past: Past[] = [];
  #pastBytes = 0;
  /** Watchers that wait for the next commit. */
  readonly #waiters = new Set<() => void>();
  #ended = false;
  readonly #bound: HistoryBound;

  constructor(rev: Rev, rows: Iterable<Row>, bound: HistoryBound = defaultHistory) {
    this.#rev = rev;
    this.#stagedRev = rev;
    for (const row of rows) this.#rows.set(row.key, row);
    this.#bound = bound;
  }

  get rev(): Rev {
    return this.#rev;
  }
  get(key: string): Entry | null {
    const row = this.#rows.get(key);
    return row ? entryOf(row) : null;
  }
  list(prefix: string): { rev: Rev; entries: Entry[] } {
    this.#sorted ??= [...this.#rows.keys()].sort(compareKeys);
    const entries: Entry[] = [];
    for (let at = lowerBound(this.#sorted, prefix); at < this.#sorted.length; at++) {
      const key = this.#sorted[at];
      if (!key?.startsWith(prefix)) break;
      const row = this.#rows.get(key);
      if (row) entries.push(entryOf(row));
    }
    return { rev: this.#rev, entries };
  }
  /** The keys that a lease holds now. */
  heldBy(lease: Lease): string[] {
    return [...this.#rows.values()].filter((row) => row.lease === lease).map((row) => row.key);
  }

  /** `null`: a condition failed, or a lease is lost. A commit without operations has the revision it was judged at. */
  stage(when: readonly Cond[], then: readonly Op[]): Staged | null {
    if (when.some((cond) => (this.#tip(cond.key)?.rev ?? 0n) !== cond.rev)) return null;
    if (then.some((op) => "put" in op && op.lease?.lost.aborted)) return null;
    if (then.length === 0) return { rev: this.#stagedRev, rows: new Map(), changes: [] };
    const rev = this.#stagedRev + 1n;
    const rows = new Map<string, Row | null>();
    const changes: Change[] = [];
    for (const op of then) {
      if ("put" in op) {
        const row = { key: op.put, value: op.value, rev, lease: op.lease };
        rows.set(op.put, row);
        changes.push(entryOf(row));
      } else {
        if (this.#tip(op.del)) changes.push({ key: op.del, deleted: true });
        rows.set(op.del, null);
      }
    }
    for (const [key, row] of rows) this.#staged.set(key, row);
    this.#stagedRev = rev;
    return { rev, rows, changes };
  }
  land(staged: Staged): void {
    if (staged.rows.size === 0) return;
    for (const [key, row] of staged.rows) {
      if ((row === null) === this.#rows.has(key)) this.#sorted = undefined;
      if (row) this.#rows.set(key, row);
      else this.#rows.delete(key);
      if (this.#staged.get(key) === row) this.#staged.delete(key);
    }
    this.#rev = staged.rev;
    if (this.#stagedRev === this.#rev) this.#staged.clear();
    this.#remember(staged);
    this.#wakeAll();
  }
  /** Nothing of what was staged and has not landed will land. */
  unstage(): void {
    this.#staged.clear();
    this.#stagedRev = this.#rev;
  }

  async *watch(prefix: string, after: Rev, stop: AbortSignal): AsyncGenerator<{ rev: Rev; changes: Change[] }> {
    let seen = after;
    while (!stop.aborted && !this.#ended) {
      if (seen >= this.#rev) {
        await this.#nextCommit(stop);
        continue;
      }
      const past = this.#pastAfter(seen);
      seen = past.rev;
      const changes = past.changes.filter((change) => change.key.startsWith(prefix));
      if (changes.length > 0) yield { rev: past.rev, changes };
    }
  }
  /** Ends every watch. */
  end(): void {
    this.#ended = true;
    this.#wakeAll();
  }

  /** One waiter that commit, stop and end all settle: racing a promise that lives as long as a watch would grow with each commit. */
  #nextCommit(stop: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#waiters.delete(done);
        stop.removeEventListener("abort", done);
        resolve();
      };
      this.#waiters.add(done);
      stop.addEventListener("abort", done);
    });
  }
  #wakeAll(): void {
    for (const done of [...this.#waiters]) done();
  }
  #tip(key: string): Row | null | undefined {
    const staged = this.#staged.get(key);
    return staged === undefined ? this.#rows.get(key) : staged;
  }
  #pastAfter(seen: Rev): Past {
    const first = this.#past[0];
    const past = first && seen + 1n >= first.rev ? this.#past[Number(seen + 1n - first.rev)] : undefined;
    if (past) return past;
    throw new Compacted(`the commits after revision ${seen} are no longer held`);
  }
  #remember(staged: Staged): void {
    let bytes = 64;
    for (const change of staged.changes)
      bytes += 64 + change.key.length + ("value" in change ? change.value.length : 0);
    this.#past.push({ rev: staged.rev, changes: staged.changes, bytes });
    this.#pastBytes += bytes;
    if (this.#past.length <= this.#bound.commits && this.#pastBytes <= this.#bound.bytes) return;
    // A tenth at once: cutting the front off costs as much as the array is long.
    const keep = Math.floor(this.#bound.commits * 0.9);
    let cut = Math.max(0, this.#past.length - keep);
    for (let at = 0; at < cut; at++) this.#pastBytes -= this.#past[at]?.bytes ?? 0;
    while (this.#pastBytes > this.#bound.bytes * 0.9 && cut < this.#past.length - 1) {
      this.#pastBytes -= this.#past[cut++]?.bytes ?? 0;
    }
    this.#past.splice(0, cut);
  }
}

function entryOf(row: Row): Entry {
  return { key: row.key, value: row.value, rev: row.rev };
}
