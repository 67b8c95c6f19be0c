import type { WorkloadSpec } from "./spec.ts";
import type { Evidence, Instance, Symptom } from "./state.ts";

/** Without beats and probes a process counts as up when it has lived this long: most bad starts end sooner. */
export const settleMs = 1000;
/** A process that a signal stopped is frozen after this long; shorter stops are job control or a debugger attaching. */
export const stoppedLimitMs = 2000;

/** Does the workload give signs of life beyond being a process? */
export function selfEvident(spec: WorkloadSpec): boolean {
  return spec.beat !== undefined || spec.notify || spec.probes.length > 0;
}

/** A verdict says why, and with facts. */
export type Verdict =
  | { readonly is: "well" }
  | { readonly is: "unwell"; readonly symptom: Symptom; readonly because: string };
const well: Verdict = { is: "well" };

/** Is it ready for the first time? `never` names what is missing. */
export function firstReady(
  spec: WorkloadSpec,
  evidence: Evidence,
  instance: Instance,
  nowMs: number,
): { readonly ready: boolean; readonly because: string } {
  const startup = spec.probes.filter((probe) => probe.use === "startup");
  for (const probe of [...startup, ...spec.probes.filter((probe) => probe.use !== "startup")]) {
    const seen = evidence.probes[probe.name];
    if (!seen?.passed)
      return {
        ready: false,
        because: `${probe.use} probe ${probe.name} has not passed${seen ? `: ${seen.because}` : ""}`,
      };
  }
  if (spec.notify && evidence.beatReady !== true)
    return { ready: false, because: evidence.beatStatus ?? "it has not said READY=1" };
  if (spec.beat && evidence.lastBeatMs === undefined) return { ready: false, because: "no beat has come" };
  if (spec.beat && evidence.beatReady === false) return { ready: false, because: "its beats say that it is not ready" };
  if (selfEvident(spec)) return { ready: true, because: "its beats and probes are good" };
  if (nowMs < instance.sinceMs + settleMs) return { ready: false, because: `up for less than ${settleMs} ms` };
  return { ready: true, because: `up for ${settleMs} ms` };
}

/** Is it ready now? Readiness never restarts anything. */
export function readyNow(
  spec: WorkloadSpec,
  evidence: Evidence,
): { readonly ready: boolean; readonly because: string } {
  if (evidence.beatReady === false) return { ready: false, because: "its beats say that it is not ready" };
  for (const probe of spec.probes) {
    const seen = evidence.probes[probe.name];
    if (probe.use === "readiness" && seen && seen.failures >= probe.failures) {
      return { ready: false, because: `readiness probe ${probe.name} failed ${seen.failures} times: ${seen.because}` };
    }
  }
  return { ready: true, because: "ready" };
}

/** Is it alive, by all that was seen? Judged only once it was ready or its grace is over. */
export function alive(spec: WorkloadSpec, evidence: Evidence, nowMs: number): Verdict {
  const stopped = stoppedTooLong(evidence, nowMs);
  if (stopped.is === "unwell") return stopped;
  if (spec.beat && evidence.lastBeatMs !== undefined && nowMs > evidence.lastBeatMs + spec.beat.timeoutMs) {
    const silentMs = Math.round(nowMs - evidence.lastBeatMs);
    return {
      is: "unwell",
      symptom: "frozen",
      because: `no beat for ${silentMs} ms, allowed are ${spec.beat.timeoutMs} ms`,
    };
  }
  for (const probe of spec.probes) {
    const seen = evidence.probes[probe.name];
    if (probe.use === "liveness" && seen && seen.failures >= probe.failures) {
      return {
        is: "unwell",
        symptom: "probe_failed",
        because: `liveness probe ${probe.name} failed ${seen.failures} times: ${seen.because}`,
      };
    }
  }
  return well;
}

/** Stopped by a signal is frozen, whatever the grace: a stopped process does not start up either. */
export function stoppedTooLong(evidence: Evidence, nowMs: number): Verdict {
  if (evidence.stoppedSinceMs === undefined || nowMs < evidence.stoppedSinceMs + stoppedLimitMs) return well;
  return {
    is: "unwell",
    symptom: "frozen",
    because: `stopped by a signal for ${Math.round(nowMs - evidence.stoppedSinceMs)} ms`,
  };
}

/**
 * The grace is over and it was never ready: what of its life signs is missing? Readiness alone is no death. An adopted one may
 * have said READY=1 while no agent was there, and says it only once.
 */
export function startedAtAll(spec: WorkloadSpec, evidence: Evidence, instance: Instance): Verdict {
  if (spec.notify && !instance.adopted && evidence.beatReady !== true)
    return { is: "unwell", symptom: "not_started", because: "it did not say READY=1 within its start grace" };
  if (spec.beat && evidence.lastBeatMs === undefined)
    return { is: "unwell", symptom: "not_started", because: "no beat came within its start grace" };
  for (const probe of spec.probes) {
    if (probe.use === "readiness" || evidence.probes[probe.name]?.passed) continue;
    const because = evidence.probes[probe.name]?.because ?? "it gave no answer";
    return {
      is: "unwell",
      symptom: "not_started",
      because: `${probe.use} probe ${probe.name} did not pass within its start grace: ${because}`,
    };
  }
  return well;
}

/** What liveness probes have counted at the pace of a start says nothing at their own. */
export function countedAnew(spec: WorkloadSpec, evidence: Evidence): Evidence {
  const alone = new Set(spec.probes.filter(({ use }) => use === "liveness").map(({ name }) => name));
  const probes = Object.entries(evidence.probes).map(([name, facts]) => [
    name,
    alone.has(name) ? { ...facts, failures: 0 } : facts,
  ]);
  return { ...evidence, probes: Object.fromEntries(probes) };
}

/** When {@link alive} may next change by time alone; undefined when only an event can change it. */
export function aliveDeadlineMs(spec: WorkloadSpec, evidence: Evidence): number | undefined {
  const deadlines: number[] = [];
  if (spec.beat && evidence.lastBeatMs !== undefined) deadlines.push(evidence.lastBeatMs + spec.beat.timeoutMs + 1);
  const stopped = stoppedDeadlineMs(evidence);
  if (stopped !== undefined) deadlines.push(stopped);
  return deadlines.length > 0 ? Math.min(...deadlines) : undefined;
}

/** The agent was away for `byMs`: no deadline of judgement runs in that time. */
export function amnesty(evidence: Evidence, byMs: number): Evidence {
  return {
    ...evidence,
    ...(evidence.lastBeatMs !== undefined && { lastBeatMs: evidence.lastBeatMs + byMs }),
    ...(evidence.stoppedSinceMs !== undefined && { stoppedSinceMs: evidence.stoppedSinceMs + byMs }),
  };
}

/** When {@link stoppedTooLong} may next change by time alone. */
export function stoppedDeadlineMs(evidence: Evidence): number | undefined {
  return evidence.stoppedSinceMs === undefined ? undefined : evidence.stoppedSinceMs + stoppedLimitMs;
}
