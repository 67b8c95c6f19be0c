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

/** Drivers by node id; their output goes to `<logDir>/<node>-{probe,respawn}.log`. */
export function recoveryDrivers(drivers: ReadonlyMap<string, RespawnDriver>, logDir: string): Recovery {
  const run = (nodeId: string, part: "probe" | "respawn", command: Command | undefined, attempt: number) => {
    if (!command) return Promise.resolve({ ok: false, because: `no ${part} is configured` });
    const environment = { BLUEFLAME_NODE: nodeId, BLUEFLAME_ATTEMPT: `${attempt}` };
    return runCommand(command, join(logDir, `${nodeId}-${part}.log`), environment);
  };
  return {
    async askSecondPath(nodeId) {
      const { ok, because } = await run(nodeId, "probe", drivers.get(nodeId)?.probe, 0);
      return { alive: ok, because };
    },
    respawn: (nodeId, attempt) => run(nodeId, "respawn", drivers.get(nodeId)?.exec, attempt),
  };
}
