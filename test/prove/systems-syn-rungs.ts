import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { type Incident, Rung } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { findTool } from "../tools.ts";
import type { InstalledRig } from "./systems-installed.ts";
import { at, feel } from "./systems-rig.ts";
import type { Score } from "./systems-score.ts";
import type { SynergyWard } from "./systems-syn-ward.ts";

const minute = 60_000;

/** Rungs that no scenario shows by itself, each on a patient of its own, within the budget of SYN-3. They run side by side. */
export function rungs(rig: InstalledRig, ward: SynergyWard, score: Score): Promise<void>[] {
  const { kiosk, ledger, api, engine } = ward;
  const all = [
    score.run("SYN-3 rung 2 safe mode", async () => {
      writeFileSync(kiosk.file("starts"), "78\n");
      const incident = await failed(rig, kiosk.name, await feel(kiosk, "crash"));
      healedBy(score, "SYN-3 rung 2 safe mode", incident, Rung.SAFE_MODE, 2 * minute);
      score.holds("SYN-3 rung 2 safe mode", "it runs with less", rig.seen(kiosk.name)?.safeMode === true);
    }),
    score.run("SYN-3 rung 5 backup restore", async () => {
      await rig.until("it has a backup", async () =>
        (await rig.health()).workloads.some(({ name, backupAt }) => name === ledger.name && backupAt !== undefined),
      );
      const incident = await failed(rig, ledger.name, await feel(ledger, "corrupt"));
      healedBy(score, "SYN-3 rung 5 backup restore", incident, Rung.BACKUP_RESTORE, 30 * minute);
      const [count] = readFileSync(ledger.file("ledger.db"), "utf8").split(" ");
      score.holds("SYN-3 rung 5 backup restore", "its data is that of the backup", Number(count) > 0, count);
    }),
    // The engine's own past: two configs that were healthy, so that it has something to go back to when everything fails.
    score.run("SYN-6 4 everything fails", async () => {
      await rig.until("the first config has proved itself", async () => proved(rig, engine.name));
      writeFileSync(engine.file("engine.conf"), "version 2\n");
      await rig.restart(engine.name);
      await rig.calm(engine.name);
    }),
  ];
  if (api) all.push(score.run("SYN-3 rung 4 dependency restart", () => dependency(rig, ward, api.name, score)));
  return all;
}

/** A config is known to be good some time after its workload is well; what shows it is the next look at its backup. */
async function proved(rig: InstalledRig, workload: string): Promise<boolean> {
  const uptimeMs = (await rig.health()).workloads.find(({ name }) => name === workload)?.figures.uptime_ms ?? 0;
  return uptimeMs > 5000;
}

/** A redis that takes calls and answers none: it looks well, and its dependents die of it. */
async function dependency(rig: InstalledRig, ward: SynergyWard, name: string, score: Score): Promise<void> {
  const row = "SYN-3 rung 4 dependency restart";
  const words = ["-p", String(ward.redisPort), "EVAL", "while true do end", "0"];
  const before = rig.seen("redis")?.pid;
  const sinceMs = Date.now();
  const script = spawn(findTool("redis-cli") ?? "", words, { stdio: "ignore" });
  script.on("error", () => undefined);
  const incident = await failed(rig, name, sinceMs);
  healedBy(score, row, incident, Rung.DEPENDENCY_RESTART, 10 * minute);
  score.holds(row, "redis is another process", rig.seen("redis")?.pid !== before);
}

function failed(rig: InstalledRig, workload: string, sinceMs: number): Promise<Incident> {
  return rig.recovered(workload, sinceMs, 2 * minute);
}

function healedBy(score: Score, row: string, incident: Incident, rung: Rung, budgetMs: number): void {
  score.took(
    row,
    "from the failure to the verified recovery",
    budgetMs,
    at(incident.recoveredAt) - at(incident.faultAt),
  );
  const last = incident.attempts.at(-1);
  score.holds(
    row,
    "this rung has helped",
    last?.rung === rung && last.ok === true,
    incident.attempts.map((one) => one.because),
  );
  score.holds(
    "SYN-4 evidence",
    "a diagnosis led to the rung",
    (incident.diagnosis?.evidence.length ?? 0) > 0,
    incident.diagnosis,
  );
  score.holds("SYN-4 evidence", "a quick restart was tried first", incident.attempts[0]?.rung === Rung.QUICK_RESTART);
}
