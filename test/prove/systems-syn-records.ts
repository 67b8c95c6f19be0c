/** What SynergyMesh's node has written down of it all: metrics, logs of each part, the audit, what was refused. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { AuditOutcome, type AuditRecord } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { durationFromMs, durationMs } from "@bufbuild/protobuf/wkt";
import type { InstalledRig } from "./systems-installed.ts";
import { at } from "./systems-rig.ts";
import type { Score } from "./systems-score.ts";
import type { SynergyWard } from "./systems-syn-ward.ts";

const nodeFigures = ["cpu_busy_ratio", "memory_used_ratio", "disk_used_ratio", "network_received_bytes_per_second"];
const processFigures = ["uptime_ms", "process_memory_bytes", "process_tasks"];
const none = durationFromMs(0);
const parts = ["phoenix", "watchdog", "emergency", "incidents", "launcher"];

/** Looks at all of it; never rejects. */
export async function records(rig: InstalledRig, ward: SynergyWard, score: Score): Promise<void> {
  await score.run("SYN-9 authority", async () => {
    const { ok, steps } = await rig.play("greedy", ward.worker.name);
    const outcomes = steps.map(({ outcome }) => outcome);
    score.holds(
      "SYN-9 authority",
      "the forbidden step is refused, the other one done",
      !ok && outcomes.join() === "done,refused",
      steps,
    );
    const refused = (await rig.audit()).filter(({ outcome }) => outcome === AuditOutcome.REFUSED);
    const told = refused.some(
      ({ action, because, actor }) =>
        action === "remedy.exec" && because.includes("greedy") && actor === "person:prove",
    );
    score.holds(
      "SYN-9 authority",
      "and audited as refused, by whom it was asked",
      told,
      refused.map(({ because }) => because),
    );
  });
  await score.run("SYN-7 metrics", () => metrics(rig, ward, score));
  await score.run("SYN-8 logs", async () => logs(rig, score));
  await score.run("SYN-10 audit", async () => audited(await rig.audit(), score));
}

async function metrics(rig: InstalledRig, ward: SynergyWard, score: Score): Promise<void> {
  const row = "SYN-7 metrics";
  const { figures, workloads, metrics: recovery } = await rig.health();
  score.holds(
    row,
    "of the machine",
    nodeFigures.every((name) => figures[name] !== undefined),
    Object.keys(figures),
  );
  const worker = workloads.find(({ name }) => name === ward.worker.name)?.figures ?? {};
  score.holds(
    row,
    "of each process",
    processFigures.every((name) => worker[name] !== undefined),
    worker,
  );
  const launcher = (await rig.status()).find(({ name }) => name === ward.launcher.name);
  const known =
    launcher !== undefined && launcher.pid > 0 && launcher.restarts > 0n && launcher.startedAt !== undefined;
  score.holds(row, "running, PID, uptime and restarts of each process", known);
  const { incidents = 0n, successRate = 0, mttd, mttr, escalationRate = 0 } = recovery ?? {};
  const all = incidents >= 5n && successRate > 0 && mttd !== undefined && mttr !== undefined && escalationRate > 0;
  score.holds(row, "of the recovery", all, { incidents: Number(incidents), successRate, escalationRate });
}

/** Each part has a log of its own, and each line of it is JSON with its time. */
function logs(rig: InstalledRig, score: Score): void {
  for (const part of parts) {
    const path = join(rig.dataDir, "logs", `${part}.log`);
    const lines = existsSync(path) ? readFileSync(path, "utf8").trim().split("\n") : [];
    const bad = lines.filter((line) => !hasTime(line));
    score.holds(
      "SYN-8 logs",
      `${part} has one, of JSON lines`,
      lines.length > 0 && bad.length === 0,
      bad[0] ?? "no lines",
    );
  }
}

function hasTime(line: string): boolean {
  try {
    const { time } = JSON.parse(line) as { time?: unknown };
    return Number.isFinite(new Date(String(time)).getTime());
  } catch {
    return false;
  }
}

function audited(all: readonly AuditRecord[], score: Score): void {
  const row = "SYN-10 audit";
  const bare = all.filter(
    ({ at: when, action, actor, target, because, outcome }) =>
      at(when) <= 0 || !action || !actor || !target || !because || outcome === AuditOutcome.UNSPECIFIED,
  );
  score.holds(row, "time, action, reason and outcome of each", all.length > 50 && bare.length === 0, bare[0]?.action);
  const steps = all.filter(
    ({ action, outcome }) =>
      action.startsWith("remedy.") && outcome !== AuditOutcome.REFUSED && action.split(".").length === 2,
  );
  const done = steps.filter(({ took }) => took !== undefined);
  const stateless = done.filter(({ beforeJson, afterJson }) => beforeJson === "" || afterJson === "");
  score.holds(
    row,
    "duration and the state before and after of what was done",
    done.length > 0 && stateless.length === 0,
    stateless[0]?.action,
  );
  const rungs = longRungs(all);
  const wrong = rungs.filter(({ saidMs, tookMs }) => Math.abs(saidMs - tookMs) > Math.max(100, tookMs / 10));
  score.holds(
    row,
    "how long each rung took, from its beginning to its end",
    rungs.length > 0 && wrong.length === 0,
    wrong,
  );
}

/** Rungs that prepare a start: what their last record says that they took, and how far it is from their first. */
function longRungs(all: readonly AuditRecord[]): { action: string; saidMs: number; tookMs: number }[] {
  const rungs = new Set(["config_rollback", "dependency_restart", "backup_restore", "full_bootstrap"]);
  const decided = all.filter(({ action, decisionId }) => decisionId !== "" && rungs.has(action.replace("remedy.", "")));
  const byIncident = Map.groupBy(decided, ({ action, incidentId }) => `${action} ${incidentId}`);
  return [...byIncident.values()].flatMap((records) => {
    const [first, last] = records.sort((a, b) => at(a.at) - at(b.at));
    if (!first || !last || records.length !== 2) return [];
    return [{ action: first.action, saidMs: durationMs(last.took ?? none), tookMs: at(last.at) - at(first.at) }];
  });
}
