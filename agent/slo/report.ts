import { printDuration, printPercent } from "@blueflame/shared/units/units.ts";
import type { HealthFigures } from "./health.ts";
import { type Objectives, type SloState, type Sums, sumsOver, windowMs } from "./slo.ts";
import type { Instant } from "./timeline.ts";

/** How one objective stands. */
export interface ObjectiveReport {
  readonly name: "availability" | "p95_latency" | "p99_latency" | "error_rate" | "success_rate";
  /** As in the objectives: a share, or milliseconds. */
  readonly target: number;
  /** The same figure as measured over the window; absent when nothing was measured. Latencies: mean over all requests. */
  readonly value?: number;
  /** Nothing of the budget is overdrawn. True as well when nothing was measured. */
  readonly met: boolean;
  /** The good part of what was measured: of time, or of requests. 0 to 1; 1 when nothing was measured. */
  readonly compliance: number;
  /** What may go wrong in the window, what did, and what is left; `left` is below 0 when overdrawn. */
  readonly budget: {
    readonly unit: "ms" | "requests";
    readonly total: number;
    readonly spent: number;
    readonly left: number;
  };
  /** How many times faster than evenly over 30 days the budget was spent lately; 1 uses it up exactly. */
  readonly burn: {
    readonly hour: number;
    readonly sixHours: number;
    /** `fast`: a fiftieth of the budget went in an hour; `slow`: a twentieth in six hours; and it goes on. */
    readonly alarm: "none" | "fast" | "slow";
  };
  /** One sentence for people. */
  readonly because: string;
}

/** All objectives of a workload. */
export interface SloReport {
  readonly windowMs: number;
  /** How much of the window was watched. */
  readonly observedMs: number;
  readonly met: boolean;
  readonly objectives: readonly ObjectiveReport[];
}

/** Long window, short window and burn rate of an alarm: The Site Reliability Workbook (2018), chapter 5, for 30 days. */
const alarms = {
  fast: { longMs: 3_600_000, shortMs: 300_000, rate: 14.4 },
  slow: { longMs: 6 * 3_600_000, shortMs: 1_800_000, rate: 6 },
} as const;

/** Fewer bad requests than this are no alarm: where three ask, one failure is a third. */
const badLeast = 10;

/** Where nothing at all may go wrong every failure burns without end; a report stays finite. */
const rateMax = 1e6;

interface Kind {
  readonly name: ObjectiveReport["name"];
  readonly target: (objectives: Objectives) => number;
  /** The share that may be bad. */
  readonly allowed: (objectives: Objectives) => number;
  readonly bad: (sums: Sums) => number;
  readonly all: (sums: Sums) => number;
  readonly value: (sums: Sums) => number;
  readonly says: (objectives: Objectives) => string;
}

/** A p95 of 200 ms is a promise about requests: at most 5 of 100 take longer. */
const kinds: readonly Kind[] = [
  {
    name: "availability",
    target: (it) => it.availability,
    allowed: (it) => rest(it.availability),
    bad: (sums) => sums.down,
    all: (sums) => sums.up + sums.down,
    value: (sums) => sums.up / (sums.up + sums.down),
    says: (it) => `${printPercent(it.availability)} up`,
  },
  {
    name: "p95_latency",
    target: (it) => it.p95Ms,
    allowed: () => 0.05,
    bad: (sums) => sums.slow95,
    all: (sums) => sums.timed,
    value: (sums) => sums.p95 / sums.timed,
    says: (it) => `p95 at most ${it.p95Ms} ms`,
  },
  {
    name: "p99_latency",
    target: (it) => it.p99Ms,
    allowed: () => 0.01,
    bad: (sums) => sums.slow99,
    all: (sums) => sums.timed,
    value: (sums) => sums.p99 / sums.timed,
    says: (it) => `p99 at most ${it.p99Ms} ms`,
  },
  {
    name: "error_rate",
    target: (it) => it.errorRate,
    allowed: (it) => it.errorRate,
    bad: (sums) => sums.errors,
    all: (sums) => sums.requests,
    value: (sums) => sums.errors / sums.requests,
    says: (it) => `error rate at most ${printPercent(it.errorRate)}`,
  },
  {
    name: "success_rate",
    target: (it) => it.successRate,
    allowed: (it) => rest(it.successRate),
    bad: (sums) => sums.unsuccessful,
    all: (sums) => sums.requests,
    value: (sums) => 1 - sums.unsuccessful / sums.requests,
    says: (it) => `success rate at least ${printPercent(it.successRate)}`,
  },
];

