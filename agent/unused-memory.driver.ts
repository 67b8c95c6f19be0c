/**
 * Gives back to the system what libc keeps of memory that was freed. A start reads configs, compiles and opens the store: of
 * 48 MB that an agent holds after it, 8 MB are such leftovers (`npm run prove -- rest`). Other libcs than glibc keep less, and
 * have no such function.
 */
import { type Cancel, type Clock, nextRound } from "@blueflame/shared/time/clock.ts";
import { koffi, type Native } from "./libc.driver.ts";

/** The start is over by then, and what it wrote has been merged. */
const firstMs = 20_000;
/** Recoveries, snapshots and requests leave some, too; a look costs some milliseconds. */
const everyMs = 600_000;

/** Begins; harmless where it cannot. Whoever began it cancels it. */
export function giveBackUnused(clock: Clock, trim: (() => void) | undefined = trimOf()): Cancel {
  if (!trim) return () => undefined;
  const again = () => {
    trim();
    cancel = clock.wakeAt(nextRound(clock.monotonicMs(), everyMs), again);
  };
  let cancel = clock.wakeAt(clock.monotonicMs() + firstMs, again);
  return () => cancel();
}

/** malloc_trim(3): 1 when something was given back. */
function trimOf(): (() => void) | undefined {
  try {
    const trim: Native | undefined = koffi()?.load(null).func("int malloc_trim(size_t pad)");
    return trim && (() => void trim(0));
  } catch {
    return undefined; // a libc without the function
  }
}
