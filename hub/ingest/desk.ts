import type { Fault } from "@blueflame/shared/errors/fault.ts";
import type { AuditHead } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import type {
  GoingAway,
  Heartbeat,
  Hello,
  Record as LinkRecord,
  Status,
} from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import type { Known, OpenSession } from "./session.ts";

/** One open session as the rest of the hub sees it. Calls come in the order of the stream and never overlap. */
export interface SessionDesk {
  beat(heartbeat: Heartbeat): void;
  status(status: Status): void;
  goingAway(message: GoingAway): void;
  /** Durable on return. */
  keep(records: readonly LinkRecord[]): Promise<void>;
  /** Countersigned heads of the node's audit that it does not have yet; `first` right after Welcome. */
  auditHeads(first: boolean): Promise<readonly AuditHead[]>;
  /** The stream is over, for whatever reason; called once, and never when a newer session has taken over. */
  closed(): void;
}

/** What the link asks of the hub. */
export interface LinkDesk {
  known(nodeId: string, generation: string): Promise<Known>;
  /** Durable on return: the node is in the registry, and the hub's epoch is above the one it has seen. */
  open(session: OpenSession, hello: Hello, storeBehind: boolean): Promise<SessionDesk>;
  welcome(session: OpenSession): {
    readonly heartbeatIntervalMs: number;
    readonly hubEpoch: bigint;
    readonly hubTimeMs: number;
    readonly recordsPerSecond: number;
  };
  /** A message that could not be decoded. */
  quarantine(nodeId: string, bytes: Uint8Array, because: string): void;
  /** Two machines use one identity. */
  clone(nodeId: string): void;
  refused(nodeId: string, fault: Fault): void;
}

/** Who is at the other end; asked again for each message, because a certificate may be taken back at any time. */
export interface Certified {
  readonly nodeId: string;
  revoked(): boolean;
}

/** Counters since the start, and sessions open now. */
export interface LinkCounters {
  open: number;
  opened: number;
  replaced: number;
  duplicates: number;
  stored: number;
  beats: number;
  quarantined: number;
  unknown: number;
  turnedAway: number;
}
