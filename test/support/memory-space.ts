import { type Context, commit, type Request, releaseRisk, riskOf } from "@blueflame/agent/state/commit.ts";
import { apply, type Booked, type Change, type Entry, Space } from "@blueflame/agent/state/space.ts";
import type { WorkloadSpace } from "@blueflame/agent/store/workload-spaces.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";

/** What a workload keeps, decided as the real store decides it, on a disk that is memory. */
export class MemorySpace implements WorkloadSpace {
  readonly #space = new Space();
  readonly #values = new Map<string, { value: Uint8Array; revision: number }>();
  readonly #entries = new Map<string, Entry>();
  readonly #trades = new Map<number, Booked>();
  readonly #wakes = new Set<() => void>();
  readonly #context: Omit<Context, "through">;
  /** Awaited before each commit is decided, and again before it is acknowledged; gets the first key that is put. */
  onCommit: (moment: "before" | "after", key: string) => Promise<void> | void = () => {};

  constructor(workload: string) {
    const mark = "memory#0";
    this.#context = { workload, wallMs: 0, mark, doubtful: false, markedWallMs: 0, declared: undefined };
  }

  /** Looks at a value without asking anybody. */
  peek(key: string) {
    return this.#values.get(key);
  }

  contents() {
    return this.#space;
  }
  risk() {
    return riskOf(this.#space, this.#now());
  }
  async get(key: string) {
    return this.#values.get(key);
  }
  async commit(request: Request) {
    const put = request.operations.find((one) => one.is === "put");
    await this.onCommit("before", put?.key ?? "");
    const { answer, changes } = commit(this.#space, request, { ...this.#now(), through: new Map() });
    this.#keep(changes);
    await this.onCommit("after", put?.key ?? "");
    return answer;
  }
  async release(_person = "", _reason = "", causesSeen?: number) {
    const { opened, changes } = releaseRisk(this.#space, this.#now(), causesSeen);
    this.#keep(changes);
    return opened;
  }
  async readLog(log: string, after: number, limit: number) {
    const meta = this.#space.logs.get(log);
    if (!meta) throw new Fault("NOT_FOUND", `there is no log '${log}'`);
    const found = [];
    for (let index = Math.max(after + 1, meta.first); index <= meta.last && found.length < limit; index++) {
      const entry = this.#entries.get(`${log}\0${index}`);
      if (entry) found.push({ index, ...entry });
    }
    return found;
  }
  async readTrades(after: number, limit: number) {
    return [...this.#trades.values()].filter(({ index }) => index > after).slice(0, limit);
  }
  onChange(wake: () => void): () => void {
    this.#wakes.add(wake);
    return () => this.#wakes.delete(wake);
  }

  #now() {
    return { ...this.#context, wallMs: Date.now() };
  }
  #keep(changes: readonly Change[]): void {
    for (const change of changes) {
      if (change.is === "key") {
        if (change.value) this.#values.set(change.key, { value: change.value, revision: change.meta.revision });
        else this.#values.delete(change.key);
      }
      if (change.is === "entry") this.#entries.set(`${change.log}\0${change.index}`, change.entry);
      if (change.is === "trade") this.#trades.set(change.booked.index, change.booked);
    }
    if (changes.length > 0) for (const wake of this.#wakes) wake();
  }

  /** What an earlier life has left: as if it had been put, at a revision of the test's choice. */
  plant(key: string, value: Uint8Array, revision: number): void {
    const meta = { revision, bytes: value.length, atWallMs: 0, changed: this.#space.revision + 1, deleted: false };
    apply(this.#space, { is: "key", key, meta, value });
    this.#values.set(key, { value, revision });
  }
}
