import { type OutputOptions, printOne, printRows } from "@blueflame/shared/cli/print.ts";
import { type Column, fold } from "@blueflame/shared/cli/table.ts";
import { clean, formatDuration, type Tone } from "@blueflame/shared/cli/text.ts";
import {
  type GetHealthResponse,
  GetHealthResponseSchema,
  type MetaHealth,
  type Objective,
  type RecoveryMetrics,
  type WorkloadHealthReport,
} from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { toJson } from "@bufbuild/protobuf";
import { type Duration, durationMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { ask } from "./ask.driver.ts";
import { limitLines } from "./rows.ts";

/** The flags of `health`. */
export interface HealthOptions extends OutputOptions {
  readonly dataDir: string;
}

/** Prints meta-health, service objectives, trust, and how well recoveries went. */
export async function health(options: HealthOptions): Promise<void> {
  const [seen, status] = await ask(options.dataDir, (desk) => Promise.all([desk.getHealth({}), desk.getStatus({})]));
  const json = (row: GetHealthResponse) => toJson(GetHealthResponseSchema, row);
  if ((options.output ?? "table") !== "table") return printOne(seen, [], { ...options, json });
  printOne(seen, nodeFacts(seen), { ...options, json }, [""]);
  printRows(seen.workloads, workloadColumns(Date.now()), { ...options, json: (row) => row });
  const { isTTY, columns } = process.stdout;
  const suggestions = seen.suggestions.map((suggestion) => `suggestion: ${suggestion}`);
  for (const line of [...limitLines(status.workloads), ...suggestions].map(clean))
    process.stdout.write(`\n${(isTTY ? fold(line, columns) : [line]).join("\n")}\n`);
}

const sensors = ["M1 process", "M2 heartbeat", "M3 data", "M4 control plane", "M5 coherence"] as const;

/** What is not known of the node yet is left out. */
function nodeFacts({ meta, metrics }: GetHealthResponse): Column<GetHealthResponse>[] {
  const facts: Column<GetHealthResponse>[] = [
    {
      title: "META-HEALTH",
      value: () => (meta ? `${meta.status} ${meta.rmMeta.toFixed(2)}` : "not computed yet"),
      tone: () => statusTones[meta?.status ?? ""],
    },
  ];
  if (meta) facts.push({ title: "SENSORS", value: () => sensorWords(meta) });
  if (meta && meta.because.length > 0) facts.push({ title: "WHY", value: () => meta.because.join("; ") });
  facts.push({ title: "TRUST", value: ({ agentTrust }) => `${agentTrust.toFixed(2)} in this agent` });
  if (!metrics || metrics.incidents === 0n) return [...facts, { title: "RECOVERIES", value: () => "none yet" }];
  return [
    ...facts,
    { title: "RECOVERIES", value: () => recoveryWords(metrics) },
    { title: "TIMES", value: () => timeWords(metrics) },
  ];
}

function sensorWords(meta: MetaHealth): string {
  const values = [meta.m1Proc, meta.m2Heartbeat, meta.m3DataFreshness, meta.m4ControlPlane, meta.m5Coherence];
  return sensors.map((name, at) => `${name} ${(values[at] ?? 0).toFixed(1)}`).join(" · ");
}

function recoveryWords({ incidents, over, successRate, unattendedRate, escalationRate }: RecoveryMetrics): string {
  const things = incidents === 1n ? "1 incident" : `${incidents} incidents`;
  const newest = over < incidents ? `; of the newest ${over}` : "";
  return `${things}${newest}, ${percent(escalationRate)} needed more than one rung; of those that are over ${percent(successRate)} healed, ${percent(unattendedRate)} with no person`;
}

function timeWords({ mttd, mttr, toDecide, toAct, toVerify }: RecoveryMetrics): string {
  return `to detect ${mean(mttd)} · to recover ${mean(mttr)} (decide ${mean(toDecide)}, act ${mean(toAct)}, verify ${mean(toVerify)})`;
}

const statusTones: Readonly<Record<string, Tone>> = {
  GREEN: "good",
  DEGRADED: "warn",
  CRITICAL: "worst",
  DEAD: "worst",
};

function workloadColumns(nowMs: number): Column<WorkloadHealthReport>[] {
  return [
    { title: "WORKLOAD", value: ({ name }) => name },
    { title: "SCORE", value: ({ healthScore }) => (healthScore < 0 ? "-" : healthScore.toFixed(0)), right: true },
    { title: "TRUST", value: ({ trust }) => trust.toFixed(2), right: true },
    {
      title: "BACKUP",
      value: ({ backupAt }) => (backupAt ? `${formatDuration(nowMs - timestampMs(backupAt))} ago` : "-"),
      right: true,
    },
    {
      title: "OBJECTIVES",
      value: ({ objectives }) =>
        objectives
          .filter(({ actual }) => actual !== "")
          .map(objectiveWords)
          .join(" · ") || "nothing measured yet",
      tone: ({ objectives }) => (objectives.every(({ kept }) => kept) ? undefined : "warn"),
    },
  ];
}

/** Kept means that the budget of its whole window is not spent yet: how much is left says how near it is. */
function objectiveWords({ name, actual, target, kept, budgetLeft }: Objective): string {
  const left = budgetLeft < 0.995 ? ` (budget ${percent(budgetLeft)} left)` : "";
  return `${name} ${actual}${kept ? left : ` BROKEN, owed ${target}`}`;
}

function percent(share: number): string {
  return `${Math.round(100 * share)}%`;
}

function mean(duration: Duration | undefined): string {
  return formatDuration(duration ? durationMs(duration) : undefined);
}
