/**
 * The risk state of one workload, and what each event makes of it. Pure: amounts are whole numbers of the smallest unit of the
 * account's money, times are wall times of the agent.
 *
 *              lock, limit reached, state of doubtful origin
 *   may trade ──────────────────────────────────────────────▶ locked ── release by a person ──▶ may trade
 *      │ ▲                                                      ▲ │
 *      ▼ │ a later session begins              the same causes  │ └─ trades, sessions, restarts: stays locked
 *   session closed ─────────────────────────────────────────────┘
 *
 * What has happened is always booked, locked or not. Nothing but `release` makes anything looser.
 */
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { stateMax } from "./bounds.ts";

/** What locks when it is reached; 0 is no limit. */
export interface Limits {
  readonly lossStreak: number;
  readonly sessionLoss: number;
  readonly sessionTrades: number;
  readonly sessionExposure: number;
  readonly openExposure: number;
}

/** Who set a lock. */
export type Cause = "workload" | "limit" | "restored";

export interface Lock {
  readonly sinceWallMs: number;
  readonly cause: Cause;
  readonly because: string;
}

/** The running session; its name is empty until the first one has begun. */
export interface Session {
  readonly name: string;
  readonly beganWallMs: number;
  readonly trades: number;
  readonly losses: number;
  readonly profit: number;
  readonly totalExposure: number;
  readonly firstTrade: number;
  /** Empty while it is open. */
  readonly closedBecause: string;
}

/** JSON-able; stored in one piece. */
export interface Risk {
  readonly lossStreak: number;
  readonly worstLossStreak: number;
  readonly openExposure: number;
  readonly session: Session;
  readonly lock: Lock | null;
  /** What would have locked while it was: the first of each other cause. A release answers for these, too. Absent: none. */
  readonly also?: readonly Lock[];
  readonly limits: Limits;
  /** All trades ever booked: the index of the last one. */
  readonly trades: number;
}

/** A trade as a workload tells it. */
export interface Trade {
  readonly id: string;
  /** Undefined: nothing was realised, and the streak stays. */
  readonly profit: number | undefined;
  readonly exposure: number;
  readonly openExposure: number | undefined;
  readonly data: Uint8Array;
  /** Undefined: as `profit`. */
  readonly sessionProfit: number | undefined;
}

export const noLimits: Limits = {
  lossStreak: 0,
  sessionLoss: 0,
  sessionTrades: 0,
  sessionExposure: 0,
  openExposure: 0,
};

/** Of a workload that has never told anything. */
export const freshRisk: Risk = {
  lossStreak: 0,
  worstLossStreak: 0,
  openExposure: 0,
  session: {
    name: "",
    beganWallMs: 0,
    trades: 0,
    losses: 0,
    profit: 0,
    totalExposure: 0,
    firstTrade: 1,
    closedBecause: "",
  },
  lock: null,
  limits: noLimits,
  trades: 0,
};

/** May an order be sent? */
export function mayTrade(risk: Risk): boolean {
  return risk.lock === null && risk.session.closedBecause === "";
}

/** Books a trade and locks when a limit is reached. Throws BAD_REQUEST, and LIMIT_REACHED in a session that cannot be read whole any more. */
export function book(risk: Risk, trade: Trade, wallMs: number): Risk {
  const { session } = risk;
  if (session.trades >= stateMax.trades) {
    throw new Fault("LIMIT_REACHED", `session '${session.name}' has ${session.trades} trades: begin another one`);
  }
  if (trade.id.length > stateMax.idChars || trade.data.length > stateMax.tradeBytes) {
    const allowed = `${stateMax.idChars} characters of id and ${stateMax.tradeBytes} bytes of data`;
    throw new Fault("BAD_REQUEST", `trade '${trade.id.slice(0, stateMax.idChars)}' is too big; allowed are ${allowed}`);
  }
  const lost = trade.profit !== undefined && trade.profit < 0;
  const lossStreak = lost ? risk.lossStreak + 1 : trade.profit === undefined ? risk.lossStreak : 0;
  const booked: Risk = {
    ...risk,
    lossStreak,
    worstLossStreak: Math.max(risk.worstLossStreak, lossStreak),
    openExposure: trade.openExposure === undefined ? risk.openExposure : atLeastZero(trade.openExposure, "exposure"),
    trades: risk.trades + 1,
    session: {
      ...session,
      trades: session.trades + 1,
      losses: session.losses + (lost ? 1 : 0),
      profit: exact(session.profit + amount(trade.sessionProfit ?? trade.profit ?? 0)),
      totalExposure: exact(session.totalExposure + atLeastZero(trade.exposure, "exposure")),
    },
  };
  amount(trade.profit ?? 0);
  return judged(risk, booked, wallMs);
}

/** Says what is at risk now. Throws BAD_REQUEST. */
export function expose(risk: Risk, openExposure: number, wallMs: number): Risk {
  return judged(risk, { ...risk, openExposure: atLeastZero(openExposure, "exposure") }, wallMs);
}

