import { join } from "node:path";
import { bareConfig } from "@blueflame/agent/config/config.ts";
import { openRecovery } from "@blueflame/agent/recovery/open-recovery.driver.ts";
import type { Recovery } from "@blueflame/agent/recovery/recovery.driver.ts";
import { type OpenedAgentStore, openAgentStore } from "@blueflame/agent/store/agent-store.ts";
import type { WorkloadSpec } from "@blueflame/agent/supervise/spec.ts";
import type { Machine } from "@blueflame/shared/config/machine.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import pino from "pino";

// Nothing is looked up: the config is that of a node that was given nothing.
const machine: Machine = { isFolder: () => true, findProgram: (program) => ({ file: program }), programs: () => [] };

/** The recovery of a node whose config says nothing but its workloads, over a real store in `dataDir`. Whoever opens it closes both. */
export async function openBareRecovery(
  dataDir: string,
  specs: readonly WorkloadSpec[],
  clock: Clock,
): Promise<{ readonly store: OpenedAgentStore; readonly recovery: Recovery }> {
  const store = await openAgentStore(dataDir, { clock, random: Math.random, nodeId: "n1", bootId: "boot-1" });
  const recovery = await openRecovery({
    config: bareConfig({ searchPath: "", machine }),
    specs,
    dataDir,
    outputDir: join(dataDir, "logs"),
    store,
    bootId: "boot-1",
    sameBoot: true,
    clock,
    random: Math.random,
    log: pino({ enabled: false }),
    guarded: [],
    emergency: undefined,
    cgroupOf: () => undefined,
    exhausted: () => [],
    warn: () => undefined,
  });
  return { store, recovery };
}
