import { createHash } from "node:crypto";
import type { Bar } from "./bars.ts";

/**
 * The risk firewall's whole judgement: one call of `step` per bar, a function of state and bars. Nothing here knows time,
 * disk or network, so a crash can only ever lose a step that was not yet written down, and doing it again gives the same.
 *
 *   rule       long while the fast moving average of closes is above the slow one, flat otherwise; orders fill at the close
 *   size       `unitsMax` less one unit for each loss in a row, at least one: losing makes it smaller, never bolder
 *   lock       a session that has lost `sessionLossLimitCents` (open position included) is closed out and locked: no trade
 *              until the next session begins. Only the calendar opens the lock; no restart does.
 *   halt       while the agent holds the risk lock the position is closed out, and none is opened: only a person ends it.
 */
export interface Rules {
  readonly fastBars: number;
  readonly slowBars: number;
  readonly unitsMax: number;
  readonly sessionLossLimitCents: number;
}

/** What the README's figures were made with. */
export const defaultRules: Rules = { fastBars: 3, slowBars: 10, unitsMax: 4, sessionLossLimitCents: 15_000 };

/** One order that was filled. `n` counts within the run, from 1, without a gap. */
export interface Trade {
  readonly n: number;
  readonly bar: number;
  readonly date: string;
  readonly side: "buy" | "sell";
  readonly units: number;
  readonly priceCents: number;
  /** What a sell earned; 0 for a buy. */
  readonly profitCents: number;
}

/** The intraday history of the session (a month of bars). */
export interface Session {
  readonly name: string;
  /** At most two a bar, so bounded by the month. */
  readonly trades: readonly Trade[];
  readonly count: number;
  /** Units times price over all buys of the session. */
  readonly totalExposureCents: number;
  /** Realised in this session. */
  readonly profitCents: number;
  /** What an open position was worth when the session began, so that its loss counts in the session that saw it. */
  readonly openedAtCents: number;
  readonly lock: { readonly bar: number; readonly date: string; readonly lossCents: number } | null;
}

/** Everything the firewall must never forget; JSON-able, and stored in one piece after each bar. */
export interface State {
  readonly run: number;
  /** The bar that the next step takes: everything before it is done, once. */
  readonly next: number;
  readonly units: number;
  /** Paid for the open position; 0 when flat. */
  readonly costCents: number;
  /** Units times the last close. */
  readonly exposureCents: number;
  /** Sells in a row that lost. */
  readonly lossStreak: number;
  readonly worstLossStreak: number;
  readonly session: Session;
  /** Bars over which the agent's risk lock held, the last perhaps still: `[from, to)`. Each takes a person to end, so they are few. */
  readonly halts: readonly (readonly [from: number, to: number | null])[];
  /** The streaks when the run began: they do not end with it. */
  readonly began: Streaks;
  /** Sessions of this run that ended up locked. */
  readonly locks: number;
  readonly ledger: {
    /** SHA-256 over the earlier head and the trade: equal heads mean the same trades in the same order. */
    readonly head: string;
    readonly trades: number;
    readonly profitCents: number;
  };
}

/** Losses in a row, now and at the most. */
export interface Streaks {
  readonly lossStreak: number;
  readonly worstLossStreak: number;
}

/** What a step did, for people. */
export type Happening =
  | { readonly is: "trade"; readonly trade: Trade }
  | { readonly is: "lock"; readonly session: string; readonly lossCents: number }
  | { readonly is: "unlock"; readonly session: string }
  | { readonly is: "end"; readonly run: number };

const noStreaks: Streaks = { lossStreak: 0, worstLossStreak: 0 };

/** The state before the first bar of a run. */
export function begin(run: number, { lossStreak, worstLossStreak }: Streaks = noStreaks): State {
  return {
    run,
    next: 0,
    units: 0,
    costCents: 0,
    exposureCents: 0,
    lossStreak,
    worstLossStreak,
    session: newSession("", 0),
    halts: [],
    began: { lossStreak, worstLossStreak },
    locks: 0,
    ledger: { head: sha256(`risk-firewall run ${run}`), trades: 0, profitCents: 0 },
  };
}

/** Takes the next bar; `halted` while the agent holds the risk lock. At the end of the bars the next run begins, at its first bar. */
export function step(
  rules: Rules,
  bars: readonly Bar[],
  state: State,
  halted = false,
): { state: State; happened: Happening[] } {
  const bar = bars[state.next];
  if (bar === undefined) return { state: begin(state.run + 1, state), happened: [{ is: "end", run: state.run }] };
  const happened: Happening[] = [];

  let now = withHalt(state, halted);
  if (bar.session !== state.session.name) {
    if (state.session.lock !== null) happened.push({ is: "unlock", session: bar.session });
    now = { ...now, session: newSession(bar.session, now.exposureCents) };
  }

  const long = !halted && wantsLong(rules, bars, state.next);
  const lossCents = -sessionResult(now, bar.closeCents);
  if (now.session.lock === null && lossCents >= rules.sessionLossLimitCents) {
    if (now.units > 0) now = take(now, sell(now, bar), happened);
    happened.push({ is: "lock", session: bar.session, lossCents });
    const lock = { bar: state.next, date: bar.date, lossCents };
    now = { ...now, locks: now.locks + 1, session: { ...now.session, lock } };
  }
  if (now.session.lock === null) {
    if (long && now.units === 0) now = take(now, buy(rules, now, bar), happened);
    else if (!long && now.units > 0) now = take(now, sell(now, bar), happened);
  }
  return { state: { ...now, next: state.next + 1, exposureCents: now.units * bar.closeCents }, happened };
}

