import { catalogue, type FaultCode } from "@blueflame/shared/errors/fault.ts";
import {
  type Heartbeat,
  HeartbeatSchema,
  LinkRequestSchema,
  type LinkResponse,
  LinkService,
  type Status,
} from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { client, clientOptions, isUndecodable } from "@blueflame/shared/rpc/definition.ts";
import { codeKey } from "@blueflame/shared/rpc/status.ts";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import * as grpc from "@grpc/grpc-js";
import type { Ended } from "./cause.ts";
import type { OwnedCredentials } from "./sockets.driver.ts";

type Message = NonNullable<MessageInitShape<typeof LinkRequestSchema>["message"]>;

/** What a stream tells its owner; nothing after `ended`, and nothing after `close`. */
export interface StreamEvents {
  /** The connection stands: TCP, TLS and HTTP/2. */
  opened(): void;
  message(message: LinkResponse): void;
  /** A message that could not be decoded was skipped. */
  undecodable(bytes: number, because: string): void;
  ended(how: Ended): void;
}

/**
 * One bidirectional stream on a connection of its own. What waits to be written is bounded by construction: one message of
 * each kind, and the latest heartbeat and status take the place of an earlier one that the line did not take yet.
 */
export interface LinkStream {
  hello(message: Message): void;
  heartbeat(count: number, worstLagMs: number): void;
  status(): void;
  /** `written` is called when the connection took it, not when it arrived. One at a time. */
  records(message: Message, written: () => void): void;
  /** The last message; the hub is then expected to end the stream. */
  goingAway(message: Message): void;
  /** Ends stream and connection at once, silently. May be called twice. */
  close(): void;
}

export interface KeepaliveTimes {
  readonly timeMs: number;
  readonly timeoutMs: number;
}

/** Opens a stream; the outcome comes as an event, also when it fails at once. The caller closes it. */
export function openStream(
  address: string,
  owned: OwnedCredentials,
  node: { heartbeat(): Omit<Heartbeat, "count" | "$typeName">; status(): Status },
  keepalive: KeepaliveTimes | undefined,
  events: StreamEvents,
): LinkStream {
  // A client per stream: a channel that survived a failure can be stuck in a state of its own, and sits in a backoff of
  // its own. The address is the config's word: neither a proxy variable nor a DNS record of settings may bend it.
  const link = client(LinkService, address, owned.credentials, channelOptions(keepalive), { tolerant: true });
  const call = link.link();
  let over = false;
  const finish = (how: Ended) => {
    if (over) return;
    over = true;
    events.ended(how);
  };

  call.on("data", (message) => {
    if (over) return;
    if (isUndecodable(message)) events.undecodable(message.bytes.byteLength, message.error.message);
    else events.message(message);
  });
  // An error is followed by its status, which says the same and also comes without one.
  call.on("error", () => {});
  call.on("status", (status: grpc.StatusObject) => finish(endedBy(status)));
  call.on("drain", () => {
    stuck = false;
    flush();
  });
  whenReady(link.raw.getChannel(), () => over, events.opened);

  let stuck = false;
  let last = false;
  let first: Message | undefined;
  let beat: { readonly count: number; readonly worstLagMs: number } | undefined;
  let statusDue = false;
  let chunk: { readonly message: Message; readonly written: () => void } | undefined;
  let farewell: Message | undefined;

  /** In the order of what must not wait; records come last, so that they never delay a sign of life. */
  const next = (): { message: Message; written?: () => void } | undefined => {
    if (first) return { message: take(first, () => (first = undefined)) };
    if (beat) return { message: take(beatOf(node.heartbeat(), beat), () => (beat = undefined)) };
    if (farewell) return { message: take(farewell, () => (farewell = undefined)) };
    if (statusDue) return { message: take({ case: "status", value: node.status() }, () => (statusDue = false)) };
    return chunk && take(chunk, () => (chunk = undefined));
  };
  const flush = () => {
    while (!over && !stuck && !last) {
      const due = next();
      if (!due) return;
      last = due.message.case === "goingAway";
      stuck = !call.write(create(LinkRequestSchema, { message: due.message }), () => {
        if (!over) due.written?.();
      });
      if (last) call.end();
    }
  };

  return {
    hello(message) {
      first = message;
      flush();
    },
    heartbeat(count, worstLagMs) {
      beat = { count, worstLagMs: Math.max(worstLagMs, beat?.worstLagMs ?? 0) };
      flush();
    },
    status() {
      statusDue = true;
      flush();
    },
    records(message, written) {
      chunk = { message, written };
      flush();
    },
    goingAway(message) {
      farewell = message;
      flush();
    },
    close() {
      over = true;
      call.cancel();
      link.close();
      owned.destroy();
    },
  };
}

/**
 * Calls `ready` once the channel is connected. Not grpc-js's own `waitForReady`: it asks a closed channel to connect again,
 * and the channel does, for ever and behind everybody's back (1.14.7).
 */
function whenReady(channel: ReturnType<grpc.Client["getChannel"]>, over: () => boolean, ready: () => void): void {
  const look = (): void => {
    if (over()) return;
    const state = channel.getConnectivityState(false);
    if (state === grpc.connectivityState.READY) {
      ready();
      return;
    }
    if (state === grpc.connectivityState.SHUTDOWN) return;
    channel.watchConnectivityState(state, Number.POSITIVE_INFINITY, look);
  };
  look();
}

function take<T>(value: T, forget: () => void): T {
  forget();
  return value;
}

function beatOf(
  now: Omit<Heartbeat, "count" | "$typeName">,
  beat: { readonly count: number; readonly worstLagMs: number },
): Message {
  const worstLagMs = Math.min(Math.max(now.worstLagMs, beat.worstLagMs), 2 ** 32 - 1);
  return { case: "heartbeat", value: create(HeartbeatSchema, { ...now, count: BigInt(beat.count), worstLagMs }) };
}

function channelOptions(keepalive: KeepaliveTimes | undefined): grpc.ChannelOptions {
  return {
    ...clientOptions,
    "grpc.enable_http_proxy": 0,
    "grpc.service_config_disable_resolution": 1,
    "grpc.enable_retries": 0,
    ...(keepalive && {
      "grpc.keepalive_time_ms": keepalive.timeMs,
      "grpc.keepalive_timeout_ms": keepalive.timeoutMs,
    }),
  };
}

function endedBy(status: grpc.StatusObject): Ended {
  const sent = status.metadata.get(codeKey)[0];
  return {
    sent: typeof sent === "string" && Object.hasOwn(catalogue, sent) ? (sent as FaultCode) : undefined,
    status: grpc.status[status.code] ?? String(status.code),
    details: status.details,
  };
}
