/** What is known of the node's health, in the words of the local API. */
import type { Incident } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import {
  type GetHealthResponse,
  GetHealthResponseSchema,
  MetaHealthSchema,
  type MetaHealth as MetaMessage,
  type Objective,
  ObjectiveSchema,
} from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { TrustReport } from "../learning/trust.ts";
import type { MetaHealth } from "../meta/meta-health.ts";
import { recoveryMetrics } from "../records/metrics.ts";
import type { SloReport } from "../slo/report.ts";
import type { Figures, Observation } from "../triggers/observation.ts";

/** What the report is made of. */
export interface HealthGround {
  readonly meta: MetaHealth | undefined;
  readonly observation: Observation | undefined;
  /** The newest, and how many there ever were. */
  readonly incidents: readonly Incident[];
  readonly incidentsOpened: number;
  readonly suggestions: readonly string[];
  readonly agentTrust: number;
  readonly workloads: readonly {
    readonly name: string;
    readonly healthScore: number | undefined;
    readonly slo: SloReport | undefined;
    readonly trust: TrustReport;
    readonly backupWallMs: number | undefined;
  }[];
}

/** The answer to GetHealth. */
export function healthReport(ground: HealthGround): GetHealthResponse {
  const { meta, observation, incidents, incidentsOpened, suggestions, agentTrust, workloads } = ground;
  return create(GetHealthResponseSchema, {
    ...(meta && { meta: metaMessage(meta) }),
    workloads: [...workloads].sort(byName).map(({ name, healthScore, slo, trust, backupWallMs }) => ({
      name,
      healthScore: healthScore ?? -1,
      objectives: slo?.objectives.map(objectiveOf) ?? [],
      trust: trust.trust,
      trustBecause: trust.because,
      figures: known(observation?.workloads[name]),
      ...(backupWallMs !== undefined && { backupAt: timestampFromMs(Math.round(backupWallMs)) }),
    })),
    metrics: recoveryMetrics(incidents, incidentsOpened),
    suggestions: [...suggestions],
    agentTrust,
    figures: known(observation?.node),
  });
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : 1;
}

function metaMessage(meta: MetaHealth): MetaMessage {
  return create(MetaHealthSchema, {
    rmMeta: meta.rmMeta,
    status: meta.status,
    m1Proc: meta.m1Proc,
    m2Heartbeat: meta.m2Heartbeat,
    m3DataFreshness: meta.m3DataFreshness,
    m4ControlPlane: meta.m4ControlPlane,
    m5Coherence: meta.m5Coherence,
    subsystemHealth: { ...meta.subsystemHealth },
    timestamp: timestampFromMs(Math.round(meta.wallMs)),
    because: [...meta.because],
  });
}

function objectiveOf(one: SloReport["objectives"][number]): Objective {
  const isLatency = one.name === "p95_latency" || one.name === "p99_latency";
  // As a config writes them; rounded to the bad side, so that what is broken by little does not read like what is owed.
  const round = one.name === "error_rate" ? Math.ceil : Math.floor;
  const share = (value: number) => round(Number((1e5 * value).toFixed(3))) / 1e3;
  const words = (value: number) => (isLatency ? `${Math.ceil(value)}ms` : `${share(value)}%`);
  return create(ObjectiveSchema, {
    name: one.name.replace("_latency", ""),
    target: words(one.target),
    actual: one.value === undefined ? "" : words(one.value),
    kept: one.met,
    budgetLeft: one.budget.total > 0 ? one.budget.left / one.budget.total : 1,
  });
}

function known(figures: Figures | undefined): Record<string, number> {
  return { ...figures };
}

/** When the newest backup was made, in wall time; undefined when there is none. */
export function backedUp(ageMs: number | undefined, wallMs: number): number | undefined {
  return ageMs === undefined ? undefined : wallMs - ageMs;
}
