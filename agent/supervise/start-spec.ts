/** The forms in which a workload's spec is used. Pure. */
import { createHash } from "node:crypto";
import type { WorkloadSpec } from "./spec.ts";

/** On probation every probe is asked at least this often (PRA-4). */
const probationEveryMs = 10_000;
/** And while it starts, so that it is up when it is up. */
const startEveryMs = 1000;

/** Of what a process is started with. Short on purpose: what is secret in it cannot be found by trying. */
export function fingerprint({ command, cwd, env }: WorkloadSpec): string {
  const sorted = Object.entries(env).sort(([a], [b]) => (a < b ? -1 : 1));
  return createHash("sha256")
    .update(JSON.stringify([command, cwd, sorted]))
    .digest("hex")
    .slice(0, 8);
}

/** As it is started in safe mode; the spec itself where none is declared. */
export function inSafeMode(spec: WorkloadSpec): WorkloadSpec {
  if (!spec.safeMode) return spec;
  const { command = spec.command, env } = spec.safeMode;
  return { ...spec, command, env: { ...spec.env, ...env, BLUEFLAME_SAFE_MODE: "1" } };
}

/** Made once of each spec: whoever watches begins anew with another one, and a beat file's next beat is then its first. */
const tight = new WeakMap<WorkloadSpec, WorkloadSpec>();
const eager = new WeakMap<WorkloadSpec, WorkloadSpec>();

/**
 * As it is asked while a recovery is verified and on probation; the very same spec where nothing is asked more rarely than that.
 * Of the same spec it is the same each time.
 */
export function tightened(spec: WorkloadSpec): WorkloadSpec {
  return askedEvery(spec, probationEveryMs, tight);
}

/** As it is asked while it starts: a probe that asks every ten seconds would find its port open when the grace is over. Same as {@link tightened}. */
export function starting(spec: WorkloadSpec): WorkloadSpec {
  return askedEvery(spec, startEveryMs, eager);
}

function askedEvery(spec: WorkloadSpec, mostMs: number, known: WeakMap<WorkloadSpec, WorkloadSpec>): WorkloadSpec {
  if (spec.probes.every(({ everyMs }) => everyMs <= mostMs)) return spec;
  const made = known.get(spec) ?? {
    ...spec,
    probes: spec.probes.map((probe) => ({ ...probe, everyMs: Math.min(probe.everyMs, mostMs) })),
  };
  known.set(spec, made);
  return made;
}
