/** A bucket of admissions: a fleet that lost its hub comes back at a rate that the hub can serve. */
export interface Admission {
  readonly tokens: number;
  readonly atMs: number;
  /** Those sent away since somebody was last admitted without waiting, to spread their return. */
  readonly turnedAway: number;
}

/** How fast sessions are admitted. */
export interface AdmissionRate {
  /** Sessions a second. A mutual TLS handshake costs about 2 ms of a core, so 200 leave half a core for the rest. */
  readonly perSecond: number;
  /** This many at once after a quiet time. */
  readonly burst: number;
}

export const defaultAdmission: AdmissionRate = { perSecond: 200, burst: 400 };

const shortestWaitMs = 1_000;
const longestWaitMs = 60_000;

/** A full bucket. */
export function openAdmission(rate: AdmissionRate, nowMs: number): Admission {
  return { tokens: rate.burst, atMs: nowMs, turnedAway: 0 };
}

/** How long it takes at least until a fleet of so many that comes back at once is in; 0 while the burst holds them all. */
export function admittedWithinMs(rate: AdmissionRate, nodes: number): number {
  return Math.ceil((Math.max(0, nodes - rate.burst) / rate.perSecond) * 1000);
}

/** Admits a session, or says within which time its node shall come back, at random. */
export function admit(
  state: Admission,
  rate: AdmissionRate,
  nowMs: number,
):
  | { readonly admission: Admission; readonly admitted: true }
  | { readonly admission: Admission; readonly admitted: false; readonly comeBackMs: number } {
  const refilled = state.tokens + ((nowMs - state.atMs) / 1000) * rate.perSecond;
  const tokens = Math.min(rate.burst, refilled);
  if (tokens >= 1) {
    const quiet = refilled >= rate.burst;
    return { admission: { tokens: tokens - 1, atMs: nowMs, turnedAway: quiet ? 0 : state.turnedAway }, admitted: true };
  }
  const turnedAway = state.turnedAway + 1;
  const comeBackMs = Math.min(longestWaitMs, Math.max(shortestWaitMs, (turnedAway / rate.perSecond) * 1000));
  return { admission: { tokens, atMs: nowMs, turnedAway }, admitted: false, comeBackMs };
}
