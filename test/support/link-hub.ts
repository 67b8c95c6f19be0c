import { appendFileSync, closeSync, existsSync, fsyncSync, openSync, readFileSync } from "node:fs";
import { Fault, type FaultCode } from "@blueflame/shared/errors/fault.ts";
import {
  type GoingAway,
  type Heartbeat,
  type Hello,
  type Record as LinkRecord,
  type LinkRequest,
  type LinkResponse,
  LinkResponseSchema,
  LinkService,
  OrderSchema,
  type Status,
} from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import {
  isUndecodable,
  serverOptions,
  serviceDefinition,
  toStatus,
  type Undecodable,
} from "@blueflame/shared/rpc/definition.ts";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs, timestampNow } from "@bufbuild/protobuf/wkt";
import * as grpc from "@grpc/grpc-js";
import type { Papers } from "./link-certificates.ts";

/** What a hub knows over its own death: seqs by store generation. With a path it survives the process. */
export class HubMemory {
  /** generation → seqs, in the order in which they became durable. */
  readonly kept = new Map<string, bigint[]>();
  /** Records that came although they were durable. */
  duplicates = 0;
  readonly #path: string | undefined;

  constructor(path?: string) {
    this.#path = path;
    if (path === undefined || !existsSync(path)) return;
    for (const line of readFileSync(path, "utf8").split("\n")) {
      const [generation, seq] = line.split(" ");
      if (generation && seq) this.#of(generation).push(BigInt(seq));
    }
  }

