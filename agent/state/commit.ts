/**
 * What a request makes of a space: all of its operations or none. Pure: the same space, request and context give the same changes,
 * so whoever replays the requests that were acknowledged has the same state, wherever the crash was.
 */
import { Fault, unreachable } from "@blueflame/shared/errors/fault.ts";
import { stateMax } from "./bounds.ts";
import {
  beginSession,
  book,
  closeSession,
  expose,
  freshRisk,
  type Limits,
  lock,
  lockedBecause,
  locksOf,
  mayTrade,
  type Risk,
  release,
  type Trade,
  tighten,
} from "./risk.ts";
import {
  apply,
  type Change,
  type Done,
  type KeptRisk,
  type KeyMeta,
  type LogMeta,
  type Result,
  type Space,
} from "./space.ts";

/** One part of a request; see `proto/blueflame/node/v1/state.proto`. */
export type Operation =
  | { readonly is: "put"; readonly key: string; readonly value: Uint8Array; readonly expected: number | undefined }
  | { readonly is: "delete"; readonly key: string; readonly expected: number | undefined }
  | { readonly is: "append"; readonly log: string; readonly entries: readonly Uint8Array[] }
  | { readonly is: "trim"; readonly log: string; readonly through: number }
  | { readonly is: "trade"; readonly trade: Trade }
  | { readonly is: "lock"; readonly because: string }
  | { readonly is: "beginSession"; readonly name: string }
  | { readonly is: "closeSession"; readonly because: string }
  | { readonly is: "expose"; readonly openExposure: number }
  | { readonly is: "limits"; readonly limits: Limits };

/** What an operation carries to the disk. */
export function carried(operation: Operation): readonly Uint8Array[] {
  if (operation.is === "put") return [operation.value];
  if (operation.is === "append") return operation.entries;
  return operation.is === "trade" ? [operation.trade.data] : [];
}

/** What a workload asks for. */
export interface Request {
  /** Empty: a repetition is a new request. */
  readonly id: string;
  /** Of the operations; compared when an id comes again. */
  readonly digest: string;
  readonly operations: readonly Operation[];
  readonly onlyWhileOpen: boolean;
}

/** What a decision is made with, beside the space. */
export interface Context {
  readonly workload: string;
  readonly wallMs: number;
  /** Which store this is, and how often it was doubted: a risk state with another mark counts as locked. */
  readonly mark: string;
  /** True where a risk state should be and none is: in a store that came from another one. */
  readonly doubtful: boolean;
  /** Since when the mark is this one. */
  readonly markedWallMs: number;
  /** What the config declares; undefined where it declares nothing. */
  readonly declared: Limits | undefined;
  /** `log\0index` → bytes of the log through that entry, read before: what a trim takes away. */
  readonly through: ReadonlyMap<string, number>;
  /** What all other workloads keep, gone ones too; absent: nothing. */
  readonly others?: { readonly bytes: number; readonly spaces: number };
}

/** What came of a request. */
export interface Answer {
  readonly revision: number;
  readonly results: readonly Result[];
  readonly alreadyDone: boolean;
  /** The risk state after it. */
  readonly risk: KeptRisk;
}

/** The answer, what is to be written for it, and how to take it back. */
export interface Decision {
  readonly answer: Answer;
  readonly changes: readonly Change[];
  /** Set when this request locked. */
  readonly locked: string | undefined;
  readonly undo: () => void;
}

const restoredBecause =
  "the state came from a backup, a repair, or a rebuilt or rolled-back store: newer losses may be missing from it";

/** The risk state as everybody must take it: locked where it may be an old one, and under the limits of the config. */
export function riskOf({ risk: kept }: Pick<Space, "risk">, context: Omit<Context, "through">): KeptRisk {
  const { mark, doubtful, markedWallMs, declared, wallMs } = context;
  const known = kept ?? { risk: freshRisk, changed: 0, mark: doubtful ? "" : mark };
  const trusted = known.mark === mark ? known.risk : lock(known.risk, "restored", restoredBecause, markedWallMs);
  const risk = declared ? tighten(trusted, declared, wallMs) : trusted;
  return risk === known.risk ? known : { ...known, risk };
}

