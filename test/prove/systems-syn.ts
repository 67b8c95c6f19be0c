/**
 * SynergyMesh's five scenarios and six rungs on real processes, by the figures of `examples/synergymesh.yaml`: an installed agent
 * with its watchdog, a launcher and what it launches, a real redis, and the emergency bootstrap.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { signalIfThere } from "../../deploy/running.ts";
import type { InstalledRig } from "./systems-installed.ts";
import { at, feel, recoveryMs } from "./systems-rig.ts";
import { Score } from "./systems-score.ts";
import { records } from "./systems-syn-records.ts";
import { rungs } from "./systems-syn-rungs.ts";
import { SynergyWard } from "./systems-syn-ward.ts";
import type { Trial } from "./trial.ts";

/** SYN-6, scenario 1. */
const foundMs = 30_000;
const backMs = 60_000;
/** GRC-1: the layer outside. */
const revivedMs = 30_000;
/** SYN-3: the budget of the last rung. */
const bootstrapMs = 7_200_000;
/** SYN-6, scenario 5 has no figure of its own: nobody waits longer at a terminal. */
const operatorMs = 60_000;
/** A probation (1 s) and a look (1 s) later its config is known to be good; on a busy machine a look comes late. */
const provedMs = 5000;
/** SYN-14, of a hundred. */
const attendedMax = 5;

function trial(short: boolean): Trial {
  return {
    name: "syn",
    about: "SynergyMesh: the five scenarios as written, each of the six rungs once, metrics, logs and audit",
    async run({ rounds, say }) {
      const score = new Score(say);
      for (let round = 0; round < rounds; round++) {
        const ward = new SynergyWard(short, say);
        try {
          await node(ward, score);
        } finally {
          ward.remove();
        }
      }
      return score.rows();
    },
  };
}

export const syn = trial(false);
/** With fewer starts before the next rung. */
export const synQuick = trial(true);

async function node(ward: SynergyWard, score: Score): Promise<void> {
  const rig = await ward.rig();
  try {
    await rig.start();
    await Promise.all(ward.names().map((name) => rig.calm(name, 120_000)));
    await Promise.all([
      score
        .run("SYN-6 1 launcher crash", () => launcherCrash(rig, ward, score))
        .then(() => score.run("SYN-6 2 bad config", () => badConfig(rig, ward, score))),
      ...rungs(rig, ward, score),
    ]);
    await score.run("SYN-6 3 Phoenix dies", () => phoenixDies(rig, ward, score));
    await score.run("SYN-6 4 everything fails", () => everythingFails(rig, ward, score));
    await score.run("SYN-6 5 watchdog and Phoenix are down", () => bothDown(rig, ward, score));
    await score.run("SYN-14 failures", () => unattended(rig, score));
    await records(rig, ward, score);
  } finally {
    await rig.close();
  }
}

async function launcherCrash(rig: InstalledRig, { launcher }: SynergyWard, score: Score): Promise<void> {
  const row = "SYN-6 1 launcher crash";
  const sinceMs = Date.now();
  signalIfThere(rig.seen(launcher.name)?.pid ?? 0, "SIGKILL");
  const incident = await rig.recovered(launcher.name, sinceMs);
  score.took(row, "found", foundMs, at(incident.detectedAt) - sinceMs);
  score.took(row, "back", backMs, at(incident.recoveredAt) - sinceMs);
  score.holds(row, "no person is needed", !incident.needsPerson);
  await rig.closed(incident.id);
}

async function badConfig(rig: InstalledRig, { launcher }: SynergyWard, score: Score): Promise<void> {
  const row = "SYN-6 2 bad config";
  const file = launcher.file("launcher.conf");
  const before = readFileSync(file, "utf8");
  await pause(provedMs);
  writeFileSync(file, '{"latencyMs": ');
  const sinceMs = Date.now();
  signalIfThere(rig.seen(launcher.name)?.pid ?? 0, "SIGKILL");
  const incident = await rig.recovered(launcher.name, sinceMs);
  score.took(row, "started again with the config before", 300_000, at(incident.recoveredAt) - sinceMs);
  score.holds(row, "the file is as it was", readFileSync(file, "utf8") === before);
  const tried = incident.attempts.map(({ rung, ok }) => [rung, ok]);
  score.holds(
    row,
    "a quick restart failed, the rollback helped",
    tried.length === 2 && tried[0]?.[1] === false && tried[1]?.[1] === true,
    tried,
  );
  // Its file is written beside the recovery, which does not wait for the disk.
  await rig.wait("an alert was sent", () =>
    rig.alerts().some(({ kind, incidentId }) => kind === "rolled_back" && incidentId === incident.id),
  );
}

