/**
 * A time in which the kill switch is on, for a node whose guards die meanwhile: agent and watchdog come back as ever, and no workload
 * is started before a person turns it off. Each kill is watched for as long as the way back is promised to take.
 */
import { setTimeout as pause } from "node:timers/promises";
import { WorkloadPhase } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import { looks } from "../support/looks.ts";
import type { GuardedNode } from "./guard-pair.ts";
import { type Add, atOnce, calmMs, everybody, type Kind, pidOf } from "./guards-rig.ts";

const lookEveryMs = 50;
const backMs = 10_000;

/** What is killed, and within which time agent and watchdog are back. */
export interface Blow {
  readonly who: readonly Kind[];
  readonly promiseMs: number;
}

/** What dies in the moment in which a person types `kill-switch on`: each kind, each pair, and all three, with a workload among them. */
export const asItGoesOn: readonly Blow[] = [
  { who: ["workload", "agent", "watchdog"], promiseMs: 15_000 },
  { who: ["workload"], promiseMs: 10_000 },
  { who: ["workload", "agent"], promiseMs: 15_000 },
  { who: ["workload", "watchdog"], promiseMs: 15_000 },
];
/** What there is to kill while it is on: no workload runs. */
export const whileOn: readonly Blow[] = [
  { who: ["agent", "watchdog"], promiseMs: 15_000 },
  { who: ["agent"], promiseMs: 10_000 },
  { who: ["watchdog"], promiseMs: 10_000 },
];

/** One time from on to off. */
export interface Time {
  /** Killed in the moment in which it is turned on; undefined: nobody. */
  readonly first?: Blow | undefined;
  /** Killed one after the other, each when the last is mended. */
  readonly next: readonly Blow[];
  /** What a person does to have the guards back; undefined where they come by themselves. */
  readonly bring?: { readonly words: string; readonly now: () => Promise<void> };
  /** Watched for so long at most after a kill; undefined: for the whole time that the way back may take. */
  readonly watchMs?: number;
}

/** Rejects when a guard does not come back, the switch is found off, or a workload lives. */
export async function switchedOn(node: GuardedNode, { first, next, bring, watchMs }: Time, add: Add): Promise<void> {
  await pause(calmMs);
  const starts = new Starts(node);
  const after: { readonly what: string; readonly started: number; readonly untilMs: number }[] = [];
  const strike = async (blow: Blow, words: string, also: () => Promise<void>) => {
    const pids = blow.who.map((kind) => pidOf(node, kind));
    const beganMs = performance.now();
    atOnce(pids);
    await also();
    const what = `${blow.who.join(" and ")} killed ${words}`;
    after.push({ what, started: starts.count(), untilMs: beganMs + Math.min(blow.promiseMs, watchMs ?? Infinity) });
    await guardsBack(node, pids);
    const measure = "agent and watchdog back, no workload";
    add({ name: what, measure, promise: blow.promiseMs, unit: "ms" }, performance.now() - beganMs);
  };
  try {
    const on = () => turn(node, "on");
    if (first) await strike(first, "as the switch goes on", on);
    else await on();
    for (const blow of next) {
      await pause(calmMs);
      const words = `while the switch is on${bring ? `, no init, \`${bring.words}\`` : ""}`;
      await strike(blow, words, bring?.now ?? (async () => undefined));
    }
    await pause(Math.max(0, ...after.map(({ untilMs }) => untilMs - performance.now())));
    await guardsBack(node, []);
    for (const { what, started } of after)
      add({ name: what, measure: "workload processes started", promise: 0, unit: "count" }, starts.count() - started);
  } finally {
    starts.close();
  }
  const beganMs = performance.now();
  await turn(node, "off");
  await node.allBack(everybody, [], 60_000);
  const name = `switch off${bring ? ", no init" : ""}`;
  add({ name, measure: "workloads back", promise: backMs, unit: "ms" }, performance.now() - beganMs);
}

async function turn(node: GuardedNode, word: "on" | "off"): Promise<void> {
  const { code, said } = await node.run("kill-switch", word, "--reason", "a trial");
  if (code !== 0) throw new Error(`\`kill-switch ${word}\` ended with ${code}: ${said}\n${node.logs()}`);
}

/** One watchdog, one agent that knows of the switch, and not one process of a workload. */
async function guardsBack(node: GuardedNode, not: readonly number[]): Promise<void> {
  await node.allBack([], not, 60_000);
  let missing = "";
  for await (const _ of looks(60_000)) {
    missing = await wanting(node);
    if (missing === "") return;
  }
  throw new Error(`the kill switch is on, and ${missing}\n${node.logs()}`);
}

async function wanting(node: GuardedNode): Promise<string> {
  const status = await node.status();
  if (!status?.killSwitch) return status ? "the agent takes it for off" : "the agent does not answer";
  const up = status.workloads.filter(({ phase }) => phase !== WorkloadPhase.STOPPED);
  if (up.length > 0) return up.map(({ name, because }) => `${name} is not stopped: ${because}`).join("; ");
  const alive = [...node.everyLead().keys()];
  return alive.length > 0 ? `processes of ${alive} are alive` : "";
}

/** Counts the processes of workloads: those that were seen, and those that were too short-lived for it but have written their PID. */
class Starts {
  readonly #node: GuardedNode;
  readonly #known = new Set<string>();
  readonly #timer: NodeJS.Timeout;

  constructor(node: GuardedNode) {
    this.#node = node;
    this.#timer = setInterval(() => this.#look(), lookEveryMs);
  }

  /** So many are known of, ever. */
  count(): number {
    this.#look();
    for (const name of everybody) for (const pid of this.#node.printed(name)) this.#known.add(`${name}:${pid}`);
    return this.#known.size;
  }

  #look(): void {
    for (const [name, pids] of this.#node.everyLead()) for (const pid of pids) this.#known.add(`${name}:${pid}`);
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