/**
 * What a person's word makes of the risk state; see `release` in `risk.ts`. `opened` is empty when there was no lock. Throws
 * CONDITION_FALSE when there are more causes than the person has seen.
 */
export function releaseRisk(space: Space, context: Omit<Context, "through">, causesSeen = Number.POSITIVE_INFINITY) {
  const before = riskOf(space, context);
  const opened = locksOf(before.risk);
  if (opened.length > causesSeen) {
    throw new Fault("CONDITION_FALSE", `there is more to answer for by now: ${lockedBecause(before.risk)}`);
  }
  const risk = release(before.risk, context.declared);
  const kept: KeptRisk = { risk, changed: space.revision + 1, mark: context.mark };
  const change: Change = { is: "risk", kept };
  return { opened, kept, changes: [change], undo: apply(space, change) };
}

/**
 * Makes the request's changes in `space`. Throws, with the space as it was: BAD_REQUEST, STATE_CONFLICT, LIMIT_REACHED, RISK_LOCKED.
 */
export function commit(space: Space, request: Request, context: Context): Decision {
  const earlier = request.id === "" ? undefined : space.requests.get(request.id)?.done;
  if (earlier) {
    if (earlier.digest !== request.digest) {
      throw new Fault("BAD_REQUEST", `request id '${request.id}' was used for something else before`);
    }
    const { revision, results } = earlier;
    const answer = { revision, results, alreadyDone: true, risk: riskOf(space, context) };
    return { answer, changes: [], locked: undefined, undo: () => undefined };
  }
  const work = new Work(space, context);
  try {
    let checked = !request.onlyWhileOpen;
    const results = request.operations.map((operation) => {
      // A session that this commit begins is the one that must be open.
      if (!checked && operation.is !== "beginSession") {
        work.checkOpen();
        checked = true;
      }
      return work.run(operation);
    });
    if (!checked) work.checkOpen();
    work.keepRisk();
    const revision = work.changes.length > 0 ? work.revision : space.revision;
    if (request.id !== "") work.remember({ id: request.id, digest: request.digest, revision, results });
    const answer = { revision, results, alreadyDone: false, risk: riskOf(space, context) };
    return { answer, changes: work.changes, locked: work.locked, undo: () => work.undo() };
  } catch (error) {
    work.undo();
    throw error;
  }
}

/** So many requests are forgotten by one commit. */
const forgottenAtOnce = 4;

/** One request on its way through the space. */
class Work {
  readonly #space: Space;
  readonly #context: Context;
  readonly #undo: (() => void)[] = [];
  readonly #before: KeptRisk;
  #risk: Risk;
  readonly changes: Change[] = [];
  /** What the space's revision is if this changes anything. */
  readonly revision: number;

  constructor(space: Space, context: Context) {
    this.#space = space;
    this.#context = context;
    this.#before = riskOf(space, context);
    this.#risk = this.#before.risk;
    this.revision = space.revision + 1;
  }

  get locked(): string | undefined {
    return this.#before.risk.lock === null ? this.#risk.lock?.because : undefined;
  }

