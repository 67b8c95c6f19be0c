import type { Outbox, Self, UplinkLog, UplinkNode } from "@blueflame/agent/uplink/ports.ts";
import {
  InventorySchema,
  type Record as LinkRecord,
  NodeHealth,
  type Order,
  OrderOutcome,
  type OrderResult,
  RecordSchema,
  StatusSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";

/** An outbox in memory with the store's promises: ascending seqs, forgotten only when acknowledged. */
export interface MemoryOutbox extends Outbox {
  /** Appends `count` readings. */
  fill(count: number): void;
  /** Appends bytes as they are. */
  fillRaw(bytes: Uint8Array): void;
  /** What acknowledge was called with. */
  readonly acknowledged: bigint[];
  /** Results of orders that were appended. */
  results(): OrderResult[];
  /** While set, reads and appends reject with it. */
  trouble: Error | undefined;
}

export function memoryOutbox(firstSeq = 1n): MemoryOutbox {
  const records = new Map<bigint, Uint8Array>();
  const wakes = new Set<() => void>();
  const acknowledged: bigint[] = [];
  const results: OrderResult[] = [];
  let last = firstSeq - 1n;
  const put = (bytes: Uint8Array) => {
    last += 1n;
    records.set(last, bytes);
    for (const wake of wakes) wake();
  };
  const put1 = (record: LinkRecord) => put(toBinary(RecordSchema, { ...record, seq: last + 1n }));
  return {
    acknowledged,
    trouble: undefined,
    results: () => results,
    async read(after, limit, maxBytes) {
      if (this.trouble) throw this.trouble;
      const found: { seq: bigint; bytes: Uint8Array }[] = [];
      let size = 0;
      for (const [seq, bytes] of records) {
        if (seq <= after) continue;
        if (found.length >= limit || (found.length > 0 && size + bytes.length > maxBytes)) break;
        found.push({ seq, bytes });
        size += bytes.length;
      }
      return found;
    },
    async acknowledge(through) {
      acknowledged.push(through);
      for (const seq of records.keys()) if (seq <= through) records.delete(seq);
    },
    lastSeq: () => last,
    depth: () => BigInt(records.size),
    onAppend(wake) {
      wakes.add(wake);
      return () => wakes.delete(wake);
    },
    async append(record) {
      if (this.trouble) throw this.trouble;
      if (record.kind.case === "orderResult")
        results.push(fromBinary(RecordSchema, toBinary(RecordSchema, record)).kind.value as OrderResult);
      put1(record);
    },
    fill(count) {
      for (let n = 0; n < count; n += 1) {
        const readings = [{ sensor: "load_1m", value: Number(last) }];
        put1(create(RecordSchema, { kind: { case: "readings", value: { readings } } }));
      }
    },
    fillRaw: put,
  };
}

/** What of a node survives the death of its agent process. */
export interface NodeMemory {
  hubEpoch: bigint;
  readonly orders: Set<string>;
}

/** A node as the uplink needs it; counts what it was told to do. */
export interface MemoryNode extends UplinkNode {
  readonly memory: NodeMemory;
  readonly executed: Order[];
  /** Replaces the execution, to let it hang or fail. */
  doing: (order: Order) => Promise<{ outcome: OrderOutcome; because: string }>;
  changeStatus(): void;
}

export function memoryNode(memory: NodeMemory = { hubEpoch: 0n, orders: new Set() }): MemoryNode {
  const wakes = new Set<() => void>();
  const executed: Order[] = [];
  return {
    memory,
    executed,
    doing: async () => ({ outcome: OrderOutcome.DONE, because: "done as told" }),
    heartbeat: () => ({
      health: NodeHealth.HEALTHY,
      monotonicMs: BigInt(Math.floor(performance.now())),
      worstLagMs: 0,
      readings: [],
      outboxDepth: 0n,
      storeEpoch: 0n,
    }),
    status: () => create(StatusSchema, { workloads: [{ name: "firewall" }] }),
    onStatusChange(wake) {
      wakes.add(wake);
      return () => wakes.delete(wake);
    },
    changeStatus() {
      for (const wake of wakes) wake();
    },
    execute(order) {
      executed.push(order);
      return this.doing(order);
    },
    hubEpoch: () => memory.hubEpoch,
    storeEpoch: (when) => (when === "opened" ? 3n : 9n),
    storeRolledBack: () => undefined,
    async setHubEpoch(epoch) {
      memory.hubEpoch = epoch;
    },
    orderSeen: async (id) => memory.orders.has(id),
    async rememberOrder(id) {
      memory.orders.add(id);
    },
    auditHead: () => undefined,
    countersigned: async () => undefined,
  };
}

export function testSelf(given: Partial<Self> = {}): Self {
  return {
    nodeId: "n1",
    incarnation: 1n,
    session: 1n,
    bootId: "boot",
    version: "test",
    storeGeneration: "g1",
    site: "here",
    labels: {},
    inventory: create(InventorySchema, { hostName: "test" }),
    ...given,
  };
}

/** Keeps the lines. */
export interface MemoryLog extends UplinkLog {
  readonly lines: { readonly level: "info" | "warn"; readonly facts: Record<string, unknown>; readonly text: string }[];
}

export function memoryLog(): MemoryLog {
  const lines: MemoryLog["lines"] = [];
  const line = (level: "info" | "warn") => (facts: object, text: string) => {
    lines.push({ level, facts: { ...facts }, text });
  };
  return { lines, info: line("info"), warn: line("warn") };
}
