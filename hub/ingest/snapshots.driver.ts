import { Fault } from "@blueflame/shared/errors/fault.ts";
import type { SnapshotService } from "@blueflame/shared/gen/blueflame/link/v1/snapshot_service_pb.ts";
import type { Handlers } from "@blueflame/shared/rpc/definition.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { durationFromMs, timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { type HubSnapshots, type KeptSnapshotRow, partBytes, snapshotLimits } from "../store/snapshots.ts";
import type { Certified } from "./desk.ts";
import type { LinkCall } from "./outgoing.driver.ts";

/** A node sends no faster than this, and all nodes together no faster than that: beats come first. */
const nodeBytesPerSecond = 1024 * 1024;
const allBytesPerSecond = 16 * 1024 * 1024;
/** A part that is refused counts as so many bytes at least: who sends nonsense is not faster for it. */
const refusedBytes = 64 * 1024;
/** An answer is held back so long at most; who asks for more than that at once is refused. */
const heldMaxMs = 5_000;
/** A caller's clock and ours run apart a little. */
const earlyMs = 100;
/** Of so many nodes it is remembered when they may go on. */
const waitingMax = 20_000;

export interface SnapshotDeskOptions {
  readonly snapshots: HubSnapshots;
  readonly clock: Clock;
  readonly certified: (call: Pick<LinkCall, "getAuthContext">) => Certified;
  /** The highest life of a node that is known; 0n for an unknown one. */
  readonly incarnationOf: (nodeId: string) => bigint;
}

/** What nodes ask about their snapshots; each sees its own only, by its certificate. */
export function snapshotHandlers(options: SnapshotDeskOptions): Handlers<typeof SnapshotService> {
  const { snapshots, clock } = options;
  const notBefore = new Map<string, number>();
  let allNotBefore = 0;

  const caller = (call: Pick<LinkCall, "getAuthContext">): string => {
    const who = options.certified(call);
    if (who.revoked()) throw new Fault("CERT_REFUSED", `the certificate of ${who.nodeId} was taken back`);
    return who.nodeId;
  };
  const checkPace = (nodeId: string) => {
    const earlyBy = (notBefore.get(nodeId) ?? 0) - clock.monotonicMs();
    if (earlyBy > earlyMs) throw new Fault("LIMIT_REACHED", `the next part is taken in ${Math.ceil(earlyBy)} ms`);
  };
  /** How long the node has to wait after `bytes`. */
  const pace = (nodeId: string, bytes: number): number => {
    const nowMs = clock.monotonicMs();
    allNotBefore = Math.max(allNotBefore, nowMs) + (bytes * 1000) / allBytesPerSecond;
    const waitMs = Math.max((bytes * 1000) / nodeBytesPerSecond, allNotBefore - nowMs);
    if (notBefore.size >= waitingMax) {
      for (const [node, atMs] of notBefore) if (atMs <= nowMs) notBefore.delete(node);
    }
    const atMs = Math.max(notBefore.get(nodeId) ?? 0, nowMs) + waitMs;
    if (notBefore.size < waitingMax || notBefore.has(nodeId)) notBefore.set(nodeId, atMs);
    return atMs - nowMs;
  };
  const held = (ms: number) => new Promise<void>((resolve) => clock.wakeAt(clock.monotonicMs() + ms, resolve));

  return {
    async listSnapshots(_request, call) {
      const nodeId = caller(call);
      const rows = await snapshots.list(nodeId);
      return {
        snapshots: rows.map(messageOf),
        highestIncarnation: options.incarnationOf(nodeId),
        bytesMax: BigInt(snapshotLimits.bytes),
      };
    },
    async putSnapshotPart({ snapshot, offset, data }, call) {
      const nodeId = caller(call);
      if (!snapshot?.takenAt) throw new Fault("BAD_REQUEST", "the part does not say of which snapshot it is");
      checkPace(nodeId);
      const row = {
        id: snapshot.id,
        takenWallMs: timestampMs(snapshot.takenAt),
        incarnation: String(snapshot.incarnation),
        generation: snapshot.storeGeneration.slice(0, 64),
        bytes: numberOf(snapshot.bytes),
      };
      const stored = await snapshots.put(nodeId, row, numberOf(offset), data).catch((error: unknown) => {
        pace(nodeId, Math.max(data.byteLength, refusedBytes));
        throw error;
      });
      return { storedBytes: BigInt(stored), wait: durationFromMs(Math.ceil(pace(nodeId, data.byteLength))) };
    },
    async getSnapshotPart({ id, offset }, call) {
      const nodeId = caller(call);
      const earlyBy = Math.max(0, (notBefore.get(nodeId) ?? 0) - clock.monotonicMs());
      if (earlyBy > heldMaxMs) throw new Fault("LIMIT_REACHED", `the next part is given in ${Math.ceil(earlyBy)} ms`);
      pace(nodeId, partBytes);
      if (earlyBy > 0) await held(earlyBy);
      return { data: await snapshots.part(nodeId, id, numberOf(offset)) };
    },
  };
}

/** What is no exact number is larger than every bound. */
function numberOf(value: bigint): number {
  return value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(value);
}

function messageOf(row: KeptSnapshotRow) {
  return {
    id: row.id,
    takenAt: timestampFromMs(row.takenWallMs),
    incarnation: BigInt(row.incarnation),
    storeGeneration: row.generation,
    bytes: BigInt(row.bytes),
    storedBytes: BigInt(row.stored),
  };
}
