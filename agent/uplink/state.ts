import type { FaultCode } from "@blueflame/shared/errors/fault.ts";
import type { Order } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import type { Backlog } from "./backlog.ts";
import type { Accepted, Refusal } from "./order.ts";
import type { Policy } from "./policy.ts";

/** Where a link session stands; `session.ts` has the drawing. */
export interface State {
  readonly phase: Phase;
  readonly seed: number;
  /** Tries and short sessions in a row without one that lasted. */
  readonly failures: number;
  /** Index of the address that is tried now or next. */
  readonly address: number;
  /** What ended the last stream, for Hello. */
  readonly because: "first" | "agent_restart" | "lost" | "moved";
  readonly hubEpoch: bigint;
  /** What the last Welcome said; how soon silence is blamed at the hub goes by it. */
  readonly intervalMs: number;
  /** The highest seq that this process ever sent: an Ack above it is not believed. */
  readonly sentEver: bigint;
  /** The last fault that was reported of each address: the same one again is not news. */
  readonly faults: Readonly<Record<string, FaultCode>>;
  /** An uncertain fault of the try before this one; the second in a row is believed. */
  readonly guess: FaultCode | undefined;
  /** The wake that was asked for. */
  readonly wakeAtMs: number | undefined;
}

export type Phase =
  | { readonly at: "offline"; readonly retryAtMs: number }
  | { readonly at: "connecting" | "greeting" | "leaving"; readonly untilMs: number }
  | Connected
  | { readonly at: "left" };

/** A session that is open. */
export interface Connected {
  readonly at: "connected";
  readonly sinceMs: number;
  readonly intervalMs: number;
  readonly nextBeatMs: number;
  /** Heartbeats sent in this session. */
  readonly beats: number;
  /** How late our ticks were at worst since the last heartbeat. */
  readonly lagMs: number;
  readonly statusDue: boolean;
  /** Before this no further Status. */
  readonly statusFromMs: number;
  readonly backlog: Backlog;
  /** Before this no further records: the outbox could not be read, or the pace is kept. */
  readonly readAgainMs: number | undefined;
  /** At most so many records are sent in a second. */
  readonly recordsPerSecond: number;
  /** When the missing Ack becomes a trouble; undefined while none is missing. */
  readonly ackByMs: number | undefined;
  readonly trouble: Trouble | undefined;
}

/** Something that the session survives and that a person must know. */
export interface Trouble {
  readonly code: FaultCode;
  readonly saw: string;
}

export interface Welcome {
  readonly intervalMs: number;
  readonly epoch: bigint;
  readonly durable: bigint;
  readonly window: number;
  /** What the hub asks for; 0 when it leaves that to us. */
  readonly recordsPerSecond: number;
  /** The highest seq that our outbox ever gave. */
  readonly lastSeq: bigint;
  /** The hub remembers a later state of this store. */
  readonly behind: boolean;
}

/** What only an open session listens to. */
export type InSession =
  | { readonly is: "statusChanged" | "appended" }
  /** The chunk was read and given to the stream; a count of 0 means that nothing is left. */
  | { readonly is: "sent"; readonly through: bigint; readonly count: number }
  /** The stream took its bytes. */
  | { readonly is: "written" }
  /** The store could not be read. */
  | { readonly is: "unread" }
  | { readonly is: "ack"; readonly through: bigint; readonly lastSeq: bigint };

/** What can happen to a session. */
export type Event =
  | { readonly is: "wake" | "opened" }
  /** A store that could not be opened when the agent started is open now. */
  | { readonly is: "storeOpened" }
  | InSession
  | { readonly is: "welcome"; readonly welcome: Welcome }
  | { readonly is: "order"; readonly order: Order; readonly bootMs: number }
  | { readonly is: "move"; readonly withinMs: number; readonly because: string }
  /** `guess`: the cause is likely, not certain. */
  | { readonly is: "failed"; readonly code: FaultCode; readonly saw: string; readonly guess?: true }
  | { readonly is: "stopped"; readonly because: string; readonly workloadsContinue: boolean };

/** What a step asks of its driver, in this order. */
export type Effect =
  | { readonly do: "connect"; readonly address: string }
  | { readonly do: "hello"; readonly because: State["because"]; readonly lastHubEpoch: bigint }
  | { readonly do: "heartbeat"; readonly count: number; readonly worstLagMs: number }
  | { readonly do: "status" | "close" }
  | { readonly do: "records"; readonly after: bigint; readonly limit: number; readonly maxBytes: number }
  | { readonly do: "goingAway"; readonly because: string; readonly workloadsContinue: boolean }
  | { readonly do: "acknowledge"; readonly through: bigint }
  | { readonly do: "execute"; readonly accepted: Accepted }
  | { readonly do: "refuse"; readonly order: Order; readonly because: Refusal }
  | { readonly do: "setHubEpoch"; readonly epoch: bigint }
  | { readonly do: "storeRolledBack"; readonly because: string }
  | { readonly do: "wakeAt"; readonly atMs: number }
  | { readonly do: "report"; readonly report: Report };

/** How the link stands now. `news` is false for what was said before: show it, do not log it. */
export interface Report {
  readonly state: "none" | "connecting" | "connected";
  readonly address: string;
  readonly trouble: Trouble | undefined;
  readonly because: string;
  readonly news: boolean;
}

export interface Step {
  readonly state: State;
  readonly effects: readonly Effect[];
}

/** Says how the link stands. */
export function report(
  policy: Policy,
  state: State,
  to: Report["state"],
  trouble: Trouble | undefined,
  because: string,
  news: boolean,
): Effect {
  return { do: "report", report: { state: to, address: addressOf(policy, state), trouble, because, news } };
}

/** The address that is tried now or next. */
export function addressOf(policy: Policy, state: State): string {
  return policy.addresses[state.address] ?? "";
}