/** Set once: a lock that is set stays as it is. What else would have locked is kept beside it, once for each cause. */
export function lock(risk: Risk, cause: Cause, because: string, wallMs: number): Risk {
  const set: Lock = { sinceWallMs: wallMs, cause, because };
  if (!risk.lock) return { ...risk, lock: set };
  return locksOf(risk).some((one) => one.cause === cause) ? risk : { ...risk, also: [...(risk.also ?? []), set] };
}

/** The lock with everything that a release of it would open; empty when there is none. */
export function locksOf({ lock: first, also = [] }: Pick<Risk, "lock" | "also">): readonly Lock[] {
  return first ? [first, ...also] : [];
}

/** Why it is locked, with every cause; empty when it is not. */
export function lockedBecause(risk: Pick<Risk, "lock" | "also">): string {
  return locksOf(risk)
    .map(({ because }) => because)
    .join("; and ");
}

/** The counts of the session begin anew; streak, exposure and lock stay. Throws BAD_REQUEST for a name that would bring a day back. */
export function beginSession(risk: Risk, name: string, wallMs: number): Risk {
  const { session } = risk;
  if (name === session.name) return risk;
  if (name < session.name) {
    throw new Fault("BAD_REQUEST", `session '${name}' does not sort after '${session.name}', which is running`);
  }
  const began = { ...freshRisk.session, name, beganWallMs: wallMs, firstTrade: risk.trades + 1 };
  return { ...risk, session: began };
}

/** Closes the session to trading until the next one begins; the first reason stays. */
export function closeSession(risk: Risk, because: string): Risk {
  if (risk.session.closedBecause !== "") return risk;
  return { ...risk, session: { ...risk.session, closedBecause: because } };
}

/** The limits only ever become tighter. One that is reached already locks at once. Throws BAD_REQUEST. */
export function tighten(risk: Risk, declared: Limits, wallMs: number): Risk {
  const limits = tightest(risk.limits, declared);
  return same(limits, risk.limits) ? risk : judged(risk, { ...risk, limits }, wallMs);
}

/**
 * A person takes responsibility: the lock is open, and the limits are those that the config declares now, if it does. What
 * was reached before locks again when it becomes worse, not at the next thing that happens: one more loss, not the order before it.
 */
export function release(risk: Risk, declared: Limits | undefined): Risk {
  const { also: _opened, ...rest } = risk;
  return { ...rest, lock: null, limits: declared ?? risk.limits };
}

/** Each limit with its value, and how it is said. */
const measures: readonly {
  readonly limit: keyof Limits;
  value(risk: Risk): number;
  say(risk: Risk, value: number): string;
}[] = [
  { limit: "lossStreak", value: (risk) => risk.lossStreak, say: (_, value) => `${value} losses in a row` },
  {
    limit: "sessionLoss",
    value: ({ session }) => -session.profit,
    say: ({ session }, value) => `session '${session.name}' has lost ${value}`,
  },
  {
    limit: "sessionTrades",
    value: ({ session }) => session.trades,
    say: ({ session }, value) => `session '${session.name}' has ${value} trades`,
  },
  {
    limit: "sessionExposure",
    value: ({ session }) => session.totalExposure,
    say: ({ session }, value) => `session '${session.name}' has a total exposure of ${value}`,
  },
  { limit: "openExposure", value: (risk) => risk.openExposure, say: (_, value) => `an exposure of ${value} is open` },
];

/** Locks when a limit is reached that was not, or that is reached by more, or that is another one than before. */
function judged(before: Risk, after: Risk, wallMs: number): Risk {
  for (const { limit, value, say } of measures) {
    const now = value(after);
    const max = after.limits[limit];
    const worse = now > value(before) || max !== before.limits[limit];
    if (max > 0 && now >= max && worse) {
      return lock(after, "limit", `${say(after, now)}, the limit is ${max}`, wallMs);
    }
  }
  return after;
}

function tightest(a: Limits, b: Limits): Limits {
  const tighter = (one: number, other: number) => {
    atLeastZero(other, "limit");
    return one === 0 || other === 0 ? Math.max(one, other) : Math.min(one, other);
  };
  return {
    lossStreak: tighter(a.lossStreak, b.lossStreak),
    sessionLoss: tighter(a.sessionLoss, b.sessionLoss),
    sessionTrades: tighter(a.sessionTrades, b.sessionTrades),
    sessionExposure: tighter(a.sessionExposure, b.sessionExposure),
    openExposure: tighter(a.openExposure, b.openExposure),
  };
}

function same(a: Limits, b: Limits): boolean {
  return (Object.keys(noLimits) as (keyof Limits)[]).every((key) => a[key] === b[key]);
}

function amount(value: number): number {
  if (!Number.isSafeInteger(value)) throw new Fault("BAD_REQUEST", `${value} is no whole amount below 2^53`);
  return value;
}
function atLeastZero(value: number, what: string): number {
  if (value < 0) throw new Fault("BAD_REQUEST", `${what} ${value} is below 0`);
  return amount(value);
}
/** A sum that cannot be exact any more must not be taken for one. */
function exact(sum: number): number {
  if (!Number.isSafeInteger(sum)) throw new Fault("LIMIT_REACHED", `the session's sum would be beyond 2^53`);
  return sum;
}
