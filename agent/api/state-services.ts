import { Fault } from "@blueflame/shared/errors/fault.ts";
import type { NodeService, StateService } from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import {
  type ListRequest,
  type ListResponse,
  ListResponseSchema,
  type Operation,
  OperationSchema,
} from "@blueflame/shared/gen/blueflame/node/v1/state_pb.ts";
import type { Handlers } from "@blueflame/shared/rpc/definition.ts";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { Node } from "../node.ts";
import { stateMax } from "../state/bounds.ts";
import type { Answer } from "../state/commit.ts";
import type { Entry } from "../state/space.ts";
import type { WorkloadSpace } from "../store/workload-spaces.ts";
import { type Caller, oneLine, personOf, tokenOf } from "./caller.ts";
import { keyOf, logOf, pageOf, requestOf, wireLock, wireLog, wireRisk, wireTrade } from "./state-wire.ts";

/** Tells one stream what changes in a space, until it ends. */
export type Watch = (
  call: Parameters<Handlers<typeof StateService>["watch"]>[0],
  space: WorkloadSpace,
) => Promise<void>;

/** The state of workloads: each sees its own. */
export function stateService(node: Node, watch: Watch): Handlers<typeof StateService> {
  const of = (call: Caller) => node.state(tokenOf(call));
  return {
    get: ({ key }, call) => getKey(of(call), key),
    async put({ key, value, expectedRevision, requestId }, call) {
      const put = { key, value, ...(expectedRevision !== undefined && { expectedRevision }) };
      const [done] = (await commitOne(of(call), requestId, { case: "put", value: put })).results;
      return { revision: BigInt(done?.revision ?? 0) };
    },
    async delete({ key, expectedRevision, requestId }, call) {
      const gone = { key, ...(expectedRevision !== undefined && { expectedRevision }) };
      const [done] = (await commitOne(of(call), requestId, { case: "delete", value: gone })).results;
      return { revision: BigInt(done?.revision ?? 0) };
    },
    list: (request, call) => listKeys(of(call), request),
    async commit({ requestId, operations, onlyWhileOpen }, call) {
      const answer = await of(call).commit(requestOf(requestId, operations, onlyWhileOpen));
      const { revision, results, risk, alreadyDone } = answer;
      return {
        revision: BigInt(revision),
        results: results.map((one) => ({
          revision: BigInt(one.revision),
          firstIndex: BigInt(one.first),
          lastIndex: BigInt(one.last),
        })),
        risk: wireRisk(risk),
        alreadyDone,
      };
    },
    async append({ log, entries, requestId }, call) {
      const [done] = (await commitOne(of(call), requestId, { case: "append", value: { log, entries } })).results;
      return { firstIndex: BigInt(done?.first ?? 0), lastIndex: BigInt(done?.last ?? 0) };
    },
    readLog: ({ log, afterIndex, limit }, call) => readLog(of(call), logOf(log), Number(afterIndex), pageOf(limit)),
    listLogs: (_request, call) => ({ logs: logsOf(of(call)) }),
    getRisk: (_request, call) => ({ risk: wireRisk(of(call).risk()) }),
    async recordTrade({ trade, requestId }, call) {
      if (!trade) throw new Fault("BAD_REQUEST", "there is no trade in the request");
      const answer = await commitOne(of(call), requestId, { case: "trade", value: trade });
      const index = BigInt(answer.results[0]?.first ?? 0);
      return { index, risk: wireRisk(answer.risk), alreadyDone: answer.alreadyDone };
    },
    async listTrades({ afterIndex, limit }, call) {
      const space = of(call);
      const trades = await space.readTrades(Number(afterIndex), pageOf(limit));
      const last = trades.at(-1)?.index ?? 0;
      return { trades: trades.map(wireTrade), more: trades.length > 0 && last < space.risk().risk.trades };
    },
    async lockRisk({ because }, call) {
      const space = of(call);
      await commitOne(space, "", { case: "lock", value: { because } });
      return { risk: wireRisk(space.risk()) };
    },
    watch: (call) => watch(call, of(call)),
  };
}