function withHalt(state: State, halted: boolean): State {
  const last = state.halts.at(-1);
  if (halted === (last?.[1] === null)) return state;
  if (halted) return { ...state, halts: [...state.halts, [state.next, null]] };
  return { ...state, halts: [...state.halts.slice(0, -1), [last?.[0] ?? 0, state.next]] };
}

/** Whether a stored state is exactly what its bars say: every trade up to its position once, and no lock lost. */
export type Verdict = { readonly ok: true } | { readonly ok: false; readonly because: string };

/** Replays the state's run from its first bar and compares everything. Takes a few milliseconds a run. */
export function verify(rules: Rules, bars: readonly Bar[], state: State): Verdict {
  if (!(state.next >= 0 && state.next <= bars.length)) {
    return { ok: false, because: `position ${state.next} is outside the ${bars.length} bars` };
  }
  let replayed = begin(state.run, state.began);
  while (replayed.next < state.next) {
    const at = replayed.next;
    const halted = state.halts.some(([from, to]) => from <= at && (to === null || at < to));
    replayed = step(rules, bars, replayed, halted).state;
  }
  if (replayed.ledger.trades !== state.ledger.trades) {
    return { ok: false, because: `${state.ledger.trades} trades are booked, the bars give ${replayed.ledger.trades}` };
  }
  if (replayed.ledger.head !== state.ledger.head) return { ok: false, because: "the trades are not those of the bars" };
  if ((replayed.session.lock === null) !== (state.session.lock === null)) {
    return { ok: false, because: "the session's lock is not as the bars say" };
  }
  if (encode(replayed) !== encode(state)) return { ok: false, because: "the risk state is not that of the bars" };
  return { ok: true };
}

/** The state as text, with its keys in one order. */
export function encode(state: object): string {
  return JSON.stringify(state, (_key, value: unknown) =>
    value !== null && typeof value === "object" && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  );
}

/** The other way round. Throws an Error when it is no such text: wrong memory is worse than none. */
export function decode(text: string): State {
  const state = JSON.parse(text) as Partial<State> | null;
  const whole =
    Number.isSafeInteger(state?.run) &&
    Number.isSafeInteger(state?.next) &&
    typeof state?.ledger?.head === "string" &&
    Array.isArray(state?.session?.trades) &&
    Array.isArray(state?.halts) &&
    Number.isSafeInteger(state?.began?.lossStreak) &&
    state?.session?.lock !== undefined;
  if (!whole) throw new Error("the stored state is not one of this program");
  return state as State;
}

function newSession(name: string, openedAtCents: number): Session {
  return { name, trades: [], count: 0, totalExposureCents: 0, profitCents: 0, openedAtCents, lock: null };
}

/** What the session has earned so far, the open position at this price included. */
function sessionResult(state: State, priceCents: number): number {
  const { session, units, costCents } = state;
  if (units === 0) return session.profitCents;
  const carried = !session.trades.some((trade) => trade.side === "buy") && session.openedAtCents > 0;
  return session.profitCents + units * priceCents - (carried ? session.openedAtCents : costCents);
}

function wantsLong(rules: Rules, bars: readonly Bar[], at: number): boolean {
  if (at + 1 < rules.slowBars) return false;
  // Cross-multiplied: integers compare exactly where averages would round.
  return sum(bars, at, rules.fastBars) * rules.slowBars > sum(bars, at, rules.slowBars) * rules.fastBars;
}

function sum(bars: readonly Bar[], at: number, count: number): number {
  return bars.slice(at + 1 - count, at + 1).reduce((total, bar) => total + bar.closeCents, 0);
}

function buy(rules: Rules, state: State, bar: Bar): Trade {
  const units = Math.max(1, rules.unitsMax - state.lossStreak);
  return trade(state, bar, { side: "buy", units, profitCents: 0 });
}

function sell(state: State, bar: Bar): Trade {
  const profitCents = state.units * bar.closeCents - state.costCents;
  return trade(state, bar, { side: "sell", units: state.units, profitCents });
}

function trade(state: State, bar: Bar, what: Pick<Trade, "side" | "units" | "profitCents">): Trade {
  return { n: state.ledger.trades + 1, bar: state.next, date: bar.date, priceCents: bar.closeCents, ...what };
}

/** Books a trade into position, streak, session and ledger. */
function take(state: State, done: Trade, happened: Happening[]): State {
  happened.push({ is: "trade", trade: done });
  const value = done.units * done.priceCents;
  const { session, ledger } = state;
  const selling = done.side === "sell";
  const lossStreak = !selling ? state.lossStreak : done.profitCents < 0 ? state.lossStreak + 1 : 0;
  // A position carried into the session was judged from its value at the session's start; what came before is another's.
  const carried = selling && !session.trades.some((t) => t.side === "buy") && session.openedAtCents > 0;
  const sessionProfit = carried ? value - session.openedAtCents : done.profitCents;
  return {
    ...state,
    units: selling ? 0 : done.units,
    costCents: selling ? 0 : value,
    lossStreak,
    worstLossStreak: Math.max(state.worstLossStreak, lossStreak),
    session: {
      ...session,
      trades: [...session.trades, done],
      count: session.count + 1,
      totalExposureCents: session.totalExposureCents + (selling ? 0 : value),
      profitCents: session.profitCents + sessionProfit,
    },
    ledger: {
      head: sha256(`${ledger.head} ${encodeTrade(done)}`),
      trades: done.n,
      profitCents: ledger.profitCents + done.profitCents,
    },
  };
}

function encodeTrade(t: Trade): string {
  return [t.n, t.bar, t.date, t.side, t.units, t.priceCents, t.profitCents].join(" ");
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
