import type { MetaSpec } from "../config/sections.ts";
import type { Freshness } from "./freshness.ts";

/** A workload as the meta-health looks at it. */
export interface WorkloadSeen {
  /** Its process lives. */
  readonly alive: boolean;
  /** A person stopped it, or its work is done: that counts as present. */
  readonly stopped: boolean;
  /** Age of its last beat, or of its start when none came; absent: none is expected now. */
  readonly beatAgeMs?: number;
  /** How long its spec lets it be silent. */
  readonly beatTimeoutMs?: number;
}

/** What one look at a port or a rule has come to: 1 well, 0 broken; `because` is a clause, empty when well. */
export interface PartSeen {
  readonly value: number;
  readonly because: string;
}

/** What was seen of all parts; what is not there was not looked at yet, and counts as well. */
export interface MetaSeen {
  readonly workloads: Readonly<Record<string, WorkloadSeen>>;
  /** By name. */
  readonly sources: Readonly<Record<string, Freshness>>;
  /** By HOST:PORT. */
  readonly ports: Readonly<Record<string, PartSeen>>;
  /** By name. */
  readonly rules: Readonly<Record<string, PartSeen>>;
}

/** DOL-2. */
export type MetaStatus = "GREEN" | "DEGRADED" | "CRITICAL" | "DEAD";

/** The health of the node; all values from 0 to 1. JSON-able. */
export interface MetaHealth {
  readonly rmMeta: number;
  readonly status: MetaStatus;
  readonly m1Proc: number;
  readonly m2Heartbeat: number;
  /** Of the sources that are not external: those count as 1 in the product. */
  readonly m3DataFreshness: number;
  readonly m4ControlPlane: number;
  readonly m5Coherence: number;
  /** `workload/NAME`, `source/NAME`, `port/HOST:PORT`, `rule/NAME`. */
  readonly subsystemHealth: Readonly<Record<string, number>>;
  /** What is wrong, one sentence each, worst first; at most {@link becauseMax}. */
  readonly because: readonly string[];
  /** Workloads that M1 misses, in the order of the config. */
  readonly missing: readonly string[];
  readonly wallMs: number;
}

/** More sentences than this are counted in the last one. */
export const becauseMax = 20;

interface Part extends PartSeen {
  readonly name: string;
}

/** DOL-1 and DOL-2 with rule 7 of design.md, section 7: the worst part is the sensor, external sources never act. */
export function metaHealth(spec: MetaSpec, seen: MetaSeen, wallMs: number): MetaHealth {
  const processes = processParts(spec, seen);
  const beats = beatParts(spec, seen);
  const sources = spec.sources.map((one) => ({ ...sourcePart(one, seen.sources[one.name]), external: one.external }));
  const ports = spec.ports.map((one) => namedPart("port", portName(one), seen.ports[portName(one)]));
  const rules = spec.coherence.map((one) => namedPart("rule", one.name, seen.rules[one.name]));
  const own = sources.filter((one) => !one.external);
  const [m1Proc, m2Heartbeat, m3DataFreshness, m4ControlPlane, m5Coherence] = [
    worst(processes),
    worst(beats),
    worst(own),
    worst(ports),
    worst(rules),
  ];
  const rmMeta = m1Proc * m2Heartbeat * m3DataFreshness * m4ControlPlane * m5Coherence;
  const all: Part[] = [...processes, ...beats, ...sources, ...ports, ...rules];
  const waits = sources.some((one) => one.external && one.value < 1);
  const status = statusOf(rmMeta);
  return {
    rmMeta,
    status: waits && status === "GREEN" ? "DEGRADED" : status,
    m1Proc,
    m2Heartbeat,
    m3DataFreshness,
    m4ControlPlane,
    m5Coherence,
    subsystemHealth: worstByName(all),
    because: sentences(all),
    missing: processes.filter((one) => one.value < 1).map((one) => one.name.slice("workload/".length)),
    wallMs,
  };
}

