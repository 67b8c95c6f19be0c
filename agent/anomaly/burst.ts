import type { Instant } from "../slo/timeline.ts";

/** When many errors are a burst. */
export interface BurstPolicy {
  /** Errors are counted over this time, in twelve slots. Shorter: sooner; longer: also bursts that are spread out. */
  readonly windowMs: number;
  /** Fewer than this are never a burst, however quiet it was before. */
  readonly least: number;
  /** As many as this are always one, unless half as many are usual. */
  readonly most: number;
  /** Chance of so many by accident, at the usual rate, at which it is no accident. Looks are some 17,000 a day. */
  readonly chance: number;
}

export const defaultBurst: BurstPolicy = { windowMs: 60_000, least: 10, most: 200, chance: 1e-8 };

/** Errors of one workload: the last window slot by slot, and what was usual before. JSON-able, 20 numbers, about 140 bytes. */
export interface Errors {
  /** Monotonic time at which the newest slot began. */
  readonly slotMs: number;
  /** Counts, newest first; at most twelve. */
  readonly slots: readonly number[];
  /** Mean and mean square of the count of a slot, over the time before the window. */
  readonly mean: number;
  readonly square: number;
  /** Slots that mean and square are made of, at most {@link memorySlots}. */
  readonly learned: number;
  /** So many slots in a row were far above the usual. */
  readonly run: number;
}

/** A burst or not, with its figures. */
export interface BurstVerdict {
  readonly burst: boolean;
  readonly count: number;
  /** As many are usual in a window. */
  readonly usual: number;
  /** At most this is the chance of so many by accident. */
  readonly chance: number;
  readonly because: string;
}

const slotsMax = 12;
/** What is usual is a mean over about so many slots: an hour for windows of a minute. */
const memorySlots = 720;
/** Counts end here. */
const countMax = 1e9;
/** An outage is learned from for a window; each further slot of it counts an eighth. */
const runFull = slotsMax;
const runWeight = 1 / 8;

export function freshErrors(now: Instant): Errors {
  return { slotMs: now.ms, slots: [0], mean: 0, square: 0, learned: 0, run: 0 };
}

/** Adds errors (or, with 0, only the time that passed). After a reboot the window begins anew; what is usual is kept. */
export function countErrors(errors: Errors, policy: BurstPolicy, count: number, now: Instant): Errors {
  const moved = moveTo(errors, policy, now.ms);
  const [newest = 0, ...rest] = moved.slots;
  const more = count > 0 ? count : 0;
  return { ...moved, slots: [Math.min(countMax, newest + more), ...rest] };
}

/**
 * Are the errors of the last window a burst? When they are at least `least`, and either so many are an accident with at most
 * `chance`, or they are at least `most` and more than twice the usual. The accident is bounded by Chernoff for a Poisson
 * count, P(X ≥ k) ≤ e^(k−λ)·(λ/k)^k for k > λ (Mitzenmacher and Upfal, Probability and Computing, theorem 5.4). Errors that
 * use to come in clumps of D are counted as clumps: k/D and λ/D, with D = variance/mean of the slots (quasi-Poisson).
 * Of what is not known yet, one error per window is assumed.
 */
export function burst(errors: Errors, policy: BurstPolicy, now: Instant): BurstVerdict {
  const moved = moveTo(errors, policy, now.ms);
  const count = moved.slots.reduce((sum, one) => sum + one, 0);
  // One window with one error is known beforehand.
  const usual = (slotsMax * (moved.mean * moved.learned + 1)) / (moved.learned + slotsMax);
  const variance = Math.max(0, moved.square - moved.mean ** 2);
  const clump = moved.mean > 0 ? Math.max(1, variance / moved.mean) : 1;
  const chance = accident(count / clump, usual / clump);
  const seconds = Math.round(policy.windowMs / 1000);
  const figures = `${Math.round(count)} errors in ${seconds} s, usually ${usual.toPrecision(2)}`;
  const answer = { count, usual, chance };
  if (count < policy.least) return { ...answer, burst: false, because: `${figures}: fewer than ${policy.least}` };
  if (chance <= policy.chance) {
    return {
      ...answer,
      burst: true,
      because: `${figures}: by chance at most once in ${(1 / chance).toPrecision(1)} looks`,
    };
  }
  if (count >= policy.most && count > 2 * usual) {
    return { ...answer, burst: true, because: `${figures}: at least ${policy.most}, and more than twice the usual` };
  }
  return { ...answer, burst: false, because: `${figures}: that may be chance` };
}

/** Chernoff's bound on P(X ≥ count) for a Poisson count of this mean. Never 0, so that it can be printed as "once in". */
function accident(count: number, mean: number): number {
  if (count <= mean) return 1;
  return Math.max(1e-300, Math.exp(count - mean - count * Math.log(count / mean)));
}

/** Opens the slots up to `nowMs`; those that leave the window are learned from. */
function moveTo(errors: Errors, policy: BurstPolicy, nowMs: number): Errors {
  const slotLengthMs = policy.windowMs / slotsMax;
  if (nowMs < errors.slotMs) return { ...errors, slotMs: nowMs, slots: [0] };
  const passed = Math.floor((nowMs - errors.slotMs) / slotLengthMs);
  if (passed === 0) return errors;
  const opened = [...new Array<number>(Math.min(passed, slotsMax)).fill(0), ...errors.slots];
  const left = opened.slice(slotsMax).reverse();
  const empty = passed - Math.min(passed, slotsMax);
  return {
    ...unused(
      left.reduce((sum, one) => learn(sum, one, policy.least), errors),
      empty,
    ),
    slotMs: errors.slotMs + passed * slotLengthMs,
    slots: opened.slice(0, slotsMax),
  };
}

/**
 * Takes a slot into what is usual. More than four times the usual counts as four times, and a run of such slots counts less:
 * an outage of minutes hides no burst after it, errors that always come in clumps become usual, and a new normal does in hours.
 */
function learn(errors: Errors, count: number, least: number): Errors {
  const { mean, square } = errors;
  const bound = Math.max(least, 4 * mean + 4 * Math.sqrt(Math.max(0, square - mean ** 2)));
  const run = count > bound ? errors.run + 1 : 0;
  const learned = Math.min(memorySlots, errors.learned + 1);
  const weight = (run > runFull ? runWeight : 1) / learned;
  const taken = Math.min(count, bound);
  return {
    ...errors,
    mean: mean + (taken - mean) * weight,
    square: square + (taken ** 2 - square) * weight,
    learned,
    run,
  };
}

/** As many slots without an error, at once: after a night without one there are thousands of them. */
function unused(errors: Errors, slots: number): Errors {
  const learned = Math.min(memorySlots, errors.learned + slots);
  const kept =
    errors.learned + slots <= memorySlots ? errors.learned / Math.max(1, learned) : (1 - 1 / memorySlots) ** slots;
  return { ...errors, mean: errors.mean * kept, square: errors.square * kept, learned, run: 0 };
}
