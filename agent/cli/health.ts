import { formatFlag, type OutputOptions, printOne, printRows } from "@blueflame/shared/cli/print.ts";
import type { Column } from "@blueflame/shared/cli/table.ts";
import { clean, formatDuration, type Tone } from "@blueflame/shared/cli/text.ts";
import {
  type GetHealthResponse,
  GetHealthResponseSchema,
  type WorkloadHealthReport,
} from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { toJson } from "@bufbuild/protobuf";
import { type Duration, durationMs, timestampMs } from "@bufbuild/protobuf/wkt";
import type { Command } from "commander";
import { ask } from "./ask.driver.ts";

interface HealthOptions extends OutputOptions {
  readonly dataDir: string;
}

/** Adds the command `health`: meta-health, service objectives, trust, and how well recoveries went. */
export function addHealth(program: Command): void {
  formatFlag(
    program.command("health").description("meta-health, service objectives, trust, and how well recoveries went"),
  ).action((_options, command: Command) => health(command.optsWithGlobals<HealthOptions>()));
}

async function health(options: HealthOptions): Promise<void> {
  const seen = await ask(options.dataDir, (desk) => desk.getHealth({}));
  const json = (row: GetHealthResponse) => toJson(GetHealthResponseSchema, row);
  if ((options.output ?? "table") !== "table") return printOne(seen, [], { ...options, json });
  printOne(seen, nodeFacts, { ...options, json }, [""]);
  printRows(seen.workloads, workloadColumns(Date.now()), { ...options, json: (row) => row });
  for (const line of seen.suggestions) process.stdout.write(`\nsuggestion: ${clean(line)}\n`);
}

const sensors = ["M1 process", "M2 heartbeat", "M3 data", "M4 control plane", "M5 coherence"] as const;

const nodeFacts: readonly Column<GetHealthResponse>[] = [
  {
    title: "META-HEALTH",
    value: ({ meta }) => (meta ? `${meta.status} ${meta.rmMeta.toFixed(2)}` : "not computed yet"),
    tone: ({ meta }) => statusTones[meta?.status ?? ""],
  },
  {
    title: "SENSORS",
    value: ({ meta }) => {
      if (!meta) return "-";
      const values = [meta.m1Proc, meta.m2Heartbeat, meta.m3DataFreshness, meta.m4ControlPlane, meta.m5Coherence];
      return sensors.map((name, at) => `${name} ${(values[at] ?? 0).toFixed(1)}`).join(" · ");
    },
  },
  { title: "WHY", value: ({ meta }) => meta?.because.join("; ") || "-" },
  { title: "TRUST", value: ({ agentTrust }) => `${agentTrust.toFixed(2)} in this agent` },
  {
    title: "RECOVERIES",
    value: ({ metrics }) =>
      metrics && metrics.incidents > 0n
        ? `${metrics.incidents} incidents, ${percent(metrics.successRate)} healed, ${percent(metrics.unattendedRate)} with no person, ${percent(metrics.escalationRate)} needed more than one rung`
        : "none yet",
  },
  {
    title: "TIMES",
    value: ({ metrics }) =>
      metrics && metrics.incidents > 0n
        ? `to detect ${mean(metrics.mttd)} · to recover ${mean(metrics.mttr)} (decide ${mean(metrics.toDecide)}, act ${mean(metrics.toAct)}, verify ${mean(metrics.toVerify)})`
        : "-",
  },
];

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
          .map(({ name, actual, target, kept }) => `${name} ${actual}${kept ? "" : ` BROKEN, owed ${target}`}`)
          .join(" · ") || "nothing measured yet",
      tone: ({ objectives }) => (objectives.every(({ kept }) => kept) ? undefined : "warn"),
    },
  ];
}

function percent(share: number): string {
  return `${Math.round(100 * share)}%`;
}

function mean(duration: Duration | undefined): string {
  return formatDuration(duration ? durationMs(duration) : undefined);
}
