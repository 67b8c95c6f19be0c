/**
 * A real systemd as process 1 of an image of its own, with the agent installed on it: whatever dies together, init brings the
 * watchdog back, the watchdog the agent, and the agent its workloads; also after a reboot and after a power cut. What a person
 * has stopped stays stopped through all of it; with the kill switch on, so does everything.
 */
import { installTools } from "../install-tools.ts";
import { AgentImage, type Lives, unit } from "../systemd/agent-image.ts";
import { cannotBoot, makeImage } from "../systemd/image.ts";
import { ImageMachine } from "../systemd/machine.ts";
import { switchedOn } from "./init-switch.ts";
import type { Row, Trial } from "./trial.ts";

/** GRC-10. */
const rebootPromiseMs = 60_000;
/** GRC-1: what is outside of the agent brings it back in about 30 s. */
const killedPromiseMs = 30_000;
/** A frozen pair is found when systemd has heard nothing for the unit's WatchdogSec, and then it is as the kill. */
const frozenPromiseMs = 60_000;

interface Hit {
  readonly name: string;
  readonly promise: number;
  /** Returns what must be gone when all is back. */
  readonly strike: (image: AgentImage, lives: Lives) => Promise<Lives | undefined>;
  /** Every workload has the process that it had. */
  readonly keeps?: true;
  /** A part of the short form. */
  readonly short?: true;
}

type Part = "a workload" | "agent" | "watchdog" | "all workloads";

/** SIGKILL to all of them in one moment. */
function killed(...parts: readonly Part[]): Hit {
  return {
    name: `${parts.join(", ")} killed in one moment`,
    promise: killedPromiseMs,
    strike: async (image, lives) => {
      const hit = parts.includes("all workloads") ? lives.workloads : new Map([...lives.workloads].slice(0, 1));
      const gone: Lives = {
        agent: parts.includes("agent") ? lives.agent : 0,
        watchdog: parts.includes("watchdog") ? lives.watchdog : 0,
        workloads: parts.some((part) => part.endsWith("workload") || part.endsWith("workloads")) ? hit : new Map(),
      };
      await image.signal(
        "KILL",
        [...gone.workloads.values(), gone.agent, gone.watchdog].filter((pid) => pid !== 0),
      );
      return gone;
    },
  };
}

const hits: readonly Hit[] = [
  { ...killed("watchdog"), keeps: true },
  { ...killed("agent", "watchdog"), keeps: true },
  { ...killed("a workload", "agent", "watchdog"), short: true },
  killed("all workloads", "agent", "watchdog"),
  {
    name: "agent and watchdog frozen in one moment",
    promise: frozenPromiseMs,
    strike: async (image, lives) => {
      await image.signal("STOP", [lives.agent, lives.watchdog]);
      return { ...lives, workloads: new Map() };
    },
    keeps: true,
  },
  {
    name: "service restarted by a person, workloads left alone",
    promise: killedPromiseMs,
    strike: async ({ machine }, lives) => {
      await machine.must("systemctl", "restart", unit);
      return { ...lives, workloads: new Map() };
    },
    keeps: true,
    short: true,
  },
  {
    name: "reboot",
    short: true,
    promise: rebootPromiseMs,
    strike: async ({ machine }) => {
      await machine.shutDown();
      return undefined;
    },
  },
  {
    name: "power cut",
    promise: rebootPromiseMs,
    strike: async ({ machine }) => {
      await machine.cut();
      return undefined;
    },
  },
];

function trial(chosen: readonly Hit[], watchedMs: number): Trial {
  return {
    name: "init",
    about:
      "systemd as process 1 of an image of its own: killed, frozen, rebooted and cut off, all comes back by itself",
    async run({ rounds, say }) {
      installTools(say, ["debootstrap", "unshare", "nsenter", "setpriv"]);
      const because = cannotBoot();
      if (because) throw new Error(`no init can be booted here: ${because}`);
      const machine = new ImageMachine(makeImage(say));
      try {
        return await proved(new AgentImage(machine), chosen, watchedMs, rounds, say);
      } finally {
        await machine.close();
      }
    },
  };
}

export const init = trial(hits, killedPromiseMs);
/** What fits into a minute. */
export const initShort = trial(
  hits.filter(({ short }) => short),
  2000,
);

async function proved(
  image: AgentImage,
  chosen: readonly Hit[],
  watchedMs: number,
  rounds: number,
  say: (line: string) => void,
): Promise<Row[]> {
  const installedMs = performance.now();
  await image.machine.boot();
  await image.install();
  await image.stopOne();
  let lives = await image.allBack(undefined, rebootPromiseMs);
  say(`booted, installed, and all of it runs after ${Math.round(performance.now() - installedMs)} ms`);
  const rows: Row[] = [];
  for (const { name, promise, strike, keeps } of chosen) {
    const values: number[] = [];
    for (let round = 0; round < rounds; round++) {
      let beganMs = performance.now();
      const gone = await strike(image, lives);
      if (image.machine.init === 0) {
        beganMs = performance.now(); // power is back
        await image.machine.boot();
      }
      // Looked for longer than is promised: a figure says more than a broken trial.
      const now = await image.allBack(gone, 3 * promise);
      if (keeps) checkKept(lives, now);
      lives = now;
      values.push(Math.round(performance.now() - beganMs));
    }
    rows.push({
      name,
      measure: "all back and ready, one of each, what was stopped stopped",
      promise,
      unit: "ms",
      values,
    });
  }
  const promises = { killed: killedPromiseMs, reboot: rebootPromiseMs, watched: watchedMs };
  return [...rows, ...(await switchedOn(image, lives, rounds, promises))];
}

function checkKept(before: Lives, now: Lives): void {
  const changed = [...before.workloads].filter(([name, pid]) => now.workloads.get(name) !== pid);
  if (changed.length > 0) throw new Error(`other processes than before: ${changed.map(([name]) => name).join(", ")}`);
}
