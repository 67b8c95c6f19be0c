import { join } from "node:path";
import type { Around, RemedyAlert, RemedyAudit, Stand } from "@blueflame/agent/remedies/around.ts";
import type { RemedyResult } from "@blueflame/agent/remedies/ports.ts";
import { type OpenedAgentStore, openAgentStore } from "@blueflame/agent/store/agent-store.ts";
import type { WorkloadSpec } from "@blueflame/agent/supervise/spec.ts";
import type { Figures } from "@blueflame/agent/triggers/observation.ts";
import { seeded } from "@blueflame/shared/random/random.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";

/** What the remedies see of an agent, on the real clock and a real store, with workloads that are only a stand and figures. */
export interface RemedyRig {
  readonly around: Around;
  readonly store: OpenedAgentStore;
  readonly audits: RemedyAudit[];
  readonly alerts: RemedyAlert[];
  /** What was asked of machines, in order: `restart engine`, `safe engine`. */
  readonly asked: string[];
  readonly stands: Map<string, Stand>;
  /** By workload; `` is the node. */
  readonly figures: Map<string, Figures>;
  /** Answers a restart; by default the workload gets a new instance and is well. */
  restarts: (workload: string, mode: "normal" | "safe") => Promise<RemedyResult>;
  killSwitch: boolean;
  close(): Promise<void>;
}

/** Opens a rig in `dir`, which the caller removes. */
export async function openRemedyRig(
  dir: string,
  specs: readonly WorkloadSpec[],
  over: Partial<Around> = {},
): Promise<RemedyRig> {
  const clock = realClock();
  const random = seeded(7);
  const dataDir = join(dir, "agent");
  const store = await openAgentStore(dataDir, {
    clock,
    random,
    nodeId: undefined,
    defaultNodeId: "here",
    bootId: "boot",
  });
  const stands = new Map<string, Stand>();
  const figures = new Map<string, Figures>();
  const asked: string[] = [];
  const audits: RemedyAudit[] = [];
  const alerts: RemedyAlert[] = [];
  let lives = 0;
  const standOf = (workload: string): Stand =>
    stands.get(workload) ?? { is: "well", instance: lifeOf(`${workload}-0`) };
  const rig: RemedyRig = {
    store,
    stands,
    figures,
    asked,
    audits,
    alerts,
    killSwitch: false,
    restarts: async (workload) => {
      lives += 1;
      stands.set(workload, { is: "well", instance: lifeOf(`${workload}-${lives}`) });
      return { ok: true, because: `restarted as ${workload}-${lives}` };
    },
    close: () => store.close(),
    around: {
      clock,
      random,
      dataDir,
      outputDir: join(dataDir, "logs", "workloads"),
      bootId: "boot",
      specs,
      playbooks: "",
      disposable: [],
      pools: {},
      guarded: [],
      store,
      stand: standOf,
      restart: (workload, mode) => {
        asked.push(`${mode === "safe" ? "safe" : "restart"} ${workload}`);
        return rig.restarts(workload, mode);
      },
      async untilWell(workload, limitMs, signal) {
        for (const untilMs = clock.monotonicMs() + limitMs; clock.monotonicMs() < untilMs && !signal.aborted; ) {
          if (standOf(workload).is === "well") return true;
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
        return standOf(workload).is === "well";
      },
      figures: (workload) => figures.get(workload) ?? {},
      killSwitch: () => rig.killSwitch,
      checkStore: async () => ({ ok: store.trouble() === undefined, because: store.trouble() ?? "the store is well" }),
      signature: (workload, lines) => `${workload}: ${lines.at(-1) ?? ""}`,
      externalStale: () => [],
      exhausted: () => [],
      advice: () => undefined,
      demoted: () => [],
      audit: (fact) => audits.push(fact),
      alert: (fact) => alerts.push(fact),
      log: () => undefined,
      ...over,
    },
  };
  return rig;
}

/** A process that is nobody's: no signal may reach it. */
function lifeOf(id: string) {
  return { id, pid: 2 ** 22 + 1, startTicks: 0 };
}