/** The watchdog revives it, and nobody else notices. */
async function phoenixDies(rig: InstalledRig, ward: SynergyWard, score: Score): Promise<void> {
  const row = "SYN-6 3 Phoenix dies";
  const before = ward.pids(rig);
  const [pid = 0] = rig.guards().agent;
  const beganMs = performance.now();
  signalIfThere(pid, "SIGKILL");
  await rig.until("another agent answers", async () => {
    const now = (await rig.node().catch(() => undefined))?.pid;
    return now !== undefined && now !== pid;
  });
  score.took(row, "revived", revivedMs, performance.now() - beganMs);
  const restarts = (await rig.status()).map(({ name, restarts: count }) => [name, Number(count)]);
  score.holds(row, "the launcher and all others have the processes that they had", before === ward.pids(rig), restarts);
  score.holds(row, "there is one agent", rig.guards().agent.length === 1, rig.guards().agent);
}

/** What it cannot do without is broken: no rung mends that but the last one, which reinstalls it. */
async function everythingFails(rig: InstalledRig, ward: SynergyWard, score: Score): Promise<void> {
  const row = "SYN-6 4 everything fails";
  const { engine, settings } = ward;
  writeFileSync(settings, "{ cut off");
  const sinceMs = await feel(engine, "crash");
  const incident = await rig.recovered(engine.name, sinceMs, 240_000);
  score.took(row, "back by the emergency bootstrap", bootstrapMs, at(incident.recoveredAt) - sinceMs);
  const tried = incident.attempts.map(({ rung, ok }) => [rung, ok] as const);
  const failed = new Set(tried.filter(([, ok]) => ok === false).map(([rung]) => rung));
  score.holds(
    row,
    "each of the five other rungs was tried in vain",
    [1, 2, 3, 4, 5].every((rung) => failed.has(rung)),
    tried,
  );
  score.holds(row, "the sixth helped", tried.at(-1)?.[0] === 6 && tried.at(-1)?.[1] === true, tried);
  // The emergency has no pager of its own: it calls the one of the agent's config.
  const pages = join(ward.dir, "pages");
  await rig.wait("a person was paged", () => existsSync(pages) && readFileSync(pages, "utf8").includes('"emergency"'));
  score.holds(
    row,
    "all services are back",
    ward.names().every((name) => rig.seen(name)?.pid),
    ward.names(),
  );
}

/** The operator's one command brings everything back. */
async function bothDown(rig: InstalledRig, ward: SynergyWard, score: Score): Promise<void> {
  const row = "SYN-6 5 watchdog and Phoenix are down";
  const { agent, watchdog } = rig.guards();
  const before = rig.seen(ward.worker.name)?.pid ?? 0;
  const killed = [...agent, ...watchdog, rig.seen(ward.launcher.name)?.pid ?? 0];
  // Held first: between two kills the one that is left would start the other again.
  for (const signal of ["SIGSTOP", "SIGKILL"] as const) for (const pid of killed) signalIfThere(pid, signal);
  await pause(1000);
  score.holds(row, "none of both is there", Object.values(rig.guards()).flat().length === 0, rig.guards());
  const beganMs = performance.now();
  const { code, stdout } = await rig.emergency();
  score.took(row, "the command is through", operatorMs, performance.now() - beganMs);
  score.holds(row, "it says that all is well", code === 0, stdout.slice(-1500));
  await Promise.all(ward.names().map((name) => rig.calm(name)));
  const { agent: agents, watchdog: watchdogs } = rig.guards();
  score.holds(row, "there is one of each", agents.length === 1 && watchdogs.length === 1, rig.guards());
  score.holds(row, "who lived has the process that it had", rig.seen(ward.worker.name)?.pid === before);
}

async function unattended(rig: InstalledRig, score: Score): Promise<void> {
  const { metrics } = await rig.health();
  const attended = 100 * (1 - (metrics?.unattendedRate ?? 0));
  const others = rig
    .allIncidents()
    .filter(({ needsPerson, personCalled, recoveredAt }) => needsPerson || personCalled || !recoveredAt)
    .map(({ workload, symptom, timeline }) => [workload, symptom, ...timeline.map(({ because }) => because)]);
  score.count("SYN-14 failures", "of a hundred that needed a person", attendedMax, Math.round(attended), others);
  const mean = rig
    .allIncidents()
    .map(recoveryMs)
    .filter((ms) => ms >= 0);
  score.took("SYN-14 failures", "mean time to recover", backMs, mean.reduce((sum, ms) => sum + ms, 0) / mean.length);
}
