import {
  type Order,
  OrderOutcome,
  OrderResultSchema,
  RecordSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Accepted, judge, type Refusal } from "./order.ts";
import type { Outbox, UplinkLog, UplinkNode } from "./ports.ts";

/** The bounds of the desk, in milliseconds where they are times. */
const deskBounds = {
  /** Orders that wait behind the one that is executed; more are refused as too_many_orders. */
  waiting: 100,
  /** An order that has not ended by then is reported as failed, and the next one is taken. */
  executeMs: 300_000,
  /** Between two tries to write a result into a store that refuses. */
  rewriteMs: 5_000,
  /** Results of this process that are remembered, to stay silent when an order comes twice. */
  known: 1_000,
} as const;

interface Job {
  readonly order: Order;
  /** Absent: refused when it arrived. */
  readonly accepted?: Accepted;
  readonly refusal?: Refusal;
}

/**
 * Executes orders one after the other, each at most once.
 *
 *   judge ─▶ store the hub's epoch ─▶ seen before? ─▶ remember its id, durably ─▶ judge again ─▶ execute ─▶ result into the outbox
 *
 * Death of the process between "remember" and "result": the order may or may not have taken effect. It is not executed again;
 * when the hub sends it again, the answer is an outcome "not known" that says so. A person or a fresh order decides then.
 */
export class OrderDesk {
  readonly #node: UplinkNode;
  readonly #outbox: Outbox;
  readonly #incarnation: bigint;
  readonly #clock: Clock;
  readonly #log: UplinkLog;
  readonly #queue: Job[] = [];
  /** Ids that this process has answered, or is about to. */
  readonly #known = new Set<string>();
  #working: Promise<void> | undefined;
  #closed = false;

  constructor(node: UplinkNode, outbox: Outbox, incarnation: bigint, clock: Clock, log: UplinkLog) {
    this.#node = node;
    this.#outbox = outbox;
    this.#incarnation = incarnation;
    this.#clock = clock;
    this.#log = log;
  }

  execute(accepted: Accepted): void {
    this.#take({ order: accepted.order, accepted });
  }
  refuse(order: Order, refusal: Refusal): void {
    this.#take({ order, refusal });
  }
  /** No further order is begun; resolves when the one at work has its result in the outbox, or after `withinMs`. */
  async close(withinMs: number): Promise<void> {
    this.#closed = true;
    this.#queue.length = 0;
    if (this.#working) await this.#within(this.#working, withinMs);
  }

  #take(job: Job): void {
    // The id is the order: one that is waiting, at work or answered needs no second answer.
    if (this.#closed || this.#known.has(job.order.id)) return;
    if (this.#queue.length >= 2 * deskBounds.waiting) {
      this.#log.warn({ order: job.order.id }, "too many orders: one was dropped without an answer");
      return;
    }
    this.#know(job.order.id);
    const full = this.#queue.length >= deskBounds.waiting;
    this.#queue.push(full ? { order: job.order, refusal: "too_many_orders" } : job);
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined;
    });
  }

  async #work(): Promise<void> {
    for (let job = this.#queue.shift(); job; job = this.#queue.shift()) {
      try {
        await this.#handle(job);
      } catch (error) {
        // The store refused before anything was done: the hub may send the order again.
        this.#known.delete(job.order.id);
        this.#log.warn({ order: job.order.id, error: String(error) }, "an order was not executed");
      }
    }
  }

  async #handle(job: Job): Promise<void> {
    const { order } = job;
    if (await this.#node.orderSeen(order.id)) {
      const because =
        "taken by an earlier agent process; it is not executed twice, and its result, if any, was sent before";
      return this.#answer(order, OrderOutcome.UNSPECIFIED, because);
    }
    if (!job.accepted) return this.#answer(order, OrderOutcome.REFUSED, job.refusal ?? "unknown_action");
    if (order.hubEpoch > this.#node.hubEpoch()) await this.#node.setHubEpoch(order.hubEpoch);
    await this.#node.rememberOrder(order.id);
    const self = { incarnation: this.#incarnation, hubEpoch: this.#node.hubEpoch() };
    const refusal = judge(job.accepted, self, this.#clock.bootMs());
    if (refusal) return this.#answer(order, OrderOutcome.REFUSED, refusal);
    const running = this.#node.execute(order);
    const ended = await this.#within(running, deskBounds.executeMs);
    const because = `it had not ended after ${deskBounds.executeMs / 1000} s`;
    const { outcome, because: said } = ended ?? { outcome: OrderOutcome.FAILED, because };
    await this.#answer(order, outcome, said);
  }

  /** Writes the result until the store takes it: an order whose result is lost would stay open for ever. */
  async #answer(order: Order, outcome: OrderOutcome, because: string): Promise<void> {
    const value = create(OrderResultSchema, { orderId: order.id, outcome, because });
    const at = timestampFromMs(this.#clock.wallMs());
    const record = create(RecordSchema, { at, kind: { case: "orderResult", value } });
    for (;;) {
      try {
        return await this.#outbox.append(record);
      } catch (error) {
        this.#log.warn({ order: order.id, error: String(error) }, "the result of an order cannot be stored yet");
        if (this.#closed) return;
        await this.#pause(deskBounds.rewriteMs);
      }
    }
  }

  #know(id: string): void {
    this.#known.add(id);
    for (const oldest of this.#known) {
      if (this.#known.size <= deskBounds.known) return;
      this.#known.delete(oldest);
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#clock.wakeAt(this.#clock.monotonicMs() + ms, resolve));
  }

  async #within<T>(work: Promise<T>, ms: number): Promise<T | undefined> {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const cancel = this.#clock.wakeAt(this.#clock.monotonicMs() + ms, () => resolve(undefined));
    try {
      return await Promise.race([work, promise]);
    } finally {
      cancel();
    }
  }
}
