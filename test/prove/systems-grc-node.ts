/** The rows of Grace's matrix that are about the whole node: its disk, a reboot, the kill switch. */
import { mkdirSync, readdirSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { WorkloadPhase } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import { canMount, smallDisk } from "../contract/small-disk.ts";
import { recoveryMs, SystemRig, type Ward } from "./systems-rig.ts";
import type { Score } from "./systems-score.ts";

const mib = 2 ** 20;
const diskBytes = 320 * mib;
/** So much of it is disposable and old, and a tenth more is there to stay. */
const wasteFiles = 26;
const wasteBytes = 10 * mib;
const keptBytes = 36 * mib;
const diskMs = 120_000;
/** GRC-10. */
const rebootMs = 60_000;
/** While the switch is on, nothing may happen for so long. */
const quietMs = 3000;

/** A disk of its own runs full with what is disposable. */
export async function fullDisk(ward: Ward, score: Score, say: (line: string) => void): Promise<void> {
  if (!canMount()) return say("GRC-4 disk: there is no right to mount a disk of its own; the row is not tried");
  const disk = smallDisk(diskBytes);
  const cache = join(disk.dir, "cache");
  mkdirSync(cache);
  const idle = { name: "idle", command: ["/bin/sh", "-c", "while :; do sleep 1; done"], cwd: ward.dir };
  const config = { sensors: { every: "1s" }, disposable: [cache], workloads: [idle] };
  const rig = new SystemRig(config, { dataDir: join(disk.dir, "d") });
  try {
    await rig.start();
    await rig.calm("idle");
    writeFileSync(join(disk.dir, "data"), Buffer.alloc(keptBytes));
    const old = new Date(Date.now() - 3_600_000);
    for (let n = 0; n < wasteFiles; n++) {
      writeFileSync(join(cache, String(n)), Buffer.alloc(wasteBytes));
      utimesSync(join(cache, String(n)), old, old);
    }
    const incident = await rig.recovered("", Date.now() - 10_000, diskMs);
    score.took("GRC-4 disk", "from the trigger to the verified recovery", diskMs, recoveryMs(incident));
    score.holds("GRC-4 disk", "no person is needed", !incident.needsPerson);
    const asked = incident.trigger === "disk-high" && incident.playbook === "resource-cleanup";
    score.holds("GRC-4 disk", "trigger and playbook are told", asked, [incident.trigger, incident.playbook]);
    const [left, all] = [readdirSync(cache).length, readdirSync(disk.dir)];
    score.holds("GRC-4 disk", "no more was removed than was needed", left > 0 && left < wasteFiles, left);
    score.holds("GRC-4 disk", "and nothing that is not disposable", all.includes("data"), all);
  } finally {
    await rig.close();
    disk.remove();
  }
}

/** All dies at once, and the kernel has another boot id: everything is back, and by itself. */
export async function rebooted(rig: SystemRig, score: Score, say: (line: string) => void): Promise<void> {
  if (!canMount()) return say("GRC-4 reboot: no boot id can be changed here; `npm run prove -- init` reboots for real");
  await score.run("GRC-4 reboot", async () => {
    const wanted = (await rig.status()).filter(({ phase }) => phase !== WorkloadPhase.STOPPED).map(({ name }) => name);
    const beganMs = performance.now();
    await rig.reboot();
    await allRun(rig, wanted);
    score.took("GRC-4 reboot", "until all is back", rebootMs, performance.now() - beganMs);
    const stopped = await rig.workload("hopeless");
    score.holds(
      "GRC-4 reboot",
      "what a person stopped stays down",
      stopped.phase === WorkloadPhase.STOPPED,
      stopped.phase,
    );
  });
}

/** The kill switch: nothing is started or healed, on purpose, also after the agent's death and another boot. */
export async function switchedOff(rig: SystemRig, score: Score, say: (line: string) => void): Promise<void> {
  const row = "GRC-4 kill switch";
  await score.run(row, async () => {
    const wanted = (await rig.status()).filter(({ phase }) => phase !== WorkloadPhase.STOPPED).map(({ name }) => name);
    await rig.killSwitch(true);
    await rig.until("nothing runs", async () => rig.leads().length === 0);
    await pause(quietMs);
    score.count(row, "processes that run all the same", 0, rig.leads().length);
    await rig.kill();
    await rig.start();
    if (canMount()) await rig.reboot();
    else say("GRC-4 kill switch: without a reboot, for no boot id can be changed here");
    await pause(quietMs);
    score.count(row, "processes after the agent's death and a reboot", 0, rig.leads().length);
    score.holds(row, "it is told", (await rig.node()).killSwitch);
    await rig.killSwitch(false);
    await allRun(rig, wanted);
  });
}

async function allRun(rig: SystemRig, wanted: readonly string[]): Promise<void> {
  await rig.until(
    "all run again",
    async () => {
      const running = (await rig.status())
        .filter(({ phase }) => phase === WorkloadPhase.RUNNING)
        .map(({ name }) => name);
      return wanted.every((name) => running.includes(name));
    },
    3 * rebootMs,
  );
}
