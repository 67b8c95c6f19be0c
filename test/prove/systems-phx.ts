/**
 * Phoenix' firewall on real processes, by the figures of `examples/phoenix.yaml`: killed, frozen, silent, with what it leaves behind;
 * and the zombies that a sick one makes, through the whole agent.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { allPids, environOf, procStat } from "@blueflame/agent/supervise/proc.driver.ts";
import { signalIfThere } from "../../deploy/running.ts";
import { at, example, feel, figuresOf, type Patient, SystemRig, Ward } from "./systems-rig.ts";
import { Score } from "./systems-score.ts";
import type { Trial } from "./trial.ts";

/** PHX-3, PHX-7. */
const foundMs = 5000;
const backMs = 10_000;
/** PHX-8: at once, once it is one: two scans, 5 s apart, have to agree; stuck is who was so for the minute that the config says. */
const scansMs = 20_000;
const stuckMs = 60_000;

type Strike = (rig: SystemRig, patient: Patient) => Promise<number>;

const strikes: Readonly<Record<string, Strike>> = {
  killed: (rig, { name }) => signalled(rig, name, "SIGKILL"),
  frozen: (rig, { name }) => signalled(rig, name, "SIGSTOP"),
  silent: (_rig, patient) => feel(patient, "silent"),
  hanging: (_rig, patient) => feel(patient, "hang"),
};

async function signalled(rig: SystemRig, name: string, signal: NodeJS.Signals): Promise<number> {
  signalIfThere(rig.seen(name)?.pid ?? 0, signal);
  return Date.now();
}

function trial(short: boolean): Trial {
  return {
    name: "phx",
    about: "Phoenix: the firewall found in 5 s and back in 10, cleaned up after, and its zombies exorcised",
    async run({ rounds, say }) {
      const score = new Score(say);
      const ward = new Ward();
      try {
        await node(ward, rounds, score, short);
      } finally {
        ward.remove();
      }
      return score.rows();
    },
  };
}

export const phx = trial(false);
/** Of the zombies only who outlives its parent: for the others, `../e2e/protect.test.ts`; a signal's victims are in `heal`. */
export const phxQuick = trial(true);

async function node(ward: Ward, rounds: number, score: Score, short: boolean): Promise<void> {
  const phoenix = example("phoenix");
  const admit = async (name: string) => {
    const { beat, ...figures } = figuresOf(phoenix, "risk-firewall");
    const lock = `${ward.dir}/${name}/firewall.lock`;
    const own = { ...(beat as object), file: `${ward.dir}/${name}/beat` };
    return ward.admit(name, {
      ...figures,
      beat: own,
      clean: { files: [lock] },
      starts: { max: 1000, within: "60s" },
      probation: "1s",
    });
  };
  const struckBy = Object.entries(strikes).filter(([name]) => !short || name === "silent" || name === "hanging");
  const firewalls = await Promise.all(struckBy.map(([name]) => admit(`firewall-${name}`)));
  const haunted = await admit("haunted");
  // It owes no sign of life: nobody else would notice.
  Object.assign(haunted.config, { beat: undefined });
  const rig = new SystemRig({
    sensors: { every: "1s" },
    exorcism: phoenix.exorcism,
    workloads: ward.patients.map(({ config }) => config),
  });
  try {
    await rig.start();
    await Promise.all([
      ...struckBy.map(([, strike], n) =>
        score.run("PHX-7 firewall", () => struck(rig, firewalls[n] as Patient, strike, rounds, score)),
      ),
      score
        .run("PHX-8 exorcism", () => (short ? Promise.resolve() : exorcised(rig, haunted, score)))
        .then(() => score.run("PHX-4 orphan", () => orphaned(rig, haunted, short, score))),
    ]);
  } finally {
    await rig.close();
  }
}

async function struck(rig: SystemRig, patient: Patient, strike: Strike, rounds: number, score: Score): Promise<void> {
  const how = patient.name.slice("firewall-".length);
  for (let round = 0; round < rounds; round++) {
    await rig.calm(patient.name);
    await pause(500);
    writeFileSync(patient.file("firewall.lock"), "left behind\n");
    const sinceMs = await strike(rig, patient);
    const incident = await rig.recovered(patient.name, sinceMs);
    score.took(`PHX-3 ${how}`, "found", foundMs, at(incident.detectedAt) - sinceMs);
    score.took(`PHX-7 ${how}`, "cleaned, started, verified healthy", backMs, at(incident.recoveredAt) - sinceMs);
    score.holds(`PHX-4 ${how}`, "what it left behind is gone", !existsSync(patient.file("firewall.lock")));
    await rig.closed(incident.id);
  }
}

/** A stuck helper. */
async function exorcised(rig: SystemRig, haunted: Patient, score: Score): Promise<void> {
  const row = "PHX-8 exorcism";
  const told = async () => (await rig.audit()).filter(({ action }) => action === "workload.exorcise");
  await rig.calm(haunted.name);
  const beganMs = await feel(haunted, "helper");
  await rig.until("the helper burns", async () => relatives(rig, haunted, "helper").length === 1);
  const isEnded = async () => relatives(rig, haunted, "helper").length === 0;
  await rig.until("it is ended", isEnded, 3 * (stuckMs + scansMs));
  score.took(row, "a stuck helper, after it was stuck", scansMs, Date.now() - beganMs - stuckMs);
  const [first] = await told();
  score.holds(
    row,
    "it is in the audit with its evidence and what it freed",
    /stuck/.test(first?.because ?? "") && /freed/.test(first?.afterJson ?? ""),
    first,
  );
}

/** Who has left the family's session lives on when its parent is killed, and when its workload is stopped. */
async function orphaned(rig: SystemRig, haunted: Patient, short: boolean, score: Score): Promise<void> {
  await rig.calm(haunted.name);
  await feel(haunted, "orphan");
  await rig.until("the orphan lives", async () => relatives(rig, haunted, "sleep").length === 1);
  let beganMs = Date.now();
  signalIfThere(rig.seen(haunted.name)?.pid ?? 0, "SIGKILL");
  await rig.recovered(haunted.name, beganMs);
  score.count("PHX-4 orphan", "of an earlier life that live on", 0, relatives(rig, haunted, "sleep").length);
  if (short) return;
  await feel(haunted, "orphan");
  await rig.until("another orphan lives", async () => relatives(rig, haunted, "sleep").length === 1);
  await rig.stop(haunted.name);
  beganMs = Date.now();
  await rig.until("it is ended with its workload", async () => familyOf(rig, haunted.name).length === 0, 3 * scansMs);
  score.took("PHX-8 exorcism", "what runs on of a stopped workload", scansMs, Date.now() - beganMs);
}

function relatives(rig: SystemRig, { name }: Patient, word: string): number[] {
  return familyOf(rig, name).filter((pid) => commandOf(pid).includes(word));
}

function familyOf(rig: SystemRig, workload: string): number[] {
  return allPids().filter((pid) => {
    if (environOf(pid, "BLUEFLAME_WORKLOAD") !== workload) return false;
    return environOf(pid, "BLUEFLAME_SOCKET")?.startsWith(rig.dataDir) && procStat(pid)?.state !== "Z";
  });
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
  } catch {
    return "";
  }
}
