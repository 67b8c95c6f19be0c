import { join } from "node:path";
import { type Command, type Ended, runCommand } from "./command.driver.ts";

/** How one node is asked and resurrected; absent where nothing is configured. */
export interface RespawnDriver {
  readonly probe: Command | undefined;
  readonly exec: Command | undefined;
}

/** What the hub can do about a node past its stream. Neither rejects. */
export interface Recovery {
  /** Asks whether the node lives after all. Without a second path nobody says that it lives. */
  askSecondPath(nodeId: string): Promise<{ readonly alive: boolean; readonly because: string }>;
  respawn(nodeId: string, attempt: number): Promise<Ended>;
}

/** Probes that run at once; the others wait their turn. After a thaw a whole site may want to be asked in the same moment. */
const probesMax = 8;

/** Drivers by node id; their output goes to `<logDir>/<node>-{probe,respawn}.log`. */
export function recoveryDrivers(drivers: ReadonlyMap<string, RespawnDriver>, logDir: string): Recovery {
  const run = (nodeId: string, part: "probe" | "respawn", command: Command | undefined, attempt: number) => {
    if (!command) return Promise.resolve({ ok: false, because: `no ${part} is configured` });
    const environment = { BLUEFLAME_NODE: nodeId, BLUEFLAME_ATTEMPT: `${attempt}` };
    return runCommand(command, join(logDir, `${nodeId}-${part}.log`), environment);
  };
  const probes = atMost(probesMax);
  return {
    async askSecondPath(nodeId) {
      const { ok, because } = await probes(() => run(nodeId, "probe", drivers.get(nodeId)?.probe, 0));
      return { alive: ok, because };
    },
    respawn: (nodeId, attempt) => run(nodeId, "respawn", drivers.get(nodeId)?.exec, attempt),
  };
}

/** Runs what it is given, at most `max` at once, first come, first served. What waits is bounded by the nodes that ask. */
function atMost(max: number): <T>(work: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = [];
  let running = 0;
  return async (work) => {
    if (running >= max) await new Promise<void>((resolve) => waiting.push(resolve));
    else running += 1;
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next) next();
      else running -= 1;
    }
  };
}
