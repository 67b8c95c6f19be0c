/**
 * DOL-3: the node is DEAD, and is brought back in its order: the control plane, missing processes, jobs. The order is the agent's own
 * desk, which works with promises: they are settled between two steps of the clock.
 */
import type { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import type { System } from "../scenarios/node-system.ts";
import { NodeRun, type Outcome } from "./node-run.ts";

const second = 1000;
const settleEveryMs = 250;
const port = "127.0.0.1:4200";
const services = ["trader", "feed", "worker"] as const;
/** A step of the order waits so long for what it started. */
const stepMs = 30 * second;

/** One seed. */
export async function runDeadNode(system: System, seed: number, clock: VirtualClock, traced = false): Promise<Outcome> {
  const run = new NodeRun(seed, system, clock, traced);
  const check = breaks(run);
  const endMs = 400 * second;
  while (run.nowMs < endMs) {
    run.world.clock.advance(settleEveryMs);
    for (let turn = 0; turn < 6; turn++) await undefined;
  }
  check();
  return run.outcome(false);
}

function breaks(run: NodeRun): () => void {
  const { world } = run;
  const atMs = run.between(60 * second, 80 * second);
  const refuses = run.random() < 0.7;
  const missing = services.filter(() => run.random() < 0.5);
  run.at(atMs, () => {
    if (refuses) {
      world.senses.refusing.add(port);
      world.fault("node", ["control-plane:restart"], () => world.senses.refusing.delete(port));
    } else {
      world.ail("control-plane", { until: [], how: "exit", afterMs: 0, code: 1, starts: 1 });
      world.exit("control-plane", 1);
    }
    for (const name of missing) {
      const starts = Math.floor(run.between(0, 3));
      if (starts > 0) world.ail(name, { until: [], how: "exit", afterMs: 0, code: 1, starts });
      world.exit(name, 1);
    }
    if (run.random() < 0.5) world.senses.lateJobs["nightly-report"] = 300_000;
  });
  if (run.random() < 0.3) run.at(run.between(atMs, atMs + 60 * second), () => run.guards.kill("agent"));
  return () => inOrder(run, atMs);
}

interface Move {
  readonly ms: number;
  readonly step: "control_plane" | "process" | "job";
  readonly life: number;
}

function inOrder(run: NodeRun, atMs: number): void {
  const lives = run.agentStartsMs;
  const moves = run.seen.flatMap(({ ms, seen }): Move[] => {
    const step = seen.is === "node" ? /^meta\.(control_plane|process|job) /.exec(seen.what)?.[1] : undefined;
    return step ? [{ ms, step: step as Move["step"], life: lives.filter((since) => since <= ms).length }] : [];
  });
  const order = ["control_plane", "process", "job"];
  for (const [index, move] of moves.entries()) {
    const before = moves[index - 1];
    // A job ends a round; after it, or in another agent's life, a new one may begin.
    if (!before || before.life !== move.life || before.step === "job") continue;
    run.must(order.indexOf(move.step) >= order.indexOf(before.step), `${move.step} after ${before.step}`);
    if (before.step !== "control_plane" || move.step === "control_plane") continue;
    const wellMs = run.runningMs("control-plane", before.ms);
    run.must(
      wellMs <= move.ms || move.ms >= before.ms + stepMs,
      `${move.step} began before the control plane was well`,
    );
  }
  for (const name of ["control-plane", ...services])
    run.must(run.world.actor(name).state.phase.at === "running", `${name} does not run in the end`);
  run.must(
    run.world.senses.meta?.status === "GREEN",
    `the node is ${run.world.senses.meta?.status ?? "unknown"} in the end`,
  );
  const green = run.seen.findLast(({ seen }) => seen.is === "node" && seen.what.endsWith("-> GREEN"));
  run.tookMs = (green?.ms ?? atMs) - atMs;
}
