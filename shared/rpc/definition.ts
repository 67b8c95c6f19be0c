import {
  create,
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import * as grpc from "@grpc/grpc-js";
import { invariant } from "../errors/fault.ts";
import { clientOptions } from "./options.ts";
import { toStatus } from "./status.ts";

/** A streamed message that could not be decoded; only tolerant definitions hand it out. `bytes` is a copy. */
export interface Undecodable {
  readonly undecodable: true;
  readonly bytes: Uint8Array;
  readonly error: Error;
}

/** True for what a tolerant stream hands out instead of a message it could not decode. */
export function isUndecodable(message: object): message is Undecodable {
  return "undecodable" in message && message.undecodable === true;
}

/** Tolerant: one undecodable message of a stream arrives as {@link Undecodable} instead of ending the stream. */
export interface Tolerance<T extends boolean> {
  readonly tolerant?: T;
}

type In<M extends DescMethod> = MessageShape<M["input"]>;
type InInit<M extends DescMethod> = MessageInitShape<M["input"]>;
type Out<M extends DescMethod> = MessageShape<M["output"]>;
type OutInit<M extends DescMethod> = MessageInitShape<M["output"]>;
type Maybe<Message, T extends boolean> = T extends true ? Message | Undecodable : Message;

/**
 * What serves one method. Whatever it throws or rejects with reaches the caller by {@link toStatus}. Streams are
 * grpc-js's own: the handler ends them, and minds the result of `write`.
 */
export type Handler<M extends DescMethod, T extends boolean = false> = M["methodKind"] extends "unary"
  ? (request: In<M>, call: grpc.ServerUnaryCall<In<M>, OutInit<M>>) => Promise<OutInit<M>> | OutInit<M>
  : M["methodKind"] extends "server_streaming"
    ? (call: grpc.ServerWritableStream<In<M>, OutInit<M>>) => Promise<void> | void
    : M["methodKind"] extends "client_streaming"
      ? (call: grpc.ServerReadableStream<Maybe<In<M>, T>, OutInit<M>>) => Promise<OutInit<M>>
      : (call: grpc.ServerDuplexStream<Maybe<In<M>, T>, OutInit<M>>) => Promise<void> | void;

/** One handler for each method of a service. */
export type Handlers<S extends DescService, T extends boolean = false> = {
  readonly [K in keyof S["method"]]: Handler<S["method"][K], T>;
};

function serializer(schema: DescMessage): grpc.serialize<unknown> {
  return (message) => {
    const bytes = toBinary(schema, create(schema, message as MessageInitShape<DescMessage>));
    // grpc-js calls Buffer methods on it; this is a view, not a copy.
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  };
}

function deserializer(schema: DescMessage, tolerant: boolean): grpc.deserialize<unknown> {
  if (!tolerant) return (bytes) => fromBinary(schema, bytes);
  return (bytes) => {
    try {
      return fromBinary(schema, bytes);
    } catch (error) {
      const undecodable: Undecodable = {
        undecodable: true,
        bytes: new Uint8Array(bytes),
        error: error instanceof Error ? error : new Error(String(error)),
      };
      return undecodable;
    }
  };
}

function methodDefinition(method: DescMethod, tolerant: boolean): grpc.MethodDefinition<unknown, unknown> {
  const requestStream = method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming";
  const responseStream = method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming";
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestStream,
    responseStream,
    requestSerialize: serializer(method.input),
    requestDeserialize: deserializer(method.input, tolerant && requestStream),
    responseSerialize: serializer(method.output),
    responseDeserialize: deserializer(method.output, tolerant && responseStream),
    originalName: method.localName,
  };
}

/**
 * A generated service as grpc-js wants it. Without `tolerant`, grpc-js ends a stream with INTERNAL at the first message
 * that cannot be decoded; with it, nothing that arrives on a stream can throw. Single messages are always strict.
 */
export function serviceDefinition(service: DescService, options: Tolerance<boolean> = {}): grpc.ServiceDefinition {
  return Object.fromEntries(
    service.methods.map((method) => [method.localName, methodDefinition(method, options.tolerant ?? false)]),
  );
}

/** Serves `service`. Call it before the server is bound. */
export function addService<S extends DescService, T extends boolean = false>(
  server: grpc.Server,
  service: S,
  handlers: Handlers<S, T>,
  options: Tolerance<T> = {},
): void {
  const byName = handlers as Readonly<Record<string, unknown>>;
  const implementation: grpc.UntypedServiceImplementation = {};
  for (const method of service.methods) {
    implementation[method.localName] = handlerOf(method, byName[method.localName]);
  }
  server.addService(serviceDefinition(service, options), implementation);
}

type Answer = (reason: ReturnType<typeof toStatus> | null, value?: unknown) => void;

/** Where the typed handler meets grpc-js's callbacks; {@link Handlers} has checked its type by the method's kind. */
function handlerOf(method: DescMethod, handler: unknown): grpc.UntypedHandleCall {
  invariant(typeof handler === "function", `${method.parent.typeName} has a handler for ${method.localName}`);
  const run = async (...given: unknown[]): Promise<unknown> => handler(...given);
  if (method.methodKind === "unary") {
    return (call: grpc.ServerUnaryCall<unknown, unknown>, answer: Answer) => {
      run(call.request, call).then(
        (value) => answer(null, value),
        (reason: unknown) => answer(toStatus(reason)),
      );
    };
  }
  if (method.methodKind === "client_streaming") {
    return (call: grpc.ServerReadableStream<unknown, unknown>, answer: Answer) => {
      run(call).then(
        (value) => answer(null, value),
        (reason: unknown) => answer(toStatus(reason)),
      );
    };
  }
  // `destroy(error)` would send the peer no status; an emitted error does.
  return (call: grpc.ServerDuplexStream<unknown, unknown>) => {
    run(call).catch((reason: unknown) => call.emit("error", toStatus(reason)));
  };
}

