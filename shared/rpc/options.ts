import type * as grpc from "@grpc/grpc-js";

/** One message may be this large; larger ones end the stream with RESOURCE_EXHAUSTED, so senders stay below 1 MiB. */
export const messageBytesMax = 4 * 1024 * 1024;

/**
 * For every grpc.Server. Its keepalive is off unless asked for, and without it a peer that froze, lost its network or
 * never finished its handshake holds its connection for ever. Channelz keeps a record of every connection: off.
 */
export const serverOptions = {
  "grpc.keepalive_time_ms": 20_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.keepalive_permit_without_calls": 1,
  "grpc.max_receive_message_length": messageBytesMax,
  "grpc.max_send_message_length": messageBytesMax,
  "grpc.max_concurrent_streams": 1000,
  "grpc.enable_channelz": 0,
} as const satisfies grpc.ChannelOptions;

/**
 * For every client. Keepalive finds a peer that froze or a line that was cut; liveness is still judged by heartbeats only.
 * A subchannel pool of its own lets `close` really close the connection, and a new client really try a new one. The
 * library's own backoff is kept short because the caller has one with full jitter, and a call during backoff fails at once.
 */
export const clientOptions = {
  "grpc.keepalive_time_ms": 15_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.keepalive_permit_without_calls": 1,
  "grpc.max_receive_message_length": messageBytesMax,
  "grpc.max_send_message_length": messageBytesMax,
  "grpc.initial_reconnect_backoff_ms": 200,
  "grpc.max_reconnect_backoff_ms": 2_000,
  "grpc.use_local_subchannel_pool": 1,
  "grpc.enable_channelz": 0,
} as const satisfies grpc.ChannelOptions;
