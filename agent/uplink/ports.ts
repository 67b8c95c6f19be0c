import type { Link } from "@blueflame/shared/audit/chain.ts";
import type { SignedHead } from "@blueflame/shared/audit/check.ts";
import type {
  Heartbeat,
  Inventory,
  Record as LinkRecord,
  Order,
  OrderOutcome,
  Status,
} from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";

/** Where the hub is and who we are to it. PEM texts, already read. */
export interface HubTarget {
  /** HOST:PORT, tried in turn. */
  readonly addresses: readonly string[];
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** Who this agent process is; fixed for its life. */
export interface Self {
  readonly nodeId: string;
  readonly incarnation: bigint;
  readonly session: bigint;
  readonly bootId: string;
  readonly version: string;
  readonly storeGeneration: string;
  readonly site: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly inventory: Inventory;
}

/** A record as it waits. */
export interface Waiting {
  readonly seq: bigint;
  /** A serialized Record. */
  readonly bytes: Uint8Array;
  /** The life of the store that made it, where that is an earlier one. */
  readonly generation?: string;
}

/**
 * The durable queue towards the hub. Implemented by `agent/store/`. Records get ascending seqs when they are appended; the
 * bound drops readings first, then decisions, then audit, and appends a Dropped record that says so.
 */
export interface Outbox {
  /** Ascending records with seq > `after`; at most `limit` and about `maxBytes` of them. */
  read(after: bigint, limit: number, maxBytes: number): Promise<Waiting[]>;
  /** The hub has everything up to `through`: forget it. */
  acknowledge(through: bigint): Promise<void>;
  /** Highest seq ever given, 0n when none. */
  lastSeq(): bigint;
  depth(): bigint;
  /** Called after each append. Returns a function that ends the subscription. */
  onAppend(wake: () => void): () => void;
  /** Durable on return: the result of an order, or any other record that the uplink itself makes. */
  append(record: LinkRecord): Promise<void>;
}

/** What the uplink asks of the node. Implemented by `loop.ts`. */
export interface UplinkNode {
  /** The heartbeat to send now, without its count. */
  heartbeat(): Omit<Heartbeat, "count" | "$typeName">;
  status(): Status;
  /** Called when the status changed; the uplink coalesces to at most one Status a second. */
  onStatusChange(wake: () => void): () => void;
  /** Executes an order whose epoch, incarnation and expiry were checked by the uplink. Never throws. */
  execute(order: Order): Promise<{ outcome: OrderOutcome; because: string }>;
  /** The highest hub epoch seen, durable. */
  hubEpoch(): bigint;
  /** Durable on return. */
  setHubEpoch(epoch: bigint): Promise<void>;
  /**
   * What the hub is told of the store, so that it notices an older copy. As it was opened before the first Welcome of this process,
   * and before the first one after a late opening: what its start has written since would hide a copy that is older by less.
   */
  storeEpoch(when: "opened" | "now"): bigint;
  /** The hub remembers more of this store than there is: an older copy was put back. */
  storeRolledBack(because: string): void;
  /** True when this order id was executed before; durable, bounded to the newest 1000. */
  orderSeen(id: string): Promise<boolean>;
  /** Durable on return; called before the order is executed. */
  rememberOrder(id: string): Promise<void>;
  /** The newest record of the node's audit; undefined while it is not known. */
  auditHead(): Link | undefined;
  /** The hub has countersigned a head; its signature was checked by the uplink. `hubKey` is the key of its CA, PEM. */
  countersigned(head: SignedHead, hubKey: string): Promise<void>;
}

/** How the link stands, for status and doctor. */
export interface LinkView {
  readonly state: "none" | "connecting" | "connected";
  readonly hub: string;
  /** The last error, with its code, or how long the session has been open. */
  readonly because: string;
}

/** Where the uplink tells what happened: facts with fields, one line per change. */
export interface UplinkLog {
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
}

/** A running uplink. */
export interface Uplink {
  view(): LinkView;
  /** Called after each change of the view; returns a function that ends the subscription. */
  onView(changed: (view: LinkView) => void): () => void;
  /**
   * To be called once, when the store that could not be opened at the start has opened, in the same turn and before anything else is told
   * of it; not when it has begun another life. The session begins anew: its Hello tells the epoch that was found at the opening.
   */
  storeOpened(): void;
  /**
   * Says goodbye where there is somebody to hear it, lets the order at work write its result, and ends the connection; at
   * most about 5 s. `because`: stop, upgrade, agent_restart. May be called twice; never rejects.
   */
  close(because: string, workloadsContinue: boolean): Promise<void>;
}
