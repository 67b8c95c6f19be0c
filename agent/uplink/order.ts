import type { Order } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { durationMs } from "./wire.ts";

/** Why the uplink itself refuses an order; further reasons are the node's own. */
export type Refusal = "old_epoch" | "wrong_incarnation" | "expired" | "unknown_action" | "too_many_orders";

/** An order that may be executed until `untilBootMs`, on the scale of `Clock.bootMs`: a suspend uses up its time. */
export interface Accepted {
  readonly order: Order;
  readonly untilBootMs: number;
}

/**
 * Whether an order that arrives at `bootMs` may be executed. Asked again, with the time of then, when it is executed:
 * it may have waited behind another one. Pure.
 */
export function judge(
  accepted: Accepted,
  self: { readonly incarnation: bigint; readonly hubEpoch: bigint },
  bootMs: number,
): Refusal | undefined {
  const { order, untilBootMs } = accepted;
  if (order.hubEpoch < self.hubEpoch) return "old_epoch";
  if (order.targetIncarnation !== self.incarnation) return "wrong_incarnation";
  if (bootMs >= untilBootMs) return "expired";
  if (order.action.case === undefined) return "unknown_action";
  return undefined;
}

/** Takes an order's time from its arrival; one without a time has none left. */
export function accept(order: Order, arrivedBootMs: number): Accepted {
  return { order, untilBootMs: arrivedBootMs + durationMs(order.validFor) };
}
