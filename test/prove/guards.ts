/**
 * Who guards the guards: workload, agent and watchdog are killed, each alone and in pairs in one moment, and each is stopped by a
 * signal. All come back by themselves, and at no moment are there two of a workload. Init is a stand-in here (the real one has a trial of
 * its own, `init`); without any init, one command of a person brings everything back when all three were killed at once. In between
 * the kill switch is on for a while, and whoever is killed then: no workload is started.
 */
import { setTimeout as pause } from "node:timers/promises";
import { signalIfThere } from "../../deploy/running.ts";
import { GuardedNode } from "./guard-pair.ts";
import { type Add, atOnce, bystanders, calmMs, everybody, type Kind, pidOf, Table, workloads } from "./guards-rig.ts";
import { asItGoesOn, switchedOn, type Time, whileOn } from "./guards-switch.ts";
import type { Trial } from "./trial.ts";

const watchEveryMs = 15;
/** One command of a person brings all back within it; that nothing is started against the kill switch is watched for half of it. */
const commandMs = 30_000;
const watchCommandMs = 15_000;
/** After so many rounds the kill switch is on for a while. */
const roundsToSwitch = 12;

interface Case {
  readonly name: string;
  readonly who: readonly Kind[];
  readonly signal: "SIGKILL" | "SIGSTOP";
  /** All of them are well again within this time. */
  readonly backMs: number;
}

const killed = (backMs: number, ...who: Kind[]): Case => ({
  name: `${who.join(" and ")} killed`,
  who,
  signal: "SIGKILL",
  backMs,
});
const cases: readonly Case[] = [
  killed(10_000, "workload"),
  killed(10_000, "agent"),
  killed(10_000, "watchdog"),
  killed(15_000, "workload", "agent"),
  killed(15_000, "workload", "watchdog"),
  killed(15_000, "agent", "watchdog"),
  killed(15_000, "workload", "agent", "watchdog"),
  { name: "workload stopped", who: ["workload"], signal: "SIGSTOP", backMs: 15_000 },
  { name: "agent stopped", who: ["agent"], signal: "SIGSTOP", backMs: 15_000 },
  { name: "watchdog stopped", who: ["watchdog"], signal: "SIGSTOP", backMs: 15_000 },
];
/** What the issue promises of the noticing: a crash at once, a hang within 3 s. */
const noticed = { SIGKILL: 1000, SIGSTOP: 3000 };

function trial(form: "long" | "short"): Trial {
  return {
    name: "guards",
    about:
      "workload, agent and watchdog killed alone, in pairs and all at once, also with the kill switch on: all back by themselves, never two of a kind",
    async run({ rounds, seed, say }) {
      const table = new Table();
      const { looks, times } = await underInit(form, rounds, seed, table.add);
      say(
        `${rounds} rounds under a stand-in for init, ${looks} looks for copies: none; the kill switch ${times} times on`,
      );
      const byCommand = Math.max(2, Math.ceil(rounds / 25));
      await withoutInit(form, byCommand, table.add);
      say(`${byCommand} times all three killed at once without init, each brought back by one command`);
      return table.rows();
    },
  };
}

export const guards = trial("long");
/** The switch is watched for seconds, not for as long as the way back may take, and not without init. */
export const guardsShort = trial("short");

async function underInit(
  form: "long" | "short",
  rounds: number,
  seed: number,
  add: Add,
): Promise<{ looks: number; times: number }> {
  const node = new GuardedNode(workloads());
  const watch = watchForCopies(node);
  const pids = () => String(bystanders.map((name) => node.leads(name)[0]));
  try {
    node.underInit();
    await node.allBack(everybody, [], 30_000);
    let calm = pids();
    const checkCalm = () => {
      if (pids() !== calm) throw new Error(`workloads that nobody touched changed: ${calm} became ${pids()}`);
    };
    let times = 0;
    for (let round = 0; round < rounds; round++) {
      const one = cases[(round + seed) % cases.length];
      if (one) await suffer(node, one, add);
      if (round % roundsToSwitch !== Math.min(rounds, roundsToSwitch) - 1) continue;
      checkCalm();
      await switchedOn(node, form === "short" ? shortTime : longTime(times + seed), add);
      calm = pids();
      times += 1;
    }
    checkCalm();
    const copies = watch.stop();
    if (copies.length > 0) throw new Error(`two of a kind were alive at once: ${copies.join("; ")}`);
    return { looks: watch.looks(), times };
  } finally {
    watch.stop();
    await node.close();
  }
}

const shortTime: Time = { first: asItGoesOn[0], next: [], watchMs: 2000 };
const longTime = (turn: number): Time => ({ first: asItGoesOn[turn % asItGoesOn.length], next: whileOn });

async function suffer(node: GuardedNode, { name, who, signal, backMs }: Case, add: Add): Promise<void> {
  await pause(calmMs);
  const pids = who.map((kind) => pidOf(node, kind));
  const wallMs = Date.now();
  const beganMs = performance.now();
  for (const pid of pids) if (!signalIfThere(pid, signal)) throw new Error(`process ${pid} is not there`);
  await node.allBack(everybody, pids, 60_000);
  add({ name, measure: "back", promise: backMs, unit: "ms" }, performance.now() - beganMs);
  if (who.length === 1 && who[0] === "agent") {
    const seen = node.transitions(wallMs - 5).find(({ to }) => to === "starting" || to === "ending");
    if (!seen) throw new Error("the watchdog's log does not say when it noticed");
    add({ name, measure: "noticed", promise: noticed[signal], unit: "ms" }, Math.max(0, seen.wallMs - wallMs));
  }
}

/** All three die in one moment, and nobody is left to start anything: a person types one command. */
async function withoutInit(form: "long" | "short", rounds: number, add: Add): Promise<void> {
  const node = new GuardedNode(workloads());
  const typed = async (command: "up" | "emergency") => {
    if (command === "up") node.byPerson();
    else await node.run("emergency");
  };
  try {
    node.byPerson();
    await node.allBack(everybody, [], 30_000);
    for (let round = 0; round < rounds; round++) {
      await pause(calmMs);
      const pids = (["watchdog", "agent", "workload"] as const).map((kind) => pidOf(node, kind));
      atOnce(pids);
      await pause(2000);
      const back = [...node.of("watchdog"), ...node.of("agent")];
      if (back.length > 0)
        throw new Error(`${back} came back without a command, of ${pids} were killed\n${node.logs()}`);
      const beganMs = performance.now();
      const command = round % 2 === 0 ? "up" : "emergency";
      await typed(command);
      await node.allBack(everybody, pids, 60_000);
      const name = `all killed, no init, \`${command}\``;
      add({ name, measure: "back", promise: commandMs, unit: "ms" }, performance.now() - beganMs);
    }
    const both = { who: ["watchdog", "agent"], promiseMs: commandMs } as const;
    for (const words of form === "long" ? (["up", "emergency"] as const) : []) {
      const bring = { words, now: () => typed(words) };
      await switchedOn(node, { next: [both], bring, watchMs: watchCommandMs }, add);
    }
  } finally {
    await node.close();
  }
}

function watchForCopies(node: GuardedNode): { stop(): string[]; looks(): number } {
  const copies = new Set<string>();
  let looks = 0;
  const timer = setInterval(() => {
    looks += 1;
    for (const [name, pids] of node.everyLead()) if (pids.length > 1) copies.add(`${name}: ${pids.join(" and ")}`);
  }, watchEveryMs);
  return {
    stop() {
      clearInterval(timer);
      return [...copies];
    },
    looks: () => looks,
  };
}
