import { isFault } from "@blueflame/shared/errors/fault.ts";
import type { Record as LinkRecord } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { OutcomeUnknown } from "@blueflame/shared/store/state.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import type { SessionDesk } from "./desk.ts";

/** What the store refused for now is offered again this often. */
const againMs = 1_000;

/**
 * Keeps a batch, and tries again while the store refuses for now and `over` says no. A full disk of the hub is no fault of
 * the node: were its stream ended for that, the whole fleet would come and go, and look late. Rejects with what the desk
 * rejects with.
 */
export async function keepInTheEnd(
  clock: Clock,
  desk: Pick<SessionDesk, "keep">,
  batch: readonly LinkRecord[],
  over: () => boolean,
): Promise<void> {
  for (;;) {
    try {
      await desk.keep(batch);
      return;
    } catch (error) {
      const passes = error instanceof OutcomeUnknown || (isFault(error) && error.retry === "later");
      if (!passes || isFault(error, "STORE_LOCKED") || over()) throw error;
    }
    await new Promise<void>((resolve) => clock.wakeAt(clock.monotonicMs() + againMs, resolve));
  }
}
