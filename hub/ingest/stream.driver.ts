import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import {
  type Hello,
  type Record as LinkRecord,
  type LinkRequest,
  type Order,
  RecordsSchema,
  StatusSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { isUndecodable, type Undecodable } from "@blueflame/shared/rpc/definition.ts";
import type { Cancel, Clock } from "@blueflame/shared/time/clock.ts";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { Certified, LinkCounters, LinkDesk, SessionDesk } from "./desk.ts";
import { keepInTheEnd } from "./keep.ts";
import { type LinkCall, type Outgoing, outgoing } from "./outgoing.driver.ts";
import { greet, type OpenSession, outOfTurn, recordsWindow, take } from "./session.ts";
import { dropWrongTimes } from "./times.ts";

/** What a stream needs of all the others. */
export interface StreamHost {
  readonly clock: Clock;
  readonly desk: LinkDesk;
  readonly counters: LinkCounters;
  /** False: the stream was told to come back later. */
  admitted(stream: LinkStream): boolean;
  /** Resolves, once the older stream has stored all that it took, with that one's session where it had one. */
  takeOver(nodeId: string, stream: LinkStream): Promise<SessionDesk | undefined>;
  isNewest(nodeId: string, stream: LinkStream): boolean;
  /** True when another stream of the node has come after this one and is there. */
  hasNewer(nodeId: string, stream: LinkStream): boolean;
  greeted(): void;
  closed(stream: LinkStream): void;
}

/** A stream says Hello within this time. */
const helloWithinMs = 10_000;
/** A node gets the countersigned head of its audit at most this often; there may be thousands of records in between. */
const headEveryMs = 2_000;
/** A node that was told to move has this long to leave by itself. */
const leaveWithinMs = 2_000;

/**
 * Turns one gRPC stream into calls of the desk, and its verdicts into messages. Heartbeats are taken as they come, also
 * while records are being stored: a slow disk of the hub must not make a node look silent. Records that arrive meanwhile
 * wait, at most a window of them, and are stored together; then one Ack answers all.
 */
export class LinkStream {
  readonly nodeId: string;
  /** True once the session was opened. */
  greeted = false;
  readonly #call: LinkCall;
  readonly #certified: Certified;
  readonly #host: StreamHost;
  readonly #out: Outgoing;
  readonly #over = Promise.withResolvers<void>();
  readonly #cancelHello: Cancel;
  #helloSeen = false;
  #session: OpenSession | undefined;
  #desk: SessionDesk | undefined;
  /** The session that this stream took over: where none of its own follows, that one has to be closed. */
  #inherited: SessionDesk | undefined;
  /** Set once the node was told to move. */
  #leaving: { answered: (() => void) | undefined } | undefined;
  #gone = false;
  #queue: LinkRecord[] = [];
  #greeting: Promise<void> | undefined;
  #storing: Promise<void> | undefined;
  #storingCount = 0;
  #headPlanned = false;

  constructor(call: LinkCall, certified: Certified, host: StreamHost) {
    this.#call = call;
    this.#certified = certified;
    this.nodeId = certified.nodeId;
    this.#host = host;
    this.#out = outgoing(call);
    this.#cancelHello = host.clock.wakeAt(host.clock.monotonicMs() + helloWithinMs, () => {
      if (this.#helloSeen || this.#gone || this.#leaving) return;
      this.#refuse(new Fault("LINK_PROTOCOL", `${this.nodeId} did not say Hello within ${helloWithinMs / 1000} s`));
    });
    call.on("data", (message: LinkRequest | Undecodable) => this.#take(message));
    call.on("end", () => {
      this.#answered();
      // May come while the last records are being stored: their Ack goes out before the end.
      void this.settled().then(() => this.#out.end());
    });
    call.on("cancelled", () => {
      this.#answered();
      this.#close();
    });
    call.on("close", () => this.#close());
    call.on("error", () => this.#close());
  }

  /** Resolves when the stream is over and everything it sent is stored. */
  get closed(): Promise<void> {
    return this.#over.promise;
  }

  /** The session that ends with this stream, unless a newer one takes it over. */
  get session(): SessionDesk | undefined {
    return this.#desk ?? this.#inherited;
  }

  /** Resolves when nothing is being opened or stored; nothing new is begun once the node was told to move. */
  async settled(): Promise<void> {
    await this.#greeting;
    await this.#storing;
  }

  /** Tells the node to leave and come back; `answered` is called once if the node turns out to be alive. */
  move(because: string, comeBackMs: number, answered?: () => void): void {
    if (this.#leaving || this.#gone) return;
    this.#leaving = { answered };
    const comeBackWithin = durationFromMs(Math.ceil(comeBackMs));
    this.#out.send({ message: { case: "move", value: { comeBackWithin, because } } });
    this.#host.clock.wakeAt(this.#host.clock.monotonicMs() + leaveWithinMs, () => {
      void this.settled().then(() => this.#out.end());
    });
  }

  /** False when no session is open on it. */
  order(order: Order): boolean {
    if (!this.#session || this.#leaving || this.#gone) return false;
    this.#out.send({ message: { case: "order", value: order } });
    return true;
  }

  /** Ends the stream when the certificate behind it was taken back. */
  checkRevoked(): void {
    if (this.#gone || this.#leaving || !this.#certified.revoked()) return;
    this.#refuse(new Fault("CERT_REFUSED", `the certificate of ${this.nodeId} was taken back`));
  }

  #take(message: LinkRequest | Undecodable): void {
    if (this.#gone) return;
    if (this.#leaving) {
      this.#answered();
      return;
    }
    this.checkRevoked();
    if (this.#gone) return;
    if (isUndecodable(message)) {
      this.#host.counters.quarantined += 1;
      this.#host.desk.quarantine(this.nodeId, message.bytes, message.error.message);
      return;
    }
    this.#receive(message);
  }

  #receive({ message: { case: kind, value } }: LinkRequest): void {
    if (kind === undefined) {
      this.#host.counters.unknown += 1; // of a newer agent
    } else if (kind === "hello") {
      this.#hello(value);
    } else if (!this.#session || !this.#desk) {
      const { code, saw } = outOfTurn(this.nodeId, kind, false);
      this.#refuse(new Fault(code, saw));
    } else if (kind === "heartbeat") {
      this.#host.counters.beats += 1;
      this.#desk.beat(value);
    } else if (kind === "records") {
      dropWrongTimes(RecordsSchema, value);
      this.#records(this.#session, this.#desk, value.records);
    } else if (kind === "status") {
      dropWrongTimes(StatusSchema, value);
      this.#desk.status(value);
    } else {
      this.#desk.goingAway(value);
    }
  }

  #hello(hello: Hello): void {
    if (this.#helloSeen) {
      const { code, saw } = outOfTurn(this.nodeId, "hello", true);
      this.#refuse(new Fault(code, saw));
      return;
    }
    this.#helloSeen = true;
    this.#call.pause();
    this.#greeting = this.#greet(hello)
      .catch((reason: unknown) => this.#failWith(reason))
      .finally(() => {
        this.#greeting = undefined;
        this.#call.resume();
      });
  }

  async #greet(hello: Hello): Promise<void> {
    const { desk, counters } = this.#host;
    if (!this.#host.admitted(this)) return;
    await this.#judge(hello); // refuses a stranger before it can take a session from anybody
    this.#inherited = await this.#host.takeOver(this.nodeId, this);
    if (this.#gone && !this.#host.hasNewer(this.nodeId, this)) this.#inherited?.closed();
    // Once more: the older session may have stored more while it was settling.
    const verdict = await this.#judge(hello);
    if (this.#gone || this.#leaving) return;
    const opened = await desk.open(verdict.session, hello, verdict.storeBehind);
    if (this.#gone || this.#leaving) {
      // It ended meanwhile; where a newer session took over, that one speaks for the node.
      if (this.#gone && !this.#host.hasNewer(this.nodeId, this)) opened.closed();
      return;
    }
    this.#desk = opened;
    this.#session = verdict.session;
    this.greeted = true;
    this.#host.greeted();
    counters.open += 1;
    counters.opened += 1;
    const { heartbeatIntervalMs, hubEpoch, hubTimeMs, recordsPerSecond } = desk.welcome(verdict.session);
    this.#out.send({
      message: {
        case: "welcome",
        value: {
          heartbeatInterval: durationFromMs(Math.round(heartbeatIntervalMs)),
          hubEpoch,
          durableThroughSeq: verdict.session.takenThrough,
          hubTime: timestampFromMs(hubTimeMs),
          recordsWindow,
          storeBehind: verdict.storeBehind,
          recordsPerSecond,
        },
      },
    });
    await this.#countersign(opened, true);
  }

  /** What the node is owed it gets at the next session, if not now. */
  async #countersign(desk: SessionDesk, first: boolean): Promise<void> {
    const heads = await desk.auditHeads(first).catch(() => []);
    for (const value of heads) this.#out.send({ message: { case: "auditHead", value } });
  }
  #countersignSoon(desk: SessionDesk): void {
    if (this.#headPlanned) return;
    this.#headPlanned = true;
    this.#host.clock.wakeAt(this.#host.clock.monotonicMs() + headEveryMs, () => {
      this.#headPlanned = false;
      if (!this.#gone && !this.#leaving) void this.#countersign(desk, false);
    });
  }

  async #judge(hello: Hello) {
    const known = await this.#host.desk.known(this.nodeId, hello.storeGeneration);
    const verdict = greet(this.nodeId, { ...hello, generation: hello.storeGeneration }, known);
    if (verdict.is === "refused") throw new Fault(verdict.code, verdict.saw);
    return verdict;
  }

  #records(session: OpenSession, desk: SessionDesk, batch: readonly LinkRecord[]): void {
    const verdict = take(session, batch, this.#queue.length + this.#storingCount);
    if (verdict.is === "refused") {
      this.#refuse(new Fault(verdict.code, verdict.saw));
      return;
    }
    this.#session = verdict.session;
    this.#host.counters.duplicates += verdict.duplicates;
    this.#queue.push(...verdict.fresh);
    if (this.#queue.length > 0) {
      this.#storing ??= this.#store(desk)
        .catch((reason: unknown) => this.#failWith(reason))
        .finally(() => {
          this.#storing = undefined;
        });
    } else if (this.#storingCount === 0) {
      // Only duplicates: the node missed the Ack.
      this.#out.acknowledge(verdict.session.takenThrough);
    }
  }

  async #store(desk: SessionDesk): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#queue;
      this.#queue = [];
      this.#storingCount = batch.length;
      await keepInTheEnd(this.#host.clock, desk, batch, () => this.#gone || this.#leaving !== undefined);
      this.#storingCount = 0;
      this.#host.counters.stored += batch.length;
      const last = batch.at(-1);
      // Cumulative: while more waits to be stored, the next Ack says it all.
      if (last && this.#queue.length === 0) this.#out.acknowledge(last.seq);
      this.#countersignSoon(desk);
    }
  }

  #answered(): void {
    const answered = this.#leaving?.answered;
    if (!answered || !this.#leaving) return;
    this.#leaving.answered = undefined;
    answered();
  }

  #refuse(fault: Fault): void {
    if (this.#gone) return;
    this.#host.desk.refused(this.nodeId, fault);
    this.#out.fail(fault);
  }

  #failWith(reason: unknown): void {
    const saw = `cannot take in what ${this.nodeId} sent`;
    this.#refuse(isFault(reason) ? reason : new Fault("STORE_WRITE_FAILED", saw, { cause: reason }));
  }

  #close(): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#cancelHello();
    const newest = this.#host.isNewest(this.nodeId, this);
    this.#host.closed(this);
    if (newest) this.session?.closed();
    void this.settled().then(() => this.#over.resolve());
  }
}