/**
 * How the objectives stand at `now`, over the last 30 days (to six hours, on the strict side). The budget of availability is
 * that of the whole window, 43m12s at 99.9 %, however little of it was watched yet; budgets of requests grow with them.
 */
export function sloReport(objectives: Objectives, state: SloState, now: Instant): SloReport {
  const window = sumsOver(state, windowMs, now);
  const lately = Object.values(alarms).flatMap((alarm) => [alarm.longMs, alarm.shortMs]);
  const recent = new Map(lately.map((overMs) => [overMs, sumsOver(state, overMs, now)]));
  const reports = kinds.map((kind) =>
    objectiveReport(kind, objectives, window, (overMs) => recent.get(overMs) ?? window),
  );
  return {
    windowMs,
    observedMs: window.up + window.down,
    met: reports.every((one) => one.met),
    objectives: reports,
  };
}

/** The figures of the health score over the last `overMs`. What was not measured counts as good. */
export function healthFigures(state: SloState, overMs: number, now: Instant): HealthFigures {
  const sums = sumsOver(state, overMs, now);
  return {
    uptimePercent: sums.up + sums.down > 0 ? (100 * sums.up) / (sums.up + sums.down) : 100,
    successRate: sums.requests > 0 ? 1 - sums.unsuccessful / sums.requests : 1,
    p95Ms: sums.timed > 0 ? sums.p95 / sums.timed : 0,
    errorRate: sums.requests > 0 ? sums.errors / sums.requests : 0,
  };
}

type Recent = (overMs: number) => Sums;

function objectiveReport(kind: Kind, objectives: Objectives, window: Sums, recent: Recent): ObjectiveReport {
  const [all, spent, unit] = [kind.all(window), kind.bad(window), unitOf(kind)];
  const total = kind.allowed(objectives) * (unit === "ms" ? windowMs : all);
  const met = spent <= total * (1 + 1e-9);
  const compliance = all > 0 ? 1 - spent / all : 1;
  const burn = (overMs: number) => burnRate(kind, objectives, recent(overMs), overMs);
  return {
    name: kind.name,
    target: kind.target(objectives),
    ...(all > 0 && { value: kind.value(window) }),
    met,
    compliance,
    budget: { unit, total, spent, left: total - spent },
    burn: { hour: burn(alarms.fast.longMs), sixHours: burn(alarms.slow.longMs), alarm: alarmOf(kind, burn, recent) },
    because: explained(kind, objectives, { all, spent, total, met, compliance }),
  };
}

function burnRate(kind: Kind, objectives: Objectives, sums: Sums, overMs: number): number {
  const bad = kind.bad(sums);
  const allowed = kind.allowed(objectives) * (unitOf(kind) === "ms" ? overMs : kind.all(sums));
  return bad === 0 ? 0 : Math.min(rateMax, bad / allowed);
}

/** Both windows must burn: the long one shows that it matters, the short one that it has not ended already. */
function alarmOf(kind: Kind, burn: (overMs: number) => number, recent: Recent): "none" | "fast" | "slow" {
  for (const name of ["fast", "slow"] as const) {
    const { longMs, shortMs, rate } = alarms[name];
    const enough = unitOf(kind) === "ms" || kind.bad(recent(longMs)) >= badLeast;
    if (enough && burn(longMs) >= rate && burn(shortMs) >= rate) return name;
  }
  return "none";
}

interface Standing {
  readonly all: number;
  readonly spent: number;
  readonly total: number;
  readonly met: boolean;
  readonly compliance: number;
}

function explained(kind: Kind, objectives: Objectives, { all, spent, total, met, compliance }: Standing): string {
  if (all === 0) return `${kind.says(objectives)}: nothing was measured`;
  const good = `${(100 * compliance).toFixed(3)}% good`;
  const verdict = met ? "kept" : "broken";
  if (unitOf(kind) === "ms") {
    const used = `down for ${seconds(spent)} of the ${printDuration(total)} that 30 days allow`;
    return `${kind.says(objectives)}: ${verdict}; ${used}; ${good} in ${seconds(all)} watched`;
  }
  const used = `${Math.ceil(spent)} bad of the ${Math.floor(total)} that ${Math.round(all)} requests allow`;
  return `${kind.says(objectives)}: ${verdict}; ${used}; ${good}`;
}

/** Whole seconds, for people. */
function seconds(ms: number): string {
  return printDuration(Math.round(ms / 1000) * 1000);
}

/** What a share leaves, without the dust of binary fractions: 1 − 0.999 is 0.001. */
function rest(share: number): number {
  return Math.round((1 - share) * 1e9) / 1e9;
}

function unitOf(kind: Kind): "ms" | "requests" {
  return kind.name === "availability" ? "ms" : "requests";
}