  checkOpen(): void {
    if (mayTrade(this.#risk)) return;
    const because = lockedBecause(this.#risk) || this.#risk.session.closedBecause;
    throw new Fault("RISK_LOCKED", `'${this.#context.workload}' may not trade: ${because}`);
  }

  run(operation: Operation): Result {
    const { wallMs } = this.#context;
    switch (operation.is) {
      case "put":
        return this.#put(operation.key, operation.value, operation.expected);
      case "delete":
        return this.#delete(operation.key, operation.expected);
      case "append":
        return this.#append(operation.log, operation.entries);
      case "trim":
        return this.#trim(operation.log, operation.through);
      case "trade":
        return this.#trade(operation.trade);
      case "lock":
        return this.#become(lock(this.#risk, "workload", operation.because, wallMs));
      case "beginSession":
        return this.#become(beginSession(this.#risk, operation.name, wallMs));
      case "closeSession":
        return this.#become(closeSession(this.#risk, operation.because));
      case "expose":
        return this.#become(expose(this.#risk, operation.openExposure, wallMs));
      case "limits":
        return this.#become(tighten(this.#risk, operation.limits, wallMs));
      default:
        return unreachable(operation);
    }
  }

  /** The risk state changes once per commit, however many operations are about it. */
  keepRisk(): void {
    const { mark } = this.#context;
    if (this.#risk === (this.#space.risk?.risk ?? freshRisk)) return;
    this.#make({ is: "risk", kept: { risk: this.#risk, changed: this.revision, mark } });
  }

  /** The oldest go a few at a time. */
  remember(done: Done): void {
    const number = this.#space.lastRequest + 1;
    this.#make({ is: "request", number, done: { ...done, atWallMs: this.#context.wallMs } });
    for (let gone = 0; gone < forgottenAtOnce && this.#isOver(this.#space.firstRequest); gone++) {
      this.#make({ is: "forgetRequest", number: this.#space.firstRequest });
    }
  }
  #isOver(number: number): boolean {
    const later = this.#space.lastRequest - number;
    if (later >= stateMax.requests) return true;
    const known = this.#space.requests.get(this.#space.requestIds.get(number) ?? "");
    const sinceMs = known?.done.atWallMs ?? Number.NEGATIVE_INFINITY;
    return later >= stateMax.requestsKept && this.#context.wallMs - sinceMs > stateMax.requestsForMs;
  }

  undo(): void {
    for (const undo of this.#undo.splice(0).reverse()) undo();
  }

  #make(change: Change): void {
    this.changes.push(change);
    this.#undo.push(apply(this.#space, change));
  }

  #become(risk: Risk): Result {
    this.#risk = risk;
    return { revision: 0, first: 0, last: 0 };
  }

  #put(key: string, value: Uint8Array, expected: number | undefined): Result {
    checkName(key);
    if (value.length > stateMax.valueBytes) {
      throw new Fault("BAD_REQUEST", `a value of ${value.length} bytes, at most ${stateMax.valueBytes}`);
    }
    const before = this.#expect(key, expected);
    const isNew = before === undefined || before.deleted;
    if (isNew && this.#space.live >= stateMax.keys) {
      throw new Fault("LIMIT_REACHED", `'${this.#context.workload}' keeps ${this.#space.live} keys: delete some`);
    }
    this.#fits(value.length - (before?.bytes ?? 0));
    // Above every revision that the key may have had before it was forgotten, or before the store was mended: nobody's old read passes for
    // a new one.
    const revision = Math.max(before?.revision ?? 0, this.#space.floor) + 1;
    this.#make({ is: "key", key, meta: this.#meta(revision, value.length, false), value });
    return { revision, first: 0, last: 0 };
  }

  #delete(key: string, expected: number | undefined): Result {
    const before = this.#expect(key, expected);
    if (before === undefined || before.deleted) return { revision: before?.revision ?? 0, first: 0, last: 0 };
    this.#make({ is: "key", key, meta: this.#meta(before.revision, 0, true), value: undefined });
    this.#forgetDeleted();
    return { revision: before.revision, first: 0, last: 0 };
  }

  #meta(revision: number, bytes: number, deleted: boolean): KeyMeta {
    return { revision, bytes, atWallMs: this.#context.wallMs, changed: this.revision, deleted };
  }

  #expect(key: string, expected: number | undefined): KeyMeta | undefined {
    const meta = this.#space.keys.get(key);
    const revision = meta && !meta.deleted ? meta.revision : 0;
    if (expected === undefined || expected === revision) return meta;
    const { workload } = this.#context;
    throw new Fault("STATE_CONFLICT", `'${key}' of '${workload}' has revision ${revision}, expected was ${expected}`);
  }