  durableThrough(generation: string): bigint {
    return this.kept.get(generation)?.at(-1) ?? 0n;
  }
  /** Durable on return. */
  keep(generation: string, records: readonly LinkRecord[]): void {
    const through = this.durableThrough(generation);
    const fresh = records.filter((record) => record.seq > through);
    this.duplicates += records.length - fresh.length;
    this.#of(generation).push(...fresh.map((record) => record.seq));
    if (this.#path === undefined || fresh.length === 0) return;
    appendFileSync(this.#path, fresh.map((record) => `${generation} ${record.seq}\n`).join(""));
    const file = openSync(this.#path, "r");
    fsyncSync(file);
    closeSync(file);
  }
  #of(generation: string): bigint[] {
    const there = this.kept.get(generation) ?? [];
    this.kept.set(generation, there);
    return there;
  }
}

/** How a {@link LinkHub} behaves; may be changed while it runs. */
export interface HubManners {
  intervalMs: number;
  epoch: bigint;
  window: number;
  /** False: connects and stays silent after Hello. */
  welcomes: boolean;
  /** What Welcome claims instead of the truth. */
  durableLie: bigint | undefined;
  acks: boolean;
  /** Runs after a batch became durable and before its Ack. */
  beforeAck: (() => void) | undefined;
  /** Answers each Hello with this. */
  refuses: FaultCode | undefined;
}

/** What has arrived. */
export interface Arrivals {
  readonly hellos: Hello[];
  readonly heartbeats: (Heartbeat & { readonly atMs: number })[];
  readonly statuses: Status[];
  readonly records: LinkRecord[];
  readonly farewells: GoingAway[];
  /** Message kinds in the order of their arrival. */
  readonly kinds: string[];
}

type Call = grpc.ServerDuplexStream<LinkRequest | Undecodable, LinkResponse | Buffer>;

/** A small real hub: grpc-js over mutual TLS, LinkService, and manners that a test can spoil. The opener stops it. */
export interface LinkHub {
  readonly port: number;
  readonly manners: HubManners;
  readonly arrived: Arrivals;
  readonly memory: HubMemory;
  /** Streams that have said Hello and are open. */
  sessions(): number;
  order(order: MessageInitShape<typeof OrderSchema>): void;
  move(withinMs: number, because: string): void;
  ack(through: bigint): void;
  /** Bytes as a message, whatever they are. */
  raw(bytes: Uint8Array): void;
  /** Leaves what nodes send in their streams until `resume`. */
  pause(): void;
  resume(): void;
  /** Ends everything at once, as a killed process does. */
  stop(): void;
}

export async function startLinkHub(
  papers: Papers,
  memory: HubMemory = new HubMemory(),
  given: Partial<HubManners> = {},
  port = 0,
): Promise<LinkHub> {
  const manners: HubManners = {
    intervalMs: 200,
    epoch: 1n,
    window: 200,
    welcomes: true,
    durableLie: undefined,
    acks: true,
    beforeAck: undefined,
    refuses: undefined,
    ...given,
  };
  const arrived: Arrivals = { hellos: [], heartbeats: [], statuses: [], records: [], farewells: [], kinds: [] };
  const calls = new Set<Call>();
  const say = (message: NonNullable<MessageInitShape<typeof LinkResponseSchema>["message"]>) => {
    for (const call of calls) call.write(create(LinkResponseSchema, { message }));
  };

  const serve = (call: Call) => {
    let generation = "";
    const answer = (message: NonNullable<MessageInitShape<typeof LinkResponseSchema>["message"]>) =>
      call.write(create(LinkResponseSchema, { message }));
    call.on("error", () => {});
    call.on("end", () => call.end());
    call.on("close", () => calls.delete(call));
    call.on("cancelled", () => calls.delete(call));
    call.on("data", (request: LinkRequest | Undecodable) => {
      if (isUndecodable(request)) return;
      const { message } = request;
      arrived.kinds.push(message.case ?? "unset");
      switch (message.case) {
        case "hello": {
          arrived.hellos.push(message.value);
          if (manners.refuses) return call.emit("error", toStatus(new Fault(manners.refuses, "the test says so")));
          if (!manners.welcomes) return;
          generation = message.value.storeGeneration;
          calls.add(call);
          return answer({
            case: "welcome",
            value: {
              heartbeatInterval: durationFromMs(manners.intervalMs),
              hubEpoch: manners.epoch,
              durableThroughSeq: manners.durableLie ?? memory.durableThrough(generation),
              recordsWindow: manners.window,
              hubTime: timestampNow(),
            },
          });
        }
        case "heartbeat":
          return arrived.heartbeats.push({ ...message.value, atMs: performance.now() });
        case "status":
          return arrived.statuses.push(message.value);
        case "goingAway":
          return arrived.farewells.push(message.value);
        case "records": {
          arrived.records.push(...message.value.records);
          memory.keep(generation, message.value.records);
          manners.beforeAck?.();
          if (!manners.acks) return;
          return answer({ case: "ack", value: { throughSeq: memory.durableThrough(generation) } });
        }
        default:
          return;
      }
    });
  };

  const server = new grpc.Server({ ...serverOptions, "grpc.keepalive_time_ms": 60_000 });
  const definition = serviceDefinition(LinkService, { tolerant: true });
  const link = definition.link;
  if (!link) throw new Error("LinkService has no method 'link'");
  const spoiled = (message: unknown) => (Buffer.isBuffer(message) ? message : link.responseSerialize(message));
  server.addService({ link: { ...link, responseSerialize: spoiled } }, { link: serve });
  const pair = { cert_chain: Buffer.from(papers.cert), private_key: Buffer.from(papers.key) };
  const credentials = grpc.ServerCredentials.createSsl(Buffer.from(papers.ca), [pair], true);
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, credentials, (error, at) => (error ? reject(error) : resolve(at)));
  });
  return {
    port: bound,
    manners,
    arrived,
    memory,
    sessions: () => calls.size,
    order: (order) => say({ case: "order", value: create(OrderSchema, order) }),
    move: (withinMs, because) => say({ case: "move", value: { comeBackWithin: durationFromMs(withinMs), because } }),
    ack: (through) => say({ case: "ack", value: { throughSeq: through } }),
    raw(bytes) {
      for (const call of calls) call.write(Buffer.from(bytes));
    },
    pause() {
      for (const call of calls) call.pause();
    },
    resume() {
      for (const call of calls) call.resume();
    },
    stop: () => server.forceShutdown(),
  };
}
