/**
 * Are these errors far more than usual? Pure.
 *
 * What is usual is the mean of a slot (a twelfth of the window) over about an hour, before the window. Slots far above it make a
 * stretch, which lasts until a whole window has none:
 *
 *   at most a window long, seldom      news: it teaches nothing
 *   at most a window long, again and again     errors that come in clumps: they become usual
 *   longer                             an outage: it teaches nothing, and hides no burst after it
 *   longer than fifteen windows        how it is now
 *
 * A steady rate that falls off for a window is how it is now as well. Before the first error there was silence.
 */

/** When many errors are a burst. */
export interface BurstPolicy {
  /** Errors are counted over this time. Shorter: sooner; longer: also bursts that are spread out. */
  readonly windowMs: number;
  /** Fewer than this are never a burst, and against silence as many are always one. Ten times as many are, unless half of them are usual. */
  readonly least: number;
}

/** What is usual of one workload's errors. JSON-able, below 400 bytes. */
export interface Errors {
  /** Monotonic time at which the newest slot began. */
  readonly slotMs: number;
  /** Counts, newest first; at most twelve: they are not yet in what is usual. */
  readonly slots: readonly number[];
  /** Mean and mean square of the count of a slot. */
  readonly mean: number;
  readonly square: number;
  /** Slots that mean and square are made of, at most {@link memorySlots}. */
  readonly learned: number;
  /** Stretches of late, fading over an hour. */
  readonly stretches: number;
  /** The one that goes on: how long, since when without a high slot, and what it would teach. */
  readonly stretch?: {
    readonly slots: number;
    readonly quiet: number;
    readonly sum: number;
    readonly square: number;
  };
  /** So many slots in a row were far below the usual. */
  readonly low: number;
}

/** A burst or not, with its figures. */
export interface BurstVerdict {
  readonly burst: boolean;
  /** As many are usual in a window. */
  readonly usual: number;
  /** At most this is the chance of so many by accident. */
  readonly chance: number;
}

const slotsMax = 12;
/** What is usual is a mean over about so many slots: an hour for windows of a minute. */
const memorySlots = 720;
/** Chance of so many by accident at which it is no accident: with some 17,000 looks a day, less than one in a year. */
const chanceMost = 1e-8;
/** As many times the usual are far more, also where few are counted and chance could not be excluded. */
const timesEnough = 10;
const timesAlways = 10;
/** Stretches within the last hour from which on they are usual: one in twenty minutes, or more often. */
const stretchesUsual = 3;
/** What has lasted for fifteen windows is no outage any more. */
const outageSlots = 15 * slotsMax;
/** Counts end here, and a slot teaches at most so many times the least. */
const countMax = 1e9;
const taughtMost = 4;
/** So many standard deviations from the mean are far. */
const far = 4;

/** Nothing was counted before `nowMs`. */
export function freshErrors(nowMs: number): Errors {
  return { slotMs: nowMs, slots: [0], mean: 0, square: 0, learned: memorySlots, stretches: 0, low: 0 };
}

/** What another has learned, to go on with from `nowMs`, in this boot or the next: what nobody watched in between teaches nothing. */
export function takenOver(errors: Errors, nowMs: number): Errors {
  return { ...errors, slotMs: nowMs };
}

/** Adds errors (or, with 0, only the time that passed). */
export function countErrors(errors: Errors, policy: BurstPolicy, count: number, nowMs: number): Errors {
  const moved = moveTo(errors, policy, nowMs);
  const [newest = 0, ...rest] = moved.slots;
  const more = count > 0 ? count : 0;
  return { ...moved, slots: [Math.min(countMax, newest + more), ...rest] };
}

/**
 * Are `count` errors, those of the last window, a burst? When they are at least `least`, and either so many are an accident with a
 * chance of at most 1e-8 (of fewer than 13: no more than ten times the usual would have), or they are ten times `least` and more than
 * twice the usual. The accident is bounded by Chernoff for a Poisson count, P(X ≥ k) ≤ e^(k−λ)·(λ/k)^k for k > λ (Mitzenmacher and
 * Upfal, Probability and Computing, theorem 5.4). Errors that use to come in clumps of D are counted as clumps: k/D and λ/D, with
 * D = variance/mean of the slots (quasi-Poisson).
 */
export function burst(errors: Errors, policy: BurstPolicy, count: number, nowMs: number): BurstVerdict {
  const { mean, square } = moveTo(errors, policy, nowMs);
  const { least } = policy;
  const usual = slotsMax * mean;
  const clump = mean > 0 ? Math.max(1, (square - mean ** 2) / mean) : 1;
  const chance = accident(count / clump, usual / clump);
  const isUnlikely = chance <= Math.max(chanceMost, accident(least, least / timesEnough));
  const isMany = count >= timesAlways * least && count > 2 * usual;
  return { burst: count >= least && (isUnlikely || isMany), usual, chance };
}

