import { createInterface } from "node:readline/promises";
import { type OutputOptions, printOne, printRows } from "@blueflame/shared/cli/print.ts";
import { interruption } from "@blueflame/shared/cli/run.ts";
import type { Column } from "@blueflame/shared/cli/table.ts";
import { clean } from "@blueflame/shared/cli/text.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import {
  ForgetStateResponseSchema,
  GetStateResponseSchema,
  type WorkloadState,
  WorkloadStateSchema,
} from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import {
  type KeyInfo,
  KeyInfoSchema,
  type LogEntry,
  LogEntrySchema,
  type RiskLock,
  RiskLockSchema,
  type RiskState,
  RiskStateSchema,
  type TradeRecord,
  TradeRecordSchema,
} from "@blueflame/shared/gen/blueflame/node/v1/state_pb.ts";
import { toJson } from "@bufbuild/protobuf";
import { type Timestamp, timestampDate } from "@bufbuild/protobuf/wkt";
import { ask } from "./ask.driver.ts";
import { personHere } from "./person.ts";

/** The flags of all of them. */
export interface StateOptions extends OutputOptions {
  readonly dataDir: string;
}

/** As many keys as there can be. */
const keysMax = 1000;

/** Prints what each workload keeps and how its risk stands; or the keys and logs of one. Rejects with NOT_FOUND. */
export async function stateList(workload: string | undefined, options: StateOptions): Promise<void> {
  const page = { prefix: "", afterKey: "", limit: keysMax };
  const found = await ask(options.dataDir, (desk) => desk.listState({ workload: workload ?? "", page }));
  if (workload === undefined) {
    return printRows(found.workloads, spaceColumns, { ...options, json: (row) => toJson(WorkloadStateSchema, row) });
  }
  const logs = found.logs.map(({ log, firstIndex, lastIndex, bytes }) => ({ log, firstIndex, lastIndex, bytes }));
  if ((options.output ?? "table") !== "table") {
    const keys = (found.keys?.keys ?? []).map((row) => toJson(KeyInfoSchema, row));
    const [space] = found.workloads;
    const risk = space?.risk && toJson(RiskStateSchema, space.risk);
    const plain = logs.map((one) => ({
      ...one,
      firstIndex: `${one.firstIndex}`,
      lastIndex: `${one.lastIndex}`,
      bytes: `${one.bytes}`,
    }));
    return printOne({ workload, keys, logs: plain, risk: risk ?? null }, [], { ...options, json: (row) => row });
  }
  printRows(found.keys?.keys ?? [], keyColumns, { ...options, json: (row) => toJson(KeyInfoSchema, row) });
  const lines = logs.map(
    ({ log, firstIndex, lastIndex, bytes }) => `log ${log}: ${firstIndex} to ${lastIndex}, ${bytes} bytes`,
  );
  process.stdout.write([...lines, riskLine(found.workloads[0]?.risk), ""].join("\n"));
}

/** Writes a key's value to stdout, byte by byte as it was put; with another format than `table` its revision too. */
export async function stateGet(workload: string, key: string, options: StateOptions): Promise<void> {
  const found = await ask(options.dataDir, (desk) => desk.getState({ workload, key }));
  if ((options.output ?? "table") !== "table") {
    return printOne(found, [], { ...options, json: (row) => toJson(GetStateResponseSchema, row) });
  }
  // A terminal would obey what stands in it; a pipe gets it as it is.
  process.stdout.write(process.stdout.isTTY ? `${clean(Buffer.from(found.value).toString())}\n` : found.value);
}

/** Prints the newest entries of a log, or the newest trades. */
export async function stateLog(
  workload: string,
  log: string | undefined,
  options: StateOptions & { readonly limit: number },
): Promise<void> {
  const request = { workload, log: log ?? "", limit: options.limit };
  const { entries, trades } = await ask(options.dataDir, (desk) => desk.readStateLog(request));
  if (log === undefined) {
    return printRows(trades, tradeColumns, { ...options, json: (row) => toJson(TradeRecordSchema, row) });
  }
  printRows(entries, entryColumns, { ...options, json: (row) => toJson(LogEntrySchema, row) });
}

/**
 * A person gives up all that a workload kept which is no longer guarded here. Rejects with DENIED inside a workload, RISK_LOCKED while
 * its risk is locked, BAD_REQUEST for one that is guarded, NOT_FOUND.
 */
export async function stateForget(
  workload: string,
  options: StateOptions & { readonly reason: string },
): Promise<void> {
  if (process.env.BLUEFLAME_TOKEN) {
    throw new Fault("DENIED", "this command runs inside a workload; what one kept is given up by a person at the node");
  }
  const request = { workload, person: personHere(), reason: options.reason };
  const gone = await ask(options.dataDir, (desk) => desk.forgetState(request));
  if ((options.output ?? "table") !== "table") {
    return printOne(gone, [], { ...options, json: (row) => toJson(ForgetStateResponseSchema, row) });
  }
  const { keys, bytes, trades } = gone;
  process.stdout.write(`forgot ${clean(workload)}: ${keys} keys, ${bytes} bytes, ${trades} trades\n`);
}

