/**
 * Who guards the guards: workload, agent and watchdog are killed, each alone and in pairs in one moment, and each is stopped by a
 * signal. All come back by themselves, and at no moment are there two of a workload. Init is a stand-in here (the real one has a trial of
 * its own, `init`); without any init, one command of a person brings everything back when all three were killed at once.
 */
import { setTimeout as pause } from "node:timers/promises";
import { signalIfThere } from "../../deploy/running.ts";
import { GuardedNode } from "./guard-pair.ts";
import type { Row, Trial } from "./trial.ts";

const victim = "victim";
const bystanders = ["still-a", "still-b"];
const watchEveryMs = 15;
/** A good time is one second in this trial. */
const calmMs = 1300;

type Kind = "workload" | "agent" | "watchdog";
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

export const guards: Trial = {
  name: "guards",
  about:
    "workload, agent and watchdog killed alone, in pairs and all at once: all back by themselves, never two of a kind",
  async run({ rounds, seed, say }) {
    const values = new Map<string, number[]>();
    const add = (key: string, value: number) => values.set(key, [...(values.get(key) ?? []), Math.round(value)]);
    const looks = await underInit(rounds, seed, add);
    say(`${rounds} rounds under a stand-in for init, ${looks} looks for copies: none`);
    const byCommand = Math.max(2, Math.ceil(rounds / 25));
    await withoutInit(byCommand, add);
    say(`${byCommand} times all three killed at once without init, each brought back by one command`);
    return rowsOf(values);
  },
};

type Add = (key: string, ms: number) => void;

async function underInit(rounds: number, seed: number, add: Add): Promise<number> {
  const node = new GuardedNode(workloads());
  try {
    node.underInit();
    await node.allBack([victim, ...bystanders], [], 30_000);
    const calm = bystanders.map((name) => node.leads(name)[0]);
    const watch = watchForCopies(node);
    for (let round = 0; round < rounds; round++) {
      const one = cases[(round + seed) % cases.length];
      if (one) await suffer(node, one, add);
    }
    const copies = watch.stop();
    if (copies.length > 0) throw new Error(`two of a kind were alive at once: ${copies.join("; ")}`);
    const after = bystanders.map((name) => node.leads(name)[0]);
    if (String(after) !== String(calm))
      throw new Error(`workloads that nobody touched changed: ${calm} became ${after}`);
    return watch.looks();
  } finally {
    await node.close();
  }
}

async function suffer(node: GuardedNode, { name, who, signal }: Case, add: Add): Promise<void> {
  await pause(calmMs);
  const pids = who.map((kind) => pidOf(node, kind));
  const wallMs = Date.now();
  const beganMs = performance.now();
  for (const pid of pids) if (!signalIfThere(pid, signal)) throw new Error(`process ${pid} is not there`);
  await node.allBack([victim, ...bystanders], pids, 60_000);
  add(`${name}|back`, performance.now() - beganMs);
  if (who.length === 1 && who[0] === "agent") {
    const seen = node.transitions(wallMs - 5).find(({ to }) => to === "starting" || to === "ending");
    if (!seen) throw new Error("the watchdog's log does not say when it noticed");
    add(`${name}|noticed`, Math.max(0, seen.wallMs - wallMs));
  }
}

function pidOf(node: GuardedNode, kind: Kind): number {
  const [pid, ...more] = kind === "workload" ? node.leads(victim) : node.of(kind);
  if (pid === undefined || more.length > 0)
    throw new Error(`not one of kind ${kind}: ${[pid, ...more]}\n${node.logs()}`);
  return pid;
}

/** Kills them in one moment, also where this process has to wait between two signals: frozen before, none sees another one's end. */
function atOnce(pids: readonly number[]): void {
  for (const signal of ["SIGSTOP", "SIGKILL"] as const) for (const pid of pids) signalIfThere(pid, signal);
}

/** All three die in one moment, and nobody is left to start anything: a person types one command. */
async function withoutInit(rounds: number, add: Add): Promise<void> {
  const node = new GuardedNode(workloads());
  try {
    node.byPerson();
    await node.allBack([victim, ...bystanders], [], 30_000);
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
      if (command === "up") node.byPerson();
      else await node.run("emergency");
      await node.allBack([victim, ...bystanders], pids, 60_000);
      add(`all killed, no init, \`${command}\`|back`, performance.now() - beganMs);
    }
  } finally {
    await node.close();
  }
}

function workloads(): object[] {
  const pace = { backoff: { base: "20ms", cap: "500ms", reset_after: "200ms" }, starts: { max: 1000, within: "60s" } };
  return [victim, ...bystanders].map((name) => ({
    ...pace,
    name,
    probation: "1s",
    command: ["/bin/sh", "-c", "while :; do sleep 1; done"],
  }));
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

function rowsOf(values: ReadonlyMap<string, readonly number[]>): Row[] {
  const rows: Row[] = [];
  for (const [key, measured] of values) {
    const [name = "", measure = ""] = key.split("|");
    const one = cases.find((each) => each.name === name);
    const promise = measure === "noticed" ? noticed[one?.signal ?? "SIGKILL"] : (one?.backMs ?? 30_000);
    rows.push({ name, measure, promise, unit: "ms", values: measured });
  }
  return rows;
}