/** Is there nothing left to remember: no error for hours? */
export function isForgotten(errors: Errors, policy: BurstPolicy, nowMs: number): boolean {
  const { slots, mean, stretch, stretches } = moveTo(errors, policy, nowMs);
  return stretch === undefined && slots.every((one) => one === 0) && slotsMax * mean < 0.01 && stretches < 0.01;
}

/** Chernoff's bound on P(X ≥ count) for a Poisson count of this mean. Never 0. */
function accident(count: number, mean: number): number {
  if (count <= mean) return 1;
  return Math.max(1e-300, Math.exp(count - mean - count * Math.log(count / mean)));
}

/** Opens the slots up to `nowMs`; those that leave the window are learned from. */
function moveTo(errors: Errors, { windowMs, least }: BurstPolicy, nowMs: number): Errors {
  const slotLengthMs = windowMs / slotsMax;
  const passed = Math.max(0, Math.floor((nowMs - errors.slotMs) / slotLengthMs));
  if (passed === 0) return errors;
  const slotMs = errors.slotMs + passed * slotLengthMs;
  let moved = errors;
  // After so many empty ones no stretch goes on any more, and the rest may go at once: after a night there are thousands.
  const single = Math.min(passed, 3 * slotsMax);
  for (let n = 0; n < single; n += 1) {
    const slots = [0, ...moved.slots];
    const left = slots[slotsMax];
    moved = { ...moved, slots: slots.slice(0, slotsMax) };
    if (left !== undefined) moved = learn(moved, left, least);
  }
  return { ...unused(moved, passed - single), slotMs };
}

/** Takes a slot that has left the window into what is usual, as the head of this file says. */
function learn(before: Errors, count: number, least: number): Errors {
  const { mean, square, stretch, ...rest } = before;
  const deviation = Math.sqrt(Math.max(0, square - mean ** 2));
  const errors = { ...rest, mean, square, stretches: rest.stretches * (1 - 1 / memorySlots) };
  const bound = Math.max(least / 2, far * (mean + deviation));
  if (stretch === undefined && count <= bound) {
    const low = count < mean - far * Math.max(1, deviation) ? errors.low + 1 : 0;
    if (low >= slotsMax) return asNow(errors);
    return low > 0 ? { ...errors, low } : taught({ ...errors, low }, 1, count, count ** 2);
  }
  const { slots, quiet, sum, square: squares } = stretch ?? { slots: 0, quiet: 0, sum: 0, square: 0 };
  const taken = Math.min(count, Math.max(bound, taughtMost * least));
  const longer = {
    slots: slots + 1,
    quiet: count > bound ? 0 : quiet + 1,
    sum: sum + taken,
    square: squares + taken ** 2,
  };
  if (longer.quiet < slotsMax)
    return longer.slots > outageSlots ? asNow(errors) : { ...errors, low: 0, stretch: longer };
  const ended = { ...errors, low: 0, stretches: errors.stretches + 1 };
  const isClump = longer.slots <= 2 * slotsMax && ended.stretches >= stretchesUsual;
  return isClump ? taught(ended, longer.slots, longer.sum, longer.square) : ended;
}

/** So many slots more in mean and mean square. */
function taught(errors: Errors, slots: number, sum: number, squares: number): Errors {
  const learned = Math.min(memorySlots, errors.learned + slots);
  const weight = Math.min(1, slots / learned);
  const mean = errors.mean + (sum / slots - errors.mean) * weight;
  return { ...errors, mean, square: errors.square + (squares / slots - errors.square) * weight, learned };
}

/** What was usual is no more: it is as in the last window. */
function asNow({ stretch: _over, ...errors }: Errors): Errors {
  const average = (of: (count: number) => number) =>
    errors.slots.reduce((sum, one) => sum + of(one), 0) / errors.slots.length;
  const learned = errors.slots.length;
  return { ...errors, mean: average((one) => one), square: average((one) => one ** 2), learned, low: 0 };
}

/** As many slots without an error, at once. */
function unused(errors: Errors, slots: number): Errors {
  const learned = Math.min(memorySlots, errors.learned + slots);
  const together = errors.learned + slots;
  const kept = together <= memorySlots ? errors.learned / together : (1 - 1 / memorySlots) ** slots;
  const stretches = errors.stretches * (1 - 1 / memorySlots) ** slots;
  return { ...errors, mean: errors.mean * kept, square: errors.square * kept, learned, stretches };
}