  /** The oldest of too many deleted keys is forgotten: a watcher who has not seen that yet must list again. */
  #forgetDeleted(): void {
    const deleted = [...this.#space.keys].filter(([, meta]) => meta.deleted);
    if (deleted.length <= stateMax.deleted) return;
    const [key, { changed, revision }] = deleted.reduce((a, b) => (a[1].changed <= b[1].changed ? a : b));
    this.#make({ is: "forgetKey", key });
    this.#make({ is: "horizon", revision: changed, floor: Math.max(this.#space.floor, revision) });
  }

  #append(log: string, entries: readonly Uint8Array[]): Result {
    checkName(log);
    const { logs } = this.#space;
    let meta: LogMeta = logs.get(log) ?? { first: 1, last: 0, appended: 0, trimmed: 0, changed: 0 };
    if (!logs.has(log) && logs.size >= stateMax.logs) {
      throw new Fault("LIMIT_REACHED", `'${this.#context.workload}' has ${logs.size} logs`);
    }
    this.#fits(entries.reduce((sum, entry) => sum + entry.length, 0));
    const first = meta.last + 1;
    for (const data of entries) {
      meta = { ...meta, last: meta.last + 1, appended: meta.appended + data.length, changed: this.revision };
      const entry = { atWallMs: this.#context.wallMs, through: meta.appended, data };
      this.#make({ is: "entry", log, index: meta.last, entry });
    }
    this.#make({ is: "log", log, meta });
    return { revision: 0, first, last: meta.last };
  }

  #trim(log: string, through: number): Result {
    const meta = this.#space.logs.get(log);
    const trimmed = this.#context.through.get(`${log}\0${through}`);
    // Trimmed already, by this one or by one that was faster.
    if (!meta || trimmed === undefined || through < meta.first)
      return { revision: 0, first: 0, last: (meta?.first ?? 1) - 1 };
    for (let index = meta.first; index <= through; index++) this.#make({ is: "dropEntry", log, index });
    this.#make({ is: "log", log, meta: { ...meta, first: through + 1, trimmed, changed: this.revision } });
    return { revision: 0, first: 0, last: through };
  }

  #trade(trade: Trade): Result {
    const { wallMs } = this.#context;
    this.#risk = book(this.#risk, trade, wallMs);
    const index = this.#risk.trades;
    this.#make({ is: "trade", booked: { index, atWallMs: wallMs, session: this.#risk.session.name, trade } });
    if (index > stateMax.trades) this.#make({ is: "dropTrade", index: index - stateMax.trades });
    return { revision: 0, first: index, last: index };
  }

  #fits(more: number): void {
    const bytes = this.#space.bytes + more;
    if (more <= 0) return;
    const { bytes: elsewhere, spaces } = this.#context.others ?? { bytes: 0, spaces: 0 };
    const forget =
      "`blueflame-agent state list` shows whose, `state forget` gives up what a workload kept that is gone";
    if (elsewhere + bytes > stateMax.allBytes) {
      throw new Fault("LIMIT_REACHED", `all workloads keep ${elsewhere + this.#space.bytes} bytes: ${forget}`);
    }
    if (this.#space.revision === 0 && spaces >= stateMax.spaces) {
      throw new Fault("LIMIT_REACHED", `${spaces} workloads keep something here: ${forget}`);
    }
    if (bytes <= stateMax.bytes) return;
    const kept = `'${this.#context.workload}' keeps ${this.#space.bytes} bytes of ${stateMax.bytes}`;
    throw new Fault("LIMIT_REACHED", `${kept}, ${more} more do not fit: delete keys or trim logs`);
  }
}

/** Names are parts of keys: NUL is what parts them, and half a character is none. */
function checkName(name: string): void {
  if (name !== "" && !name.includes("\0") && name.isWellFormed() && Buffer.byteLength(name) <= stateMax.nameBytes)
    return;
  throw new Fault("BAD_REQUEST", `a name must have 1 to ${stateMax.nameBytes} bytes of text without NUL`);
}