/** What people ask about the state of workloads. */
export function stateDesk(
  node: Node,
): Pick<Handlers<typeof NodeService>, "listState" | "getState" | "readStateLog" | "unlockRisk" | "forgetState"> {
  return {
    async listState({ workload, page }) {
      if (workload === "") return { workloads: node.stateNames().map((name) => inShort(name, node.stateOf(name))) };
      const space = node.stateOf(workload);
      const keys = listKeys(space, page ?? { prefix: "", afterKey: "", limit: 0 });
      return { workloads: [inShort(workload, space)], keys, logs: logsOf(space) };
    },
    getState: ({ workload, key }) => getKey(node.stateOf(workload), key),
    async readStateLog({ workload, log, limit }) {
      const space = node.stateOf(workload);
      const page = pageOf(limit);
      if (log === "") {
        const read = (after: number) => space.readTrades(after, page);
        const trades = await newest(read, space.risk().risk.trades, page, ({ trade }) => trade.data.length);
        return { trades: trades.map(wireTrade) };
      }
      const read = (after: number) => space.readLog(logOf(log), after, page);
      const entries = await newest(read, lastOf(space, log), page, ({ data }) => data.length);
      return { entries: entries.map(wireEntry) };
    },
    async unlockRisk({ workload, person, reason, causesSeen }, call) {
      const why = personsReason(call, reason, "a risk lock is opened");
      const space = node.stateOf(workload);
      const opened = await space.release(personOf(person), why, causesSeen);
      return { opened: opened.length > 0, risk: wireRisk(space.risk()), locks: opened.map(wireLock) };
    },
    async forgetState({ workload, person, reason }, call) {
      const why = personsReason(call, reason, "what a workload kept is given up");
      const { keys, bytes, trades } = await node.forgetState(workload, personOf(person), why);
      return { keys, bytes: BigInt(bytes), trades: BigInt(trades) };
    },
  };
}

/** Why a person does it. Throws DENIED for anybody else, BAD_REQUEST without a reason. */
function personsReason(call: Caller, reason: string, what: string): string {
  // A token among the metadata is a workload's, whoever has forwarded it.
  if (call.metadata.get("authorization").length > 0) {
    throw new Fault("DENIED", `${what} by a person at the node, never by a workload`);
  }
  const why = oneLine(reason, stateMax.becauseChars);
  if (why === "") throw new Fault("BAD_REQUEST", `${what} with a reason, for the audit`);
  return why;
}

type OneOperation = NonNullable<MessageInitShape<typeof OperationSchema>["operation"]>;

function commitOne(space: WorkloadSpace, requestId: string, operation: OneOperation): Promise<Answer> {
  const made: Operation = create(OperationSchema, { operation });
  return space.commit(requestOf(requestId, [made], false));
}

async function getKey(space: WorkloadSpace, key: string) {
  const found = await space.get(keyOf(key));
  if (found === undefined) throw new Fault("NOT_FOUND", `key '${key}' is not there`);
  return { value: found.value, revision: BigInt(found.revision) };
}

function listKeys(
  space: WorkloadSpace,
  { prefix, afterKey, limit }: Pick<ListRequest, "prefix" | "afterKey" | "limit">,
): ListResponse {
  const { keys, revision } = space.contents();
  const found = [...keys]
    .filter(([key, { deleted }]) => !deleted && key > afterKey && key.startsWith(prefix))
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const page = found.slice(0, pageOf(limit));
  return create(ListResponseSchema, {
    keys: page.map(([key, meta]) => ({
      key,
      revision: BigInt(meta.revision),
      bytes: meta.bytes,
      at: timestampFromMs(meta.atWallMs),
    })),
    more: found.length > page.length,
    revision: BigInt(revision),
  });
}

function logsOf(space: WorkloadSpace) {
  const all = [...space.contents().logs].sort(([a], [b]) => (a < b ? -1 : 1));
  return all.map(([log, meta]) => wireLog(log, meta));
}

function lastOf(space: WorkloadSpace, log: string): number {
  return space.contents().logs.get(log)?.last ?? 0;
}

/** The last ones of something that is read in pages, oldest first: at most `limit` and `stateMax.pageBytes`, but one at least. */
async function newest<T extends { readonly index: number }>(
  read: (after: number) => Promise<readonly T[]>,
  last: number,
  limit: number,
  bytesOf: (one: T) => number,
): Promise<T[]> {
  const kept: T[] = [];
  let bytes = 0;
  let after = Math.max(0, last - limit);
  do {
    const page = await read(after);
    if (page.length === 0) break;
    for (const one of page) {
      kept.push(one);
      bytes += bytesOf(one);
      while (kept.length > 1 && (kept.length > limit || bytes > stateMax.pageBytes)) {
        bytes -= bytesOf(kept[0] as T);
        kept.shift();
      }
    }
    after = kept.at(-1)?.index ?? last;
  } while (after < last);
  return kept;
}

async function readLog(space: WorkloadSpace, log: string, after: number, limit: number) {
  const entries = await space.readLog(log, after, limit);
  const meta = space.contents().logs.get(log);
  const last = meta?.last ?? 0;
  return {
    entries: entries.map(wireEntry),
    more: entries.length > 0 && (entries.at(-1)?.index ?? 0) < last,
    firstIndex: BigInt(meta?.first ?? 1),
    lastIndex: BigInt(last),
  };
}

function wireEntry({ index, atWallMs, data }: Entry & { readonly index: number }) {
  return { index: BigInt(index), at: timestampFromMs(atWallMs), data };
}

function inShort(workload: string, space: WorkloadSpace) {
  const { live, logs, bytes, revision } = space.contents();
  return {
    workload,
    keys: live,
    logs: logs.size,
    bytes: BigInt(bytes),
    revision: BigInt(revision),
    risk: wireRisk(space.risk()),
  };
}
