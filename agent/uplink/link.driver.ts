import { X509Certificate } from "node:crypto";
import type { SignedHead } from "@blueflame/shared/audit/check.ts";
import { hubKeyOf, hubKeyPem, isSignedBy } from "@blueflame/shared/audit/signature.driver.ts";
import { catalogue, Fault, unreachable } from "@blueflame/shared/errors/fault.ts";
import { type Hello, HelloSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import type { Random } from "@blueflame/shared/random/random.ts";
import type { Cancel, Clock } from "@blueflame/shared/time/clock.ts";
import { create } from "@bufbuild/protobuf";
import { causeOf, type Validity } from "./cause.ts";
import { OrderDesk } from "./order-desk.driver.ts";
import { type Chunk, Forgetting, readChunk } from "./outbox-feed.driver.ts";
import { defaults, type Policy, validPolicy } from "./policy.ts";
import type { HubTarget, LinkView, Outbox, Self, Uplink, UplinkLog, UplinkNode } from "./ports.ts";
import { nextWakeMs, start, step } from "./session.ts";
import { type OwnedCredentials, ownedCredentials } from "./sockets.driver.ts";
import type { Effect, Event, Report, State } from "./state.ts";
import { type KeepaliveTimes, type LinkStream, openStream } from "./stream.driver.ts";
import { eventOf, headOf } from "./wire.ts";

export interface UplinkOptions {
  readonly target: HubTarget;
  readonly self: Self;
  readonly node: UplinkNode;
  readonly outbox: Outbox;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: UplinkLog;
  /** Milliseconds between heartbeats when the hub's Welcome names no interval; 15 s. */
  readonly firstInterval?: number;
  /** Other bounds than the defaults, for tests and benchmarks. */
  readonly policy?: Partial<Omit<Policy, "addresses" | "incarnation" | "restarted" | "firstIntervalMs">>;
  /** When a silent connection is asked for a sign of life, and how long that may take; 15 s and 10 s. */
  readonly keepalive?: KeepaliveTimes;
}

/** What the last order at work gets to write its result when the agent leaves. */
const lastOrderMs = 3_000;

/**
 * Keeps one session with the hub open for as long as the agent lives: connects, comes back, beats, sends the outbox, takes
 * orders. Never throws and never gives up; what is wrong stands in the view under its code. Certificates that cannot be used
 * are CERT_UNUSABLE there. The opener closes.
 */
export function openUplink(options: UplinkOptions): Uplink {
  return new Link(options);
}

/** Runs the effects of `session.ts` and turns what happens into its events. Decides nothing itself. */
class Link implements Uplink {
  readonly #given: UplinkOptions;
  readonly #policy: Policy;
  readonly #desk: OrderDesk;
  readonly #forgetting: Forgetting;
  readonly #watchers = new Set<(view: LinkView) => void>();
  readonly #unsubscribe: (() => void)[];
  #state: State;
  #report: Report;
  readonly #events: Event[] = [];
  #running = false;
  #stream: LinkStream | undefined;
  #cancelWake: Cancel = () => {};
  /** Hub messages of this stream that were skipped. */
  #skipped = 0;
  /** Once since the store was opened. */
  #welcomed = false;
  #left: (() => void) | undefined;
  #closing: Promise<void> | undefined;

  constructor(given: UplinkOptions) {
    const { target, self, node, outbox, clock, random, log } = given;
    this.#given = given;
    this.#policy = validPolicy({
      ...defaults,
      ...given.policy,
      firstIntervalMs: given.firstInterval ?? defaults.firstIntervalMs,
      addresses: target.addresses,
      incarnation: self.incarnation,
      restarted: self.session > 1n,
    });
    this.#desk = new OrderDesk(node, outbox, self.incarnation, clock, log);
    this.#forgetting = new Forgetting(outbox, log);
    const seed = Math.floor(random() * 2 ** 32) | 0;
    this.#state = start(this.#policy, seed, node.hubEpoch(), clock.monotonicMs());
    const because = "not tried yet";
    this.#report = {
      state: "connecting",
      address: target.addresses[0] ?? "",
      trouble: undefined,
      because,
      news: false,
    };
    this.#unsubscribe = [
      node.onStatusChange(() => this.#apply({ is: "statusChanged" })),
      outbox.onAppend(() => this.#apply({ is: "appended" })),
    ];
    this.#apply({ is: "wake" });
  }

  view(): LinkView {
    const { state, address, trouble, because } = this.#report;
    return {
      state,
      hub: address,
      because: trouble ? new Fault(trouble.code, trouble.saw).message : this.#since(because),
    };
  }
  #since(because: string): string {
    const { phase } = this.#state;
    if (phase.at !== "connected") return because;
    return `session open for ${Math.floor((this.#given.clock.monotonicMs() - phase.sinceMs) / 1000)} s`;
  }

  onView(changed: (view: LinkView) => void): () => void {
    this.#watchers.add(changed);
    return () => this.#watchers.delete(changed);
  }

  storeOpened(): void {
    this.#welcomed = false;
    this.#apply({ is: "storeOpened" });
  }

  close(because: string, workloadsContinue: boolean): Promise<void> {
    this.#closing ??= this.#leave(because, workloadsContinue);
    return this.#closing;
  }

  async #leave(because: string, workloadsContinue: boolean): Promise<void> {
    // First the result of the order at work: "restart yourself" is one, and its result may still travel with this stream.
    await this.#desk.close(lastOrderMs);
    const left = new Promise<void>((resolve) => {
      this.#left = resolve;
    });
    this.#apply({ is: "stopped", because, workloadsContinue });
    await left;
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    this.#cancelWake();
  }

  /** One event after the other: an effect that fails at once puts its event behind, never in between. */
  #apply(event: Event): void {
    this.#events.push(event);
    if (this.#running) return;
    this.#running = true;
    try {
      for (let next = this.#events.shift(); next; next = this.#events.shift()) {
        const { state, effects } = step(this.#policy, this.#state, next, this.#given.clock.monotonicMs());
        this.#state = state;
        for (const effect of effects) this.#run(effect);
      }
    } finally {
      this.#running = false;
    }
    if (this.#state.phase.at === "left") this.#left?.();
  }

  #run(effect: Effect): void {
    switch (effect.do) {
      case "connect":
        this.#connect(effect.address);
        break;
      case "hello":
        this.#stream?.hello({ case: "hello", value: this.#hello(effect) });
        break;
      case "heartbeat":
        this.#stream?.heartbeat(effect.count, effect.worstLagMs);
        break;
      case "status":
        this.#stream?.status();
        break;
      case "records":
        void this.#send(effect.after, effect.limit, effect.maxBytes);
        break;
      case "goingAway": {
        const { because, workloadsContinue } = effect;
        this.#stream?.goingAway({ case: "goingAway", value: { because, workloadsContinue } });
        break;
      }
      case "acknowledge":
        this.#forgetting.through(effect.through);
        break;
      case "execute":
        this.#desk.execute(effect.accepted);
        break;
      case "refuse":
        this.#desk.refuse(effect.order, effect.because);
        break;
      case "storeRolledBack":
        this.#given.node.storeRolledBack(effect.because);
        break;
      case "setHubEpoch":
        this.#keepEpoch(effect.epoch);
        break;
      case "wakeAt":
        this.#wakeAt(effect.atMs);
        break;
      case "close":
        this.#stream?.close();
        this.#stream = undefined;
        break;
      case "report":
        this.#tell(effect.report);
        break;
      default:
        unreachable(effect);
    }
  }

  #hello(effect: Extract<Effect, { do: "hello" }>): Hello {
    const { nodeId, incarnation, session, bootId, version, storeGeneration, site, labels, inventory } =
      this.#given.self;
    const { because, lastHubEpoch } = effect;
    const who = { nodeId, incarnation, session, bootId, version, storeGeneration, site, inventory };
    const lastSeq = this.#given.outbox.lastSeq();
    const storeEpoch = this.#given.node.storeEpoch(this.#welcomed ? "now" : "opened");
    const head = this.#given.node.auditHead();
    const auditHead = head && { ...head, number: BigInt(head.number), hash: Buffer.from(head.hash, "hex") };
    return create(HelloSchema, {
      ...who,
      labels: { ...labels },
      because,
      lastHubEpoch,
      lastSeq,
      storeEpoch,
      ...(auditHead && { auditHead }),
    });
  }

  /** Only what the CA that we trust has signed is kept: anybody else's word about our audit is none. */
  #countersigned(head: SignedHead): void {
    const { target, self, node, log } = this.#given;
    try {
      const key = hubKeyOf(target.ca);
      if (!isSignedBy(key, self.nodeId, head)) {
        log.warn({ number: head.number, generation: head.generation }, "a countersigned head is not by our hub's CA");
        return;
      }
      node.countersigned(head, hubKeyPem(key)).catch((error: unknown) => {
        log.warn({ error: String(error) }, "what the hub has countersigned could not be kept");
      });
    } catch (error) {
      log.warn({ error: String(error) }, "a countersigned head cannot be checked");
    }
  }

  #keepEpoch(epoch: bigint): void {
    // The desk stores it too, and waits for it, before it obeys.
    this.#given.node.setHubEpoch(epoch).catch((error: unknown) => {
      this.#given.log.warn({ epoch: epoch.toString(), error: String(error) }, "the hub's epoch could not be stored");
    });
  }

  #wakeAt(atMs: number): void {
    this.#cancelWake();
    this.#cancelWake = this.#given.clock.wakeAt(atMs, () => {
      this.#apply({ is: "wake" });
      // A timer may come a little early, and the step then sees no new wake to ask for: look again.
      const next = nextWakeMs(this.#state);
      if (next === atMs) this.#wakeAt(atMs);
    });
  }

  #connect(address: string): void {
    const { target, node, keepalive, clock, outbox } = this.#given;
    let owned: OwnedCredentials;
    let validity: Validity;
    try {
      const certificate = new X509Certificate(target.cert);
      validity = { fromMs: certificate.validFromDate.getTime(), toMs: certificate.validToDate.getTime() };
      owned = ownedCredentials(target);
    } catch (error) {
      const saw = error instanceof Error ? error.message : String(error);
      this.#apply({ is: "failed", code: "CERT_UNUSABLE", saw });
      return;
    }
    this.#skipped = 0;
    this.#stream = openStream(address, owned, node, keepalive, {
      opened: () => this.#apply({ is: "opened" }),
      message: (message) => {
        const head = headOf(message);
        if (head) {
          this.#countersigned(head);
          return;
        }
        const event = eventOf(message, outbox.lastSeq(), () => clock.bootMs());
        this.#welcomed ||= event?.is === "welcome";
        if (event) this.#apply(event);
        else this.#skip(address, "of a newer kind");
      },
      undecodable: (bytes, because) => this.#skip(address, `${bytes} bytes: ${because}`),
      ended: (how) => {
        this.#apply({ is: "failed", ...causeOf(how, validity, clock.wallMs()) });
      },
    });
  }

  /** One line for the first of a stream, then for every thousandth: a hub that is newer than we are is no flood. */
  #skip(hub: string, what: string): void {
    this.#skipped += 1;
    if (this.#skipped % 1000 !== 1) return;
    this.#given.log.warn({ hub, what, skipped: this.#skipped }, "a message of the hub was skipped");
  }

  async #send(after: bigint, limit: number, maxBytes: number): Promise<void> {
    const { outbox, log } = this.#given;
    const stream = this.#stream;
    let chunk: Chunk | undefined;
    try {
      chunk = await readChunk(outbox, log, after, limit, maxBytes);
    } catch (error) {
      log.warn({ error: String(error) }, "the outbox cannot be read");
    }
    // Meanwhile the stream may be over, and another one may have asked for records of its own.
    if (stream === undefined || stream !== this.#stream) return;
    if (chunk === undefined) {
      this.#apply({ is: "unread" });
      return;
    }
    this.#apply({ is: "sent", through: chunk.through, count: chunk.count });
    if (chunk.count === 0) return;
    stream.records({ case: "records", value: chunk.records }, () => {
      if (stream === this.#stream) this.#apply({ is: "written" });
    });
  }

  #tell(report: Report): void {
    const before = this.#report;
    this.#report = report;
    const { state, address, trouble, because } = report;
    if (report.news) {
      const facts = { hub: address, from: before.state, to: state, ...(trouble && { code: trouble.code }) };
      const text = trouble ? `${trouble.saw}. ${catalogue[trouble.code].remedy}` : because;
      if (trouble) this.#given.log.warn(facts, text);
      else this.#given.log.info(facts, text);
    }
    const view = this.view();
    for (const changed of this.#watchers) changed(view);
  }
}