/** What an unlock takes beside the flags of all. */
export interface UnlockOptions extends StateOptions {
  readonly reason: string;
  /** Does not ask; without a terminal nobody is asked anyway. */
  readonly yes?: boolean;
}

/**
 * A person opens a workload's risk lock, with the reason for the audit, and takes the limits of the config as they are now. At a
 * terminal every cause is shown and has to be confirmed. Rejects with DENIED inside a workload, with BAD_REQUEST
 * without a reason, and with CONDITION_FALSE without a yes, or when another cause has come since it was shown.
 */
export async function stateUnlock(workload: string, options: UnlockOptions): Promise<void> {
  if (process.env.BLUEFLAME_TOKEN) {
    throw new Fault("DENIED", "this command runs inside a workload; a risk lock is opened by a person at the node");
  }
  const { dataDir, reason } = options;
  const seen = await ask(dataDir, (desk) => desk.listState({ workload }));
  const causes = locksOf(seen.workloads[0]?.risk);
  if (causes.length > 0 && !options.yes) await confirmed(workload, causes);
  const request = { workload, person: personHere(), reason, causesSeen: causes.length };
  const { opened, risk, locks } = await ask(dataDir, (desk) => desk.unlockRisk(request));
  if ((options.output ?? "table") !== "table") {
    const answer = {
      opened,
      locks: locks.map((one) => toJson(RiskLockSchema, one)),
      risk: risk ? toJson(RiskStateSchema, risk) : null,
    };
    return printOne(answer, [], { ...options, json: (row) => row });
  }
  const lines = locks.map((one) => `opened: ${lockLine(one)}`);
  process.stdout.write(
    [...lines, `${opened ? "" : "there was no lock; "}${clean(workload)} is ${riskLine(risk)}`, ""].join("\n"),
  );
}

/** Rejects with CONDITION_FALSE unless whoever sits at the terminal says yes. */
async function confirmed(workload: string, causes: readonly RiskLock[]): Promise<void> {
  const { stdin, stderr } = process;
  if (!stdin.isTTY) return;
  const lines = causes.map((one) => `  ${lockLine(one)}`);
  stderr.write(["You answer for all of this:", ...lines, ""].join("\n"));
  const terminal = createInterface({ input: stdin, output: stderr });
  try {
    const answer = await terminal.question(`May '${clean(workload)}' trade again? [yes/no] `, {
      signal: interruption(),
    });
    if (!/^y(es)?$/i.test(answer.trim())) throw new Fault("CONDITION_FALSE", "nobody said yes: the lock stays");
  } finally {
    terminal.close();
  }
}

function locksOf(risk: RiskState | undefined): readonly RiskLock[] {
  return risk?.lock ? [risk.lock, ...risk.also] : [];
}

function lockLine({ since, because }: RiskLock): string {
  return `since ${time(since)}: ${clean(because)}`;
}

function riskLine(risk: RiskState | undefined): string {
  if (!risk) return "without a risk state";
  const { lock, session, lossStreak } = risk;
  if (lock) return `LOCKED ${locksOf(risk).map(lockLine).join("; and ")}`;
  if (session?.closedBecause) return `closed until the next session: ${clean(session.closedBecause)}`;
  return `open, ${lossStreak} losses in a row`;
}

function riskTone({ risk }: WorkloadState): "good" | "warn" | "worst" {
  return risk?.lock ? "worst" : risk?.mayTrade ? "good" : "warn";
}

const spaceColumns: readonly Column<WorkloadState>[] = [
  { title: "WORKLOAD", value: (row) => clean(row.workload) },
  { title: "KEYS", value: (row) => String(row.keys) },
  { title: "LOGS", value: (row) => String(row.logs) },
  { title: "BYTES", value: (row) => String(row.bytes) },
  { title: "TRADES", value: (row) => String(row.risk?.trades ?? 0n) },
  { title: "SESSION", value: (row) => clean(row.risk?.session?.name ?? "") },
  { title: "RISK", value: (row) => riskLine(row.risk), tone: riskTone },
];

const keyColumns: readonly Column<KeyInfo>[] = [
  { title: "KEY", value: (row) => clean(row.key) },
  { title: "REVISION", value: (row) => String(row.revision) },
  { title: "BYTES", value: (row) => String(row.bytes) },
  { title: "PUT", value: (row) => time(row.at) },
];

const entryColumns: readonly Column<LogEntry>[] = [
  { title: "INDEX", value: (row) => String(row.index) },
  { title: "AT", value: (row) => time(row.at) },
  { title: "DATA", value: (row) => clean(Buffer.from(row.data).toString()) },
];

const tradeColumns: readonly Column<TradeRecord>[] = [
  { title: "INDEX", value: (row) => String(row.index) },
  { title: "AT", value: (row) => time(row.at) },
  { title: "SESSION", value: (row) => clean(row.session) },
  { title: "TRADE", value: (row) => clean(row.trade?.id ?? "") },
  { title: "PROFIT", value: (row) => (row.trade?.profit === undefined ? "" : String(row.trade.profit)) },
  { title: "EXPOSURE", value: (row) => String(row.trade?.exposure ?? 0n) },
];

function time(at: Timestamp | undefined): string {
  return at ? timestampDate(at).toISOString() : "";
}