/** How one call is made. A single answer is awaited for 10 s unless `timeoutMs` says otherwise; streams have no end. */
export interface CallOptions {
  readonly metadata?: grpc.Metadata;
  /** From now on; at most 24 days, because grpc-js takes a longer deadline for one that has passed. */
  readonly timeoutMs?: number;
  /** Unary calls only: cancels the call, which then rejects with CANCELLED. */
  readonly signal?: AbortSignal;
}

/** How a client calls one method. A unary call rejects with a grpc.ServiceError: see `faultFrom`. */
export type Call<M extends DescMethod, T extends boolean = false> = M["methodKind"] extends "unary"
  ? (request: InInit<M>, options?: CallOptions) => Promise<Out<M>>
  : M["methodKind"] extends "server_streaming"
    ? (request: InInit<M>, options?: CallOptions) => grpc.ClientReadableStream<Maybe<Out<M>, T>>
    : M["methodKind"] extends "client_streaming"
      ? (options?: CallOptions) => { stream: grpc.ClientWritableStream<InInit<M>>; response: Promise<Out<M>> }
      : (options?: CallOptions) => grpc.ClientDuplexStream<InInit<M>, Maybe<Out<M>, T>>;

/** A typed client of one service on a channel of its own; whoever made it calls `close`. */
export type Client<S extends DescService, T extends boolean = false> = {
  readonly [K in keyof S["method"]]: Call<S["method"][K], T>;
} & {
  /** Closes the channel; open calls end as CANCELLED or UNAVAILABLE. May be called twice. */
  close(): void;
  /** The library's client, for its channel's state. */
  readonly raw: grpc.Client;
};

/**
 * A typed client. Connects at the first call. `address` is HOST:PORT or unix:PATH. Attach a reader and an "error"
 * listener to every stream: an unread one collects in memory without bound, an unheard error ends the process.
 */
export function client<S extends DescService, T extends boolean = false>(
  service: S,
  address: string,
  credentials: grpc.ChannelCredentials,
  channelOptions: grpc.ChannelOptions = clientOptions,
  options: Tolerance<T> = {},
): Client<S, T> {
  const raw = new grpc.Client(address, credentials, channelOptions);
  const made: Record<string, unknown> = { raw, close: () => raw.close() };
  for (const method of service.methods) {
    invariant(!(method.localName in made), `no method is called ${method.localName}`);
    made[method.localName] = callOf(raw, method, methodDefinition(method, options.tolerant ?? false));
  }
  return made as Client<S, T>;
}

const unaryTimeoutMs = 10_000;
const longestTimeoutMs = 24 * 24 * 3_600_000;

function grpcOptions(options: CallOptions, timeoutMs: number | undefined): grpc.CallOptions {
  const wait = options.timeoutMs ?? timeoutMs;
  return wait === undefined ? {} : { deadline: Date.now() + Math.min(wait, longestTimeoutMs) };
}

function callOf(raw: grpc.Client, method: DescMethod, d: grpc.MethodDefinition<unknown, unknown>): unknown {
  const metadataOf = (options: CallOptions) => options.metadata ?? new grpc.Metadata();
  switch (method.methodKind) {
    case "unary":
      return (request: unknown, options: CallOptions = {}) =>
        unary(raw, d, request, metadataOf(options), grpcOptions(options, unaryTimeoutMs), options.signal);
    case "server_streaming":
      return (request: unknown, options: CallOptions = {}) =>
        raw.makeServerStreamRequest(
          d.path,
          d.requestSerialize,
          d.responseDeserialize,
          request,
          metadataOf(options),
          grpcOptions(options, undefined),
        );
    case "client_streaming":
      return (options: CallOptions = {}) => {
        const { promise, resolve, reject } = Promise.withResolvers<unknown>();
        const stream = raw.makeClientStreamRequest(
          d.path,
          d.requestSerialize,
          d.responseDeserialize,
          metadataOf(options),
          grpcOptions(options, undefined),
          (error, value) => (error ? reject(error) : resolve(value)),
        );
        return { stream, response: promise };
      };
    case "bidi_streaming":
      return (options: CallOptions = {}) =>
        raw.makeBidiStreamRequest(
          d.path,
          d.requestSerialize,
          d.responseDeserialize,
          metadataOf(options),
          grpcOptions(options, undefined),
        );
  }
}

function unary(
  raw: grpc.Client,
  d: grpc.MethodDefinition<unknown, unknown>,
  request: unknown,
  metadata: grpc.Metadata,
  options: grpc.CallOptions,
  signal: AbortSignal | undefined,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const cancel = () => call.cancel();
    const call = raw.makeUnaryRequest(
      d.path,
      d.requestSerialize,
      d.responseDeserialize,
      request,
      metadata,
      options,
      (error, value) => {
        signal?.removeEventListener("abort", cancel);
        if (error) reject(error);
        else resolve(value);
      },
    );
    if (signal?.aborted) cancel();
    else signal?.addEventListener("abort", cancel, { once: true });
  });
}

export { clientOptions, serverOptions } from "./options.ts";
export { faultFrom, toStatus } from "./status.ts";
