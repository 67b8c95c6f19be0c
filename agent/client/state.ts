/** What a workload keeps at its agent, as its program sees it. Amounts are whole numbers of the smallest unit of its money. */
import { Fault } from "@blueflame/shared/errors/fault.ts";
import {
  OperationSchema,
  type RiskLimits,
  RiskLockCause,
  type RiskState,
  type TradeRecord,
  type RiskLock as WireLock,
  type Operation as WireOperation,
  type Trade as WireTrade,
} from "@blueflame/shared/gen/blueflame/node/v1/state_pb.ts";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";

/** A trade that has happened. */
export interface Trade {
  readonly id?: string;
  /** What it earned; negative is a loss. Left out: it opened a position, and the loss streak stays. */
  readonly profit?: number;
  /** What it earned for the session, where that is another amount. */
  readonly sessionProfit?: number;
  /** What it adds to the session's total exposure. Default 0. */
  readonly exposure?: number;
  /** What is at risk after it. Left out: unchanged. */
  readonly openExposure?: number;
  /** What the program wants to find again, at most 1 KiB. */
  readonly data?: Uint8Array;
}

/** A trade as it was booked. */
export interface BookedTrade extends Trade {
  readonly index: number;
  readonly at: Date;
  readonly session: string;
}

/** What locks when it is reached; left out or 0 is no limit. They can only be made tighter. */
export interface Limits {
  readonly lossStreak?: number;
  readonly sessionLoss?: number;
  readonly sessionTrades?: number;
  readonly sessionExposure?: number;
  readonly openExposure?: number;
}

/** The risk state, as it is on the agent's disk. */
export interface Risk {
  /** False while there is a lock or the session is closed: send no order then. */
  readonly mayTrade: boolean;
  readonly lossStreak: number;
  readonly worstLossStreak: number;
  readonly openExposure: number;
  readonly session: {
    readonly name: string;
    readonly trades: number;
    readonly losses: number;
    readonly profit: number;
    readonly totalExposure: number;
    /** `trades(firstTrade - 1)` is its history. */
    readonly firstTrade: number;
    /** Empty while it is open. */
    readonly closedBecause: string;
  };
  /** Only a person opens it: `blueflame-agent state unlock`. */
  readonly lock: RiskLock | undefined;
  /** What would have locked while it was, each of another cause: the release opens these, too. */
  readonly also: readonly RiskLock[];
  readonly limits: Required<Limits>;
  /** All trades ever booked. */
  readonly trades: number;
}

/** Why trading is locked. */
interface RiskLock {
  readonly since: Date;
  readonly cause: LockCause;
  readonly because: string;
}
export type LockCause = "workload" | "limit" | "restored" | "unknown";

/** One part of a commit. Sentences and the session's name are for people: status shows them, and the audit of node and hub keeps them. */
export type Operation =
  | { readonly put: { readonly key: string; readonly value: Uint8Array; readonly expectedRevision?: bigint } }
  | { readonly delete: { readonly key: string; readonly expectedRevision?: bigint } }
  | { readonly append: { readonly log: string; readonly entries: readonly Uint8Array[] } }
  | { readonly trim: { readonly log: string; readonly through: number } }
  | { readonly trade: Trade }
  | { readonly lock: string }
  | { readonly beginSession: string }
  | { readonly closeSession: string }
  | { readonly openExposure: number }
  | { readonly limits: Limits };

export function wireOperation(operation: Operation): WireOperation {
  return create(OperationSchema, { operation: partOf(operation) });
}

function partOf(operation: Operation): NonNullable<MessageInitShape<typeof OperationSchema>["operation"]> {
  if ("put" in operation) return { case: "put", value: operation.put };
  if ("delete" in operation) return { case: "delete", value: operation.delete };
  if ("append" in operation) {
    return { case: "append", value: { log: operation.append.log, entries: [...operation.append.entries] } };
  }
  if ("trim" in operation) {
    return { case: "trim", value: { log: operation.trim.log, throughIndex: indexOf(operation.trim.through) } };
  }
  if ("trade" in operation) return { case: "trade", value: wireTrade(operation.trade) };
  if ("lock" in operation) return { case: "lock", value: { because: operation.lock } };
  if ("beginSession" in operation) return { case: "beginSession", value: { name: operation.beginSession } };
  if ("closeSession" in operation) return { case: "closeSession", value: { because: operation.closeSession } };
  if ("limits" in operation) return { case: "limits", value: wireLimits(operation.limits) };
  if ("openExposure" in operation) {
    return { case: "exposure", value: { openExposure: whole("openExposure", operation.openExposure) } };
  }
  throw new Fault("BAD_REQUEST", `an operation of an unknown kind: {${Object.keys(operation as object).join(", ")}}`);
}

