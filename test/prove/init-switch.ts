/** The kill switch under a real init: all three are killed, and the machine is rebooted; guards come back, workloads only when it is off. */
import { setTimeout as pause } from "node:timers/promises";
import type { AgentImage, Lives } from "../systemd/agent-image.ts";
import type { Row } from "./trial.ts";

const lookEveryMs = 50;

/** What is promised of the way back, in ms. */
export interface Promises {
  readonly killed: number;
  readonly reboot: number;
  /** How long it is watched after the reboot that nothing is started. */
  readonly watched: number;
}

/** Needs an image on which all runs, and leaves it so. Rejects when guards do not come back, or one of a workload is seen alive. */
export async function switchedOn(image: AgentImage, before: Lives, rounds: number, promises: Promises): Promise<Row[]> {
  const killed: number[] = [];
  const killedAgain: number[] = [];
  const reboot: number[] = [];
  const started: number[] = [];
  const off: number[] = [];
  let lives = before;
  for (let round = 0; round < rounds; round++) {
    const timed = async (values: number[], act: () => Promise<Lives | undefined>, promise: number) => {
      const beganMs = performance.now();
      const gone = await act();
      const backMs = image.machine.init === 0 ? await booted(image) : beganMs;
      const back = await image.guardsBack(gone, 3 * promise);
      values.push(Math.round(performance.now() - backMs));
      lives = back.lives;
      return back.starts;
    };
    const everybody = () => [...lives.workloads.values(), lives.agent, lives.watchdog];
    const kill = async (also: () => Promise<void>) => {
      const gone = lives;
      await image.signal("KILL", everybody());
      await also();
      return gone;
    };
    // As it goes on there are all three to be killed; while it is on, no workload is there.
    const atOn = await timed(killed, () => kill(() => image.killSwitch("on")), promises.killed);
    const watch = watchIdle(image);
    await timed(killedAgain, () => kill(async () => undefined), promises.killed);
    const shutDown = async () => {
      await image.machine.shutDown();
      return undefined;
    };
    await timed(reboot, shutDown, promises.reboot);
    await pause(promises.watched);
    const { starts } = await image.guardsBack(undefined, promises.killed);
    started.push(starts - atOn + watch.stop());
    const beganMs = performance.now();
    await image.killSwitch("off");
    lives = await image.allBack(undefined, 3 * promises.killed);
    off.push(Math.round(performance.now() - beganMs));
  }
  const row = (name: string, measure: string, promise: number, values: readonly number[]): Row => ({
    name,
    measure,
    promise,
    unit: "ms",
    values,
  });
  const back = "agent and watchdog back, one of each, no workload";
  return [
    row("all workloads, agent, watchdog killed as the switch goes on", back, promises.killed, killed),
    row("agent, watchdog killed while the switch is on", back, promises.killed, killedAgain),
    row("reboot while the switch is on", back, promises.reboot, reboot),
    { ...row("from on to off", "workload processes started", 0, started), unit: "count" },
    row("switch off", "all back and ready, one of each, what was stopped stopped", promises.killed, off),
  ];
}

/** Power is back: from here the time is counted. */
async function booted(image: AgentImage): Promise<number> {
  const atMs = performance.now();
  await image.machine.boot();
  return atMs;
}

/** Looks for processes that the agent would not count: the most that were alive at once. */
function watchIdle(image: AgentImage): { stop(): number } {
  let most = 0;
  const timer = setInterval(() => {
    most = Math.max(most, image.idle());
  }, lookEveryMs);
  return {
    stop() {
      clearInterval(timer);
      return most;
    },
  };
}
