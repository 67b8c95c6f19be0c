import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import type { Cancel, Clock } from "@blueflame/shared/time/clock.ts";
import { type LocalApi, type LocalApiOptions, serveLocalApi } from "./api/server.driver.ts";
import type { WorkloadSpec } from "./supervise/spec.ts";

/** A door that could not be opened is tried again this often. */
const retryMs = 1000;
/** Who beats has to find the new door first, and that may take a few of its own attempts. */
const findMs = 10_000;

/** What a door is made of. */
export interface DoorParts extends LocalApiOptions {
  readonly clock: Clock;
  readonly specs: readonly WorkloadSpec[];
  /** Takes the place of a beat that cannot come. */
  readonly assumeBeat: (workload: string) => void;
  /** Told with why there is no door, once, and with undefined when there is one again. */
  readonly closedBecause: (fault: Fault | undefined) => void;
}

/** The local API, open or not yet; whoever opened it closes it. */
export interface Door {
  close(): Promise<void>;
}

/**
 * Opens the local API. Where the data directory takes no socket (a read-only disk) and `mayWait` says so, the agent goes on
 * without it: who beats through it is not judged by that, and it is tried again every second. Rejects with what
 * `serveLocalApi` rejects with otherwise.
 */
export async function openDoor(parts: DoorParts, mayWait: boolean): Promise<Door> {
  const { clock, specs, assumeBeat, closedBecause } = parts;
  let api: LocalApi | undefined;
  let cancel: Cancel = () => undefined;
  let trying: Promise<void> | undefined;
  let assumeUntilMs = Number.POSITIVE_INFINITY;
  let closed = false;

  const open = async () => {
    try {
      api = await serveLocalApi(parts);
    } catch (error) {
      throw isFault(error) ? error : new Fault("DATA_DIR_UNUSABLE", (error as Error).message, { cause: error });
    }
  };
  const unheard = specs.filter(({ beat }) => beat !== undefined && beat.file === undefined);
  // Well before the strictest of them would count as late.
  const everyMs = Math.min(retryMs, ...unheard.map(({ beat }) => (beat?.timeoutMs ?? retryMs) / 3));
  let tryAtMs = clock.monotonicMs() + retryMs;
  const tryAgain = async () => {
    tryAtMs = Number.POSITIVE_INFINITY; // one try at a time
    try {
      await open();
      assumeUntilMs = clock.monotonicMs() + findMs;
      closedBecause(undefined);
    } catch {
      tryAtMs = clock.monotonicMs() + retryMs;
    }
  };
  const assume = () => {
    for (const { name } of unheard) assumeBeat(name);
    const nowMs = clock.monotonicMs();
    if (nowMs > assumeUntilMs) return;
    cancel = clock.wakeAt(nowMs + everyMs, () => {
      if (closed) return;
      if (!api && clock.monotonicMs() >= tryAtMs) trying = tryAgain();
      assume();
    });
  };
  try {
    await open();
  } catch (error) {
    if (!mayWait || !isFault(error, "DATA_DIR_UNUSABLE")) throw error;
    closedBecause(error);
    assume();
  }
  return {
    async close() {
      closed = true;
      cancel();
      await trying;
      await api?.close();
    },
  };
}