/** DOL-2: above 0.8, above 0.5, above 0.2, and the rest. */
export function statusOf(rmMeta: number): MetaStatus {
  if (rmMeta > 0.8) return "GREEN";
  if (rmMeta > 0.5) return "DEGRADED";
  return rmMeta > 0.2 ? "CRITICAL" : "DEAD";
}

/** How a port is named in what was seen. */
export function portName({ host, port }: MetaSpec["ports"][number]): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The meta-health as `meta_health.json` holds it, with the field names of DOL-2. */
export function metaHealthJson(meta: MetaHealth): string {
  const { rmMeta, status, subsystemHealth, because, wallMs } = meta;
  const document = {
    rm_meta: rmMeta,
    status,
    m1_proc: meta.m1Proc,
    m2_heartbeat: meta.m2Heartbeat,
    m3_data_freshness: meta.m3DataFreshness,
    m4_control_plane: meta.m4ControlPlane,
    m5_coherence: meta.m5Coherence,
    subsystem_health: subsystemHealth,
    because,
    timestamp: new Date(wallMs).toISOString(),
  };
  return `${JSON.stringify(document, undefined, 2)}\n`;
}

/** M1. A workload that is named as critical and unknown is missing: the config refuses such a name, but the hub may add one. */
function processParts(spec: MetaSpec, seen: MetaSeen): Part[] {
  const names = spec.critical.length > 0 ? spec.critical : Object.keys(seen.workloads);
  return names.map((name) => {
    const one = seen.workloads[name];
    const present = one !== undefined && (one.alive || one.stopped);
    return { name: `workload/${name}`, value: present ? 1 : 0, because: present ? "" : "its process is missing" };
  });
}

/** M2. A workload that may be silent for longer than the node's limits by its own spec is measured by that. */
function beatParts(spec: MetaSpec, seen: MetaSeen): Part[] {
  return Object.entries(seen.workloads).flatMap(([name, one]) => {
    if (!one.alive || one.beatAgeMs === undefined) return [];
    const ownMs = one.beatTimeoutMs ?? 0;
    const value = byAge(one.beatAgeMs, Math.max(spec.beatStaleMs, ownMs), Math.max(spec.beatDeadMs, ownMs));
    return [{ name: `workload/${name}`, value, because: value < 1 ? `no beat for ${seconds(one.beatAgeMs)}` : "" }];
  });
}

/** M3. */
function sourcePart({ name, staleMs, deadMs, external }: MetaSpec["sources"][number], seen?: Freshness): Part {
  const value = seen ? byAge(seen.ageMs, staleMs, deadMs) : 1;
  const why = seen?.because ? `: ${seen.because}` : "";
  const waits = external ? "; it is external, so it is waited for" : "";
  return {
    name: `source/${name}`,
    value,
    because: value < 1 && seen ? `its data is ${seconds(seen.ageMs)} old${why}${waits}` : "",
  };
}

function namedPart(kind: string, name: string, seen: PartSeen | undefined): Part {
  return { name: `${kind}/${name}`, value: seen?.value ?? 1, because: seen?.because ?? "" };
}

function byAge(ageMs: number, staleMs: number, deadMs: number): number {
  if (ageMs > deadMs) return 0;
  return ageMs > staleMs ? 0.5 : 1;
}

function worst(parts: readonly Part[]): number {
  return parts.reduce((least, { value }) => Math.min(least, value), 1);
}

function worstByName(parts: readonly Part[]): Record<string, number> {
  const byName: Record<string, number> = {};
  for (const { name, value } of parts) byName[name] = Math.min(value, byName[name] ?? 1);
  return byName;
}

function sentences(parts: readonly Part[]): string[] {
  const wrong = parts.filter((one) => one.value < 1).sort((a, b) => a.value - b.value);
  const lines = wrong.map(({ name, because }) => `${name}: ${because}`);
  if (lines.length <= becauseMax) return lines;
  return [...lines.slice(0, becauseMax - 1), `and ${lines.length - becauseMax + 1} more`];
}

function seconds(ms: number): string {
  return `${Math.round(ms / 1000)} s`;
}
