/** The state API's messages and what they mean inside: the only file that knows both. */
import { createHash } from "node:crypto";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import {
  CommitRequestSchema,
  type LogInfo,
  LogInfoSchema,
  type RiskLimits,
  type RiskLock,
  RiskLockCause,
  RiskLockSchema,
  type RiskState,
  RiskStateSchema,
  type TradeRecord,
  TradeRecordSchema,
  type Operation as WireOperation,
  type Trade as WireTrade,
} from "@blueflame/shared/gen/blueflame/node/v1/state_pb.ts";
import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { stateMax } from "../state/bounds.ts";
import type { Operation, Request } from "../state/commit.ts";
import { type Cause, type Limits, type Lock, mayTrade, type Trade } from "../state/risk.ts";
import { type Booked, type KeptRisk, type LogMeta, logBytes } from "../state/space.ts";
import { oneLine } from "./caller.ts";

const nameForm = /^[A-Za-z0-9._/-]+$/;

/** A commit as it is asked for. Throws BAD_REQUEST. */
export function requestOf(id: string, operations: readonly WireOperation[], onlyWhileOpen: boolean): Request {
  if (operations.length < 1 || operations.length > stateMax.operations) {
    throw bad(`${operations.length} operations; a commit has 1 to ${stateMax.operations}`);
  }
  if (id !== "") checkName("request id", id, stateMax.idChars);
  // Whatever the version that asks, its own bytes are compared with each other.
  const bytes = toBinary(
    CommitRequestSchema,
    create(CommitRequestSchema, { operations: [...operations], onlyWhileOpen }),
  );
  if (bytes.length > stateMax.commitBytes)
    throw bad(`a commit of ${bytes.length} bytes, at most ${stateMax.commitBytes}`);
  const digest = id === "" ? "" : createHash("sha256").update(bytes).digest("hex").slice(0, 32);
  return { id, digest, operations: operations.map(operationOf), onlyWhileOpen };
}

function operationOf({ operation }: WireOperation): Operation {
  switch (operation.case) {
    case "put": {
      const { key, value, expectedRevision } = operation.value;
      if (value.length > stateMax.valueBytes) {
        throw bad(`value of ${value.length} bytes; at most ${stateMax.valueBytes} are kept per key`);
      }
      // A copy: the message's bytes are a view into everything that arrived with it.
      return { is: "put", key: keyOf(key), value: Uint8Array.from(value), expected: expectedOf(expectedRevision) };
    }
    case "delete":
      return { is: "delete", key: keyOf(operation.value.key), expected: expectedOf(operation.value.expectedRevision) };
    case "append":
      return { is: "append", log: logOf(operation.value.log), entries: entriesOf(operation.value.entries) };
    case "trim":
      return { is: "trim", log: logOf(operation.value.log), through: Number(operation.value.throughIndex) };
    case "trade":
      return { is: "trade", trade: tradeOf(operation.value) };
    case "lock":
      return { is: "lock", because: becauseOf(operation.value.because) };
    case "beginSession":
      return { is: "beginSession", name: checkName("session", operation.value.name, stateMax.idChars) };
    case "closeSession":
      return { is: "closeSession", because: becauseOf(operation.value.because) };
    case "exposure":
      return { is: "expose", openExposure: amountOf(operation.value.openExposure) };
    case "limits":
      return { is: "limits", limits: limitsOf(operation.value) };
    default:
      throw bad("an operation says nothing that this version knows");
  }
}

/** Throws BAD_REQUEST. */
export function keyOf(key: string): string {
  return checkName("key", key, stateMax.keyChars);
}
export function logOf(log: string): string {
  return checkName("log", log, stateMax.keyChars);
}

export function wireLock({ sinceWallMs, cause, because }: Lock): RiskLock {
  return create(RiskLockSchema, { since: timestampFromMs(sinceWallMs), cause: causes[cause], because });
}

