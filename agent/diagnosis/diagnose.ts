/**
 * From evidence to a cause. Every cause that SYN-4's tree knows is weighed; each says what speaks for it, or why it was
 * rejected, and the one with the most confidence wins. At equal confidence the earlier one of the list wins: direct evidence
 * (a dependency that is down, a corrupt file) stands before circumstance (a config that changed), and a changed config before a
 * suspected one (design.md, rule 11).
 *
 * The confidences are weights to compare, not frequencies: 0.9 was seen directly, 0.7 fits in time or by the program's own
 * words, 0.5 is a hint, below 0.4 nothing but habit. From {@link strong} on, a rung is chosen against the ladder's own order.
 */
import type { Rung } from "../ladder/rungs.ts";
import type { Facts } from "./facts.ts";

/** What is believed to be wrong, as a stable word. */
export type Cause =
  | "dependency_down"
  | "corruption"
  | "config_change"
  | "config_suspected"
  | "exhaustion"
  | "transient"
  | "unknown";

/** The believed cause of a failure, and the strategy that it calls for. */
export interface Diagnosis {
  readonly cause: Cause;
  /** From 0 to 1. */
  readonly confidence: number;
  readonly rung: Rung;
  /** What speaks for it, and for nothing else that was weighed. */
  readonly evidence: readonly string[];
  readonly rejected: readonly string[];
  /** The workload where the failure began, when it is another one. */
  readonly root?: string;
  /** What a rung cannot do, and has to be done first: the playbook's name. */
  readonly playbook?: string;
}

/** The failure as supervision saw it. */
export interface Failure {
  readonly symptom: string;
  /** Failures within this incident, this one included. */
  readonly failures: number;
  /** It has been ready since its last start. */
  readonly wasReady: boolean;
  /** Rungs that were tried in this incident, and did not help: what they would have mended is believed less. */
  readonly tried: readonly Rung[];
}

/** From here on the evidence outweighs the order of the ladder. */
export const strong = 0.7;

interface Hypothesis {
  readonly cause: Cause;
  readonly rung: Rung;
  /** 0: rejected. */
  readonly confidence: number;
  readonly because: string;
  readonly root?: string;
  readonly playbook?: string;
}

/** Weighs every cause. Total: it always answers. */
export function diagnose(failure: Failure, facts: Facts, recentConfigMs: number): Diagnosis {
  const all = [
    dependencyDown(facts),
    corruption(facts),
    configChange(failure, facts, recentConfigMs),
    configSuspected(failure, facts),
    exhaustion(facts),
    transient(failure),
    unknown(failure),
  ].map((one) => discounted(one, failure.tried));
  const best = all.reduce((a, b) => (b.confidence > a.confidence ? b : a));
  return {
    cause: best.cause,
    confidence: best.confidence,
    rung: best.rung,
    evidence: [best.because],
    rejected: all
      .filter((one) => one !== best)
      .map((one) => `${one.cause} (${one.confidence.toFixed(2)}): ${one.because}`),
    ...(best.root !== undefined && { root: best.root }),
    ...(best.playbook !== undefined && { playbook: best.playbook }),
  };
}

/** Its remedy was tried and did not help: what speaks for it still stands, but counts a quarter. A dependency that is seen down is down. */
function discounted(one: Hypothesis, tried: readonly Rung[]): Hypothesis {
  if (one.confidence === 0 || one.rung === "quick_restart" || one.root !== undefined || !tried.includes(one.rung))
    return one;
  return { ...one, confidence: one.confidence / 4, because: `${one.because}; ${one.rung} was tried and did not help` };
}

function dependencyDown({ dependencies, hints }: Facts): Hypothesis {
  const base = { cause: "dependency_down", rung: "dependency_restart" } as const;
  const down = dependencies.filter(({ stands }) => stands !== "well");
  const [first] = down;
  if (first) {
    const words = down.map(({ name, stands }) => `${name} ${standWords[stands]}`).join(", ");
    return { ...base, confidence: 0.9, because: `what it depends on is not well: ${words}`, root: first.name };
  }
  if (dependencies.length > 0 && hints.includes("dependency"))
    return {
      ...base,
      confidence: 0.5,
      because: "its output speaks of a connection that was refused, though all it depends on look well",
    };
  return {
    ...base,
    confidence: 0,
    because: dependencies.length > 0 ? "all it depends on are well" : "it depends on nothing",
  };
}
const standWords = {
  well: "is well",
  recovering: "is being recovered",
  down: "is down",
  stopped: "was stopped by a person",
};