/** Throws BAD_REQUEST for what is no whole number that a JavaScript number holds exactly. */
function whole(name: string, value: number): bigint {
  if (Number.isSafeInteger(value)) return BigInt(value);
  throw new Fault("BAD_REQUEST", `${name} is ${value}; allowed is a whole number below 2^53`);
}
function count(name: string, value: number): number {
  if (Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff) return value;
  throw new Fault("BAD_REQUEST", `${name} is ${value}; allowed is a whole number from 0 to 4294967295`);
}
/** The number of a log's entry or of a trade, for the wire. Throws BAD_REQUEST. */
export function indexOf(value: number): bigint {
  if (Number.isSafeInteger(value) && value >= 0) return BigInt(value);
  throw new Fault("BAD_REQUEST", `the index is ${value}; allowed is a whole number from 0`);
}

function wireTrade({ id = "", exposure = 0, profit, sessionProfit, openExposure, data }: Trade) {
  return {
    id,
    exposure: whole("exposure", exposure),
    ...(profit !== undefined && { profit: whole("profit", profit) }),
    ...(sessionProfit !== undefined && { sessionProfit: whole("sessionProfit", sessionProfit) }),
    ...(openExposure !== undefined && { openExposure: whole("openExposure", openExposure) }),
    ...(data && { data }),
  };
}

function wireLimits(limits: Limits) {
  const { lossStreak = 0, sessionLoss = 0, sessionTrades = 0, sessionExposure = 0, openExposure = 0 } = limits;
  return {
    lossStreak: count("lossStreak", lossStreak),
    sessionLoss: whole("sessionLoss", sessionLoss),
    sessionTrades: count("sessionTrades", sessionTrades),
    sessionExposure: whole("sessionExposure", sessionExposure),
    openExposure: whole("openExposure", openExposure),
  };
}

const causes: Readonly<Partial<Record<RiskLockCause, LockCause>>> = {
  [RiskLockCause.WORKLOAD]: "workload",
  [RiskLockCause.LIMIT]: "limit",
  [RiskLockCause.RESTORED]: "restored",
};

/** An answer without a risk state says that nothing may be traded: whoever does not know stays locked. */
export function riskFrom(state: RiskState | undefined): Risk {
  const { session, lock, limits } = state ?? {};
  return {
    mayTrade: state?.mayTrade ?? false,
    lossStreak: state?.lossStreak ?? 0,
    worstLossStreak: state?.worstLossStreak ?? 0,
    openExposure: Number(state?.openExposure ?? 0n),
    session: {
      name: session?.name ?? "",
      trades: Number(session?.trades ?? 0n),
      losses: Number(session?.losses ?? 0n),
      profit: Number(session?.profit ?? 0n),
      totalExposure: Number(session?.totalExposure ?? 0n),
      firstTrade: Number(session?.firstTradeIndex ?? 1n),
      closedBecause: session?.closedBecause ?? "",
    },
    lock: lock && lockFrom(lock),
    also: (state?.also ?? []).map(lockFrom),
    limits: limitsFrom(limits),
    trades: Number(state?.trades ?? 0n),
  };
}

function lockFrom({ since, cause, because }: WireLock): RiskLock {
  return { since: since ? timestampDate(since) : new Date(0), cause: causes[cause] ?? "unknown", because };
}

function limitsFrom(limits: RiskLimits | undefined): Required<Limits> {
  return {
    lossStreak: limits?.lossStreak ?? 0,
    sessionLoss: Number(limits?.sessionLoss ?? 0n),
    sessionTrades: limits?.sessionTrades ?? 0,
    sessionExposure: Number(limits?.sessionExposure ?? 0n),
    openExposure: Number(limits?.openExposure ?? 0n),
  };
}

export function tradeFrom({ index, at, session, trade }: TradeRecord): BookedTrade {
  return { index: Number(index), at: at ? timestampDate(at) : new Date(0), session, ...amountsFrom(trade) };
}

function amountsFrom(trade: WireTrade | undefined): Trade {
  return {
    id: trade?.id ?? "",
    exposure: Number(trade?.exposure ?? 0n),
    data: Uint8Array.from(trade?.data ?? []),
    ...(trade?.profit !== undefined && { profit: Number(trade.profit) }),
    ...(trade?.sessionProfit !== undefined && { sessionProfit: Number(trade.sessionProfit) }),
    ...(trade?.openExposure !== undefined && { openExposure: Number(trade.openExposure) }),
  };
}
