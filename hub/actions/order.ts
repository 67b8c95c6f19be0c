import { unreachable } from "@blueflame/shared/errors/fault.ts";
import { type Order as OrderMessage, OrderSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import type { Moment } from "@blueflame/shared/time/clock.ts";
import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";

/**
 * One order's life. Pure; the states are plain JSON.
 *
 *    waiting ── sent ──▶ sent ── result ──▶ done | failed | refused
 *      │  │                └─ its time is up ──▶ expired (whether it was carried out is not known)
 *      │  └─ its time is up ──▶ expired
 *      └─ void ──▶ void
 *
 * At most once: it goes out once and is never sent again, and the agent remembers ids and outcomes. Its expiry is no
 * deadline of judgement: an amnesty does not move it.
 */
export interface Order {
  readonly id: string;
  readonly node: string;
  readonly action: Action;
  /** The life of the node it is meant for; another life never gets it. */
  readonly incarnation: number;
  readonly because: string;
  readonly incidentId: string;
  /** The node may carry it out within this time from its arrival. */
  readonly validForMs: number;
  readonly life: Life;
}
export type Action = { readonly is: "restartAgent" } | { readonly is: "restartWorkload"; readonly workload: string };
export type Life =
  | { readonly at: "waiting"; readonly untilMs: number }
  /** `epoch` is the hub's when it went out. */
  | { readonly at: "sent"; readonly epoch: string; readonly untilMs: number }
  | { readonly at: Ended; readonly because: string };
export type Ended = "done" | "failed" | "refused" | "expired" | "void";

export type OrderEvent =
  /** It goes out now, to that life of the node. Send {@link orderMessage} only when the step says `send`. */
  | { readonly is: "send"; readonly epoch: bigint; readonly incarnation: number }
  | { readonly is: "result"; readonly outcome: "done" | "failed" | "refused"; readonly because: string }
  | { readonly is: "void"; readonly because: string }
  | { readonly is: "look" };
export type OrderEffect =
  | { readonly do: "send" }
  | { readonly do: "ended"; readonly how: Ended; readonly because: string };

export interface OrderStep {
  readonly state: Order;
  readonly effects: readonly OrderEffect[];
  readonly because: string;
}

/** How long an order may wait for its node; after that the situation is another one. Two hours. */
export const waitMaxMs = 7_200_000;

export type NewOrder = Omit<Order, "life">;

export function newOrder(order: NewOrder, now: Pick<Moment, "ms">): Order {
  return { ...order, life: { at: "waiting", untilMs: now.ms + waitMaxMs } };
}

/** When a `look` will have something to do; Infinity when it has ended. */
export function orderDeadlineMs(order: Order): number {
  return "untilMs" in order.life ? order.life.untilMs : Number.POSITIVE_INFINITY;
}

export function orderStep(state: Order, event: OrderEvent, now: Moment): OrderStep {
  const { life } = state;
  const stay = (because: string): OrderStep => ({ state, effects: [], because });
  if (life.at !== "waiting" && life.at !== "sent") return stay(`it ended before: ${life.at}`);
  if (now.ms > life.untilMs && event.is !== "result") {
    return end(state, "expired", life.at === "sent" ? "no answer in time" : "its node did not return in time");
  }
  switch (event.is) {
    case "send": {
      if (life.at === "sent") return stay("it went out before");
      if (event.incarnation !== state.incarnation) {
        return end(state, "void", `it was meant for life ${state.incarnation}, this is ${event.incarnation}`);
      }
      const untilMs = now.ms + state.validForMs;
      const sent: Order = { ...state, life: { at: "sent", epoch: event.epoch.toString(), untilMs } };
      return { state: sent, effects: [{ do: "send" }], because: "it goes out" };
    }
    case "result":
      return life.at === "sent" ? end(state, event.outcome, event.because) : stay("an answer to what never went out");
    case "void":
      return life.at === "waiting" ? end(state, "void", event.because) : stay("it is out and cannot be called back");
    case "look":
      return stay("nothing is due");
    default:
      return unreachable(event);
  }
}

function end(state: Order, how: Ended, because: string): OrderStep {
  return { state: { ...state, life: { at: how, because } }, effects: [{ do: "ended", how, because }], because };
}

/** After a restart of the hub: times count anew; what was sent may still be answered within its validity. */
export function restoredOrder(order: Order, now: Pick<Moment, "ms">): Order {
  const { life } = order;
  if (life.at === "waiting") return { ...order, life: { ...life, untilMs: now.ms + waitMaxMs } };
  return life.at === "sent" ? { ...order, life: { ...life, untilMs: now.ms + order.validForMs } } : order;
}

/** The order as it goes over the link, stamped with the hub's epoch of now. */
export function orderMessage(order: Order, epoch: bigint): OrderMessage {
  const { action } = order;
  return create(OrderSchema, {
    id: order.id,
    hubEpoch: epoch,
    targetIncarnation: BigInt(order.incarnation),
    validFor: durationFromMs(Math.round(order.validForMs)),
    because: order.because,
    incidentId: order.incidentId,
    action:
      action.is === "restartAgent"
        ? { case: "restartAgent", value: {} }
        : { case: "restartWorkload", value: { workload: action.workload } },
  });
}
