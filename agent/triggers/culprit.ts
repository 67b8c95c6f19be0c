/**
 * Who of ours is it? A figure of the node is bad and the load is ours (`doubt.ts`): the workload that has grown most since it was calm
 * can be restarted alone, where the node can only make room. While it is calm, what each takes is remembered as a mean that fades over
 * a minute; while it holds, what each takes is averaged over just that time. Who has no calm figure was not there, and has grown by all
 * that it takes. Nobody is blamed when no calm was ever seen, or when the growth is spread.
 */
import { figureWords } from "./metrics.ts";

/** What one workload takes of a resource. JSON-able. */
export interface Share {
  /** While it was calm. */
  readonly calm?: number;
  readonly calmMs?: number;
  /** Since the condition holds. */
  readonly sum: number;
  readonly readings: number;
}

/** The workload that is the cause, with the evidence in one sentence. */
export interface Culprit {
  readonly workload: string;
  readonly because: string;
}

const calmFadeMs = 60_000;
/** Of all growth of ours the culprit's is at least this share. */
const shareLeast = 0.5;
/** By figure, how much a workload has to have grown: half a core, or what a clean-up would restart it for. */
const growthLeast: Readonly<Record<string, number>> = { process_cpu_ratio: 0.5, process_memory_bytes: 256 * 2 ** 20 };

/** The figure of a workload that says how much of the resource it takes. */
export function shareFigure(resource: "cpu" | "memory"): "process_cpu_ratio" | "process_memory_bytes" {
  return resource === "cpu" ? "process_cpu_ratio" : "process_memory_bytes";
}

/** Takes a reading of a calm moment; what was counted while it held is over. */
export function calmShare(before: Share | undefined, value: number, nowMs: number): Share {
  if (before?.calm === undefined) return { calm: value, calmMs: nowMs, sum: 0, readings: 0 };
  const weight = 1 - Math.exp(-Math.max(0, nowMs - (before.calmMs ?? nowMs)) / calmFadeMs);
  return { calm: before.calm + weight * (value - before.calm), calmMs: nowMs, sum: 0, readings: 0 };
}

/** Takes a reading while the condition holds. */
export function heldShare(before: Share | undefined, value: number): Share {
  return { ...before, sum: (before?.sum ?? 0) + value, readings: (before?.readings ?? 0) + 1 };
}

/** Who it is, by the shares of each workload; undefined when it is nobody in particular. */
export function culpritOf(
  resource: "cpu" | "memory",
  shares: readonly (readonly [workload: string, share: Share])[],
): Culprit | undefined {
  const metric = shareFigure(resource);
  const grown = shares
    .filter(([, { readings }]) => readings > 0)
    .map(([workload, { sum, readings, calm = 0 }]) => ({ workload, now: sum / readings, calm }))
    .map((one) => ({ ...one, by: Math.max(0, one.now - one.calm) }));
  const all = grown.reduce((sum, { by }) => sum + by, 0);
  const [most] = grown.sort((a, b) => b.by - a.by);
  if (!most || most.by < (growthLeast[metric] ?? 0) || most.by < shareLeast * all) return undefined;
  const [now, calm] = [figureWords(metric, most.now), figureWords(metric, most.calm)];
  const because = `${most.workload} takes ${now}, ${calm} while it was calm: ${Math.round((most.by / all) * 100)}% of what ours have grown by`;
  return { workload: most.workload, because };
}
