import { type Reading as HubReading, ReadingSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { type Cancel, type Clock, nextRound } from "@blueflame/shared/time/clock.ts";
import { create } from "@bufbuild/protobuf";
import type { Reading } from "./reading.ts";
import type { SystemSensors } from "./system.driver.ts";

/** The newest figures of the machine, and the pace at which they are kept. Whoever made it closes it. */
export interface SensorWatch {
  latest(): readonly HubReading[];
  close(): void;
}

/**
 * Reads the sensors every `everyMs`, never two readings at a time, and gives the newest to `keep` every `historyEveryMs`.
 * A reading that is not kept (the disk refuses, or owes an answer to the one before) is a gap in the history, which the
 * store tells as its own trouble.
 */
export function watchSensors(parts: {
  readonly sensors: SystemSensors;
  readonly clock: Clock;
  readonly everyMs: number;
  readonly historyEveryMs: number;
  readonly keep: (readings: readonly HubReading[]) => Promise<void>;
  /** What goes with the sensors' newest readings; made when somebody wants them. */
  readonly more?: () => readonly Reading[];
}): SensorWatch {
  const { sensors, clock, everyMs, historyEveryMs, keep, more = () => [] } = parts;
  let newest: readonly Reading[] = [];
  let keptMs = clock.monotonicMs();
  let cancel: Cancel = () => undefined;
  let keeping = false;
  let closed = false;
  const forHub = () => [...newest, ...more()].map((reading) => create(ReadingSchema, { ...reading }));
  const read = async () => {
    newest = await sensors.read();
    const now = clock.monotonicMs();
    if (newest.length > 0 && now >= keptMs + historyEveryMs && !keeping) {
      keptMs = now;
      keeping = true;
      // Not awaited: a disk that hangs must not make the figures of the machine old, its own silence among them.
      void keep(forHub())
        .catch(() => undefined)
        .finally(() => {
          keeping = false;
        });
    }
    if (!closed) cancel = clock.wakeAt(nextRound(now, everyMs), () => void read());
  };
  void read();
  return {
    latest: forHub,
    close() {
      closed = true;
      cancel();
    },
  };
}