function corruption({ hints, backup }: Facts): Hypothesis {
  const base = { cause: "corruption", rung: "backup_restore" } as const;
  if (!hints.includes("corruption"))
    return { ...base, confidence: 0, because: "its output says nothing of corrupt data" };
  const age = backup ? `; the newest verified backup is ${minutes(backup.ageMs)} old` : "; there is no backup";
  return { ...base, confidence: 0.85, because: `its output says that its data is corrupt${age}` };
}

function configChange({ symptom, failures }: Failure, { config, hints }: Facts, recentConfigMs: number): Hypothesis {
  const base = { cause: "config_change", rung: "config_rollback" } as const;
  if (config.changedAgoMs === undefined || config.changedAgoMs > recentConfigMs)
    return { ...base, confidence: 0, because: `its config has not changed within ${minutes(recentConfigMs)}` };
  const changed = `its config changed ${minutes(config.changedAgoMs)} ago`;
  if (config.healthyVersion === undefined)
    return { ...base, confidence: 0, because: `${changed}, but no earlier version was healthy` };
  if (hints.includes("config"))
    return { ...base, confidence: 0.95, because: `${changed}, and its output complains of its config` };
  // This version was well through its probation, so one death since is no sign against it; one that comes again may be. What is
  // slow or loses trust has no probation that would have told.
  const onceDead = config.wasHealthy && symptom === "crash" && failures <= 1;
  const confidence = onceDead ? 0.5 : 0.75;
  return { ...base, confidence, because: `${changed}, and version ${config.healthyVersion} was healthy before` };
}

function configSuspected({ failures, wasReady }: Failure, { hints }: Facts): Hypothesis {
  const base = { cause: "config_suspected", rung: "safe_mode" } as const;
  if (hints.includes("config")) return { ...base, confidence: 0.7, because: "its output complains of its config" };
  if (failures > 1 && !wasReady)
    return { ...base, confidence: 0.5, because: `it was not ready once in ${failures} starts` };
  return {
    ...base,
    confidence: 0,
    because: wasReady ? "it had started well with this config" : "it is its first failure",
  };
}

/** No restart makes room on a disk. */
function exhaustion({ exhausted, diskFull, hints }: Facts): Hypothesis {
  const room = diskFull && ({ playbook: "resource-cleanup" } as const);
  const base = { cause: "exhaustion", rung: "quick_restart", ...room } as const;
  const [first] = exhausted;
  // Measured, and a full disk cuts off what is written to it: what looks corrupt then is no case for a restore, which needs room too.
  if (first) return { ...base, confidence: diskFull ? 0.9 : 0.8, because: exhausted.join("; ") };
  if (hints.includes("exhaustion"))
    return {
      ...base,
      confidence: 0.6,
      because: "its output speaks of memory, disk, descriptors or a port that it could not get",
    };
  return { ...base, confidence: 0, because: "nothing that it uses has run out" };
}

function transient({ failures }: Failure): Hypothesis {
  const base = { cause: "transient", rung: "quick_restart" } as const;
  if (failures <= 1) return { ...base, confidence: 0.6, because: "it is the first failure" };
  return {
    ...base,
    confidence: failures === 2 ? 0.4 : 0.2,
    because: `it is failure number ${failures} of this incident`,
  };
}

function unknown({ failures }: Failure): Hypothesis {
  const because = failures > 2 ? `${failures} failures, and nothing else explains them` : "nothing else is known";
  return { cause: "unknown", rung: "full_bootstrap", confidence: failures > 2 ? 0.3 : 0.1, because };
}

function minutes(ms: number): string {
  return ms < 120_000 ? `${Math.round(ms / 1000)} s` : `${Math.round(ms / 60_000)} min`;
}