/** What a person or a program is told of the risk state. */
export function wireRisk({ risk, changed }: KeptRisk): RiskState {
  const { session, lock, also = [] } = risk;
  return create(RiskStateSchema, {
    revision: BigInt(changed),
    mayTrade: mayTrade(risk),
    lossStreak: risk.lossStreak,
    worstLossStreak: risk.worstLossStreak,
    openExposure: BigInt(risk.openExposure),
    trades: BigInt(risk.trades),
    session: {
      name: session.name,
      ...(session.name !== "" && { beganAt: timestampFromMs(session.beganWallMs) }),
      trades: BigInt(session.trades),
      losses: BigInt(session.losses),
      profit: BigInt(session.profit),
      totalExposure: BigInt(session.totalExposure),
      firstTradeIndex: BigInt(session.firstTrade),
      closedBecause: session.closedBecause,
    },
    ...(lock && { lock: wireLock(lock) }),
    also: also.map(wireLock),
    limits: {
      lossStreak: risk.limits.lossStreak,
      sessionLoss: BigInt(risk.limits.sessionLoss),
      sessionTrades: risk.limits.sessionTrades,
      sessionExposure: BigInt(risk.limits.sessionExposure),
      openExposure: BigInt(risk.limits.openExposure),
    },
  });
}

const causes: Readonly<Record<Cause, RiskLockCause>> = {
  workload: RiskLockCause.WORKLOAD,
  limit: RiskLockCause.LIMIT,
  restored: RiskLockCause.RESTORED,
};

export function wireTrade({ index, atWallMs, session, trade }: Booked): TradeRecord {
  const { id, profit, exposure, openExposure, sessionProfit, data } = trade;
  return create(TradeRecordSchema, {
    index: BigInt(index),
    at: timestampFromMs(atWallMs),
    session,
    trade: {
      id,
      exposure: BigInt(exposure),
      data,
      ...(profit !== undefined && { profit: BigInt(profit) }),
      ...(openExposure !== undefined && { openExposure: BigInt(openExposure) }),
      ...(sessionProfit !== undefined && { sessionProfit: BigInt(sessionProfit) }),
    },
  });
}

export function wireLog(log: string, meta: LogMeta): LogInfo {
  const { first, last } = meta;
  return create(LogInfoSchema, {
    log,
    firstIndex: BigInt(first),
    lastIndex: BigInt(last),
    bytes: BigInt(logBytes(meta)),
  });
}

/** Items of a page, from what was asked. */
export function pageOf(limit: number): number {
  return limit === 0 ? stateMax.pageDefault : Math.min(limit, stateMax.page);
}

function tradeOf({ id, profit, exposure, openExposure, sessionProfit, data }: WireTrade): Trade {
  const optional = (amount: bigint | undefined) => (amount === undefined ? undefined : amountOf(amount));
  return {
    id,
    profit: optional(profit),
    exposure: amountOf(exposure),
    openExposure: optional(openExposure),
    sessionProfit: optional(sessionProfit),
    data: Uint8Array.from(data),
  };
}

function limitsOf(limits: RiskLimits): Limits {
  const { lossStreak, sessionLoss, sessionTrades, sessionExposure, openExposure } = limits;
  return {
    lossStreak,
    sessionLoss: amountOf(sessionLoss),
    sessionTrades,
    sessionExposure: amountOf(sessionExposure),
    openExposure: amountOf(openExposure),
  };
}

/** Sums are made in numbers that are exact below 2^53. */
function amountOf(amount: bigint): number {
  const number = Number(amount);
  if (!Number.isSafeInteger(number)) throw bad(`${amount} is no amount below 2^53`);
  return number;
}

function entriesOf(entries: readonly Uint8Array[]): Uint8Array[] {
  if (entries.length < 1 || entries.length > stateMax.entries) {
    throw bad(`${entries.length} entries; an append has 1 to ${stateMax.entries}`);
  }
  for (const { length } of entries) {
    if (length > stateMax.entryBytes) throw bad(`an entry of ${length} bytes, at most ${stateMax.entryBytes}`);
  }
  return entries.map((entry) => Uint8Array.from(entry));
}

function expectedOf(revision: bigint | undefined): number | undefined {
  return revision === undefined ? undefined : Number(revision);
}

/** One line: it goes into status and audit as it is. */
function becauseOf(because: string): string {
  const line = oneLine(because, because.length);
  if (line === "" || line.length > stateMax.becauseChars)
    throw bad(`a reason has 1 to ${stateMax.becauseChars} characters`);
  return line;
}

function checkName(what: string, name: string, charsMax: number): string {
  if (nameForm.test(name) && name.length <= charsMax) return name;
  const shown = JSON.stringify(name.slice(0, charsMax + 12));
  const form = `1 to ${charsMax} letters, digits, dots, dashes, underscores and slashes`;
  throw bad(`${what} ${shown} must be ${form}`);
}

function bad(saw: string): Fault {
  return new Fault("BAD_REQUEST", saw);
}
