/** What a timeline needs to know of a moment. */
export interface Instant {
  /** Of which boot it is; `unknown` where the system does not tell. */
  readonly bootId: string;
  /** Since that boot, with suspend: see `Clock.bootMs`. */
  readonly bootMs: number;
  readonly wallMs: number;
}

/**
 * Time as a memory counts it: it only grows, goes on over restarts and reboots, and is not fooled by a wall clock that
 * somebody sets. JSON-able; lies beside what it dates, and every date there is an `ageMs`.
 */
export interface Timeline {
  /** Milliseconds since this memory began. */
  readonly ageMs: number;
  /** The last instant seen. Earlier agents have kept no boot, and as `ms` the time since it without suspend. */
  readonly bootId?: string;
  readonly ms: number;
  readonly wallMs: number;
}

/** A wall clock that says that more than this has passed unseen was wrong before (a node without a battery starts in 1970). */
const unseenMaxMs = 30 * 86_400_000;

/** A timeline that begins now. */
export function startTimeline({ bootId, bootMs, wallMs }: Instant): Timeline {
  return { ageMs: 0, bootId, ms: bootMs, wallMs };
}

/**
 * The timeline at `now`. Within a boot the scale of that boot says how much has passed, in suspend too, and the wall clock may be set to
 * whatever it likes. Over a reboot at least the age of the new boot has passed; what the wall says beyond that (power off) is believed
 * up to 30 days, and a wall that fell behind is not believed at all.
 */
export function passTo(line: Timeline, now: Instant): Timeline {
  const { bootId, bootMs, wallMs } = now;
  const sinceMs = bootMs - line.ms;
  const isKnown = line.bootId !== undefined && bootId !== "unknown";
  // A look at a scale of 10 ms may say a little less than the one before.
  if (isKnown && bootId === line.bootId)
    return { ageMs: line.ageMs + Math.max(0, sinceMs), bootId, ms: Math.max(bootMs, line.ms), wallMs };
  const leastMs = isKnown || sinceMs < 0 ? Math.max(0, bootMs) : sinceMs;
  const unseenMs = wallMs - line.wallMs;
  const passedMs = unseenMs > leastMs && unseenMs <= leastMs + unseenMaxMs ? unseenMs : leastMs;
  return { ageMs: line.ageMs + passedMs, bootId, ms: bootMs, wallMs };
}
