/** Limits, the search for zombies and the agent's own bounds, wired to the supervision. */
import type { Clock } from "@blueflame/shared/time/clock.ts";
import type { AgentConfig } from "../config/config.ts";
import { type Exorcism, type Exorcist, openExorcist } from "../exorcism/exorcist.driver.ts";
import { viewOf } from "../exorcism/view.ts";
import { type Applied, type Limits, openLimits } from "../limits/limits.driver.ts";
import { guardSelf, type SelfGuard } from "../limits/self.driver.ts";
import type { Families } from "../supervise/family.driver.ts";
import type { Supervisor } from "../supervise/supervisor.driver.ts";
import type { Figures } from "../triggers/observation.ts";
import type { Voice } from "./voice.driver.ts";

/** An excess that was told stands in the facts of a failure for so long. */
const recentMs = 10 * 60_000;

/** What protects the node and the agent. */
export interface ProtectParts {
  readonly config: AgentConfig;
  readonly families: Families;
  readonly clock: Clock;
  readonly supervisor: Pick<Supervisor, "names" | "spec" | "state" | "post">;
  readonly voice: Pick<Voice, "log" | "audit" | "alert">;
  /** The newest figures of a workload. */
  readonly figures: (workload: string) => Figures;
  readonly killSwitch: () => boolean;
  /** Processes that are nobody's to end: the watchdog. */
  readonly spare: () => readonly number[];
  readonly restartSelf: () => void;
}

/** Protects until it is closed. */
export interface Protection {
  /** Lines for people. */
  readonly warnings: readonly string[];
  /** Why a workload was ended from outside; undefined when nobody knows of it. */
  killedForMemory(workload: string): string | undefined;
  /** Its limits, and who holds each. */
  applied(workload: string): readonly Applied[];
  close(): Promise<void>;
}

/** What limits have told of workloads lately, for the diagnosis. Lives before and after the protection itself. */
export class Excesses {
  readonly #clock: Clock;
  readonly #told = new Map<string, { readonly because: string; readonly atMs: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }
  tell(workload: string, because: string): void {
    this.#told.set(workload, { because, atMs: this.#clock.monotonicMs() });
  }
  of(workload: string): string[] {
    const told = this.#told.get(workload);
    return told && this.#clock.monotonicMs() < told.atMs + recentMs ? [told.because] : [];
  }
}

/** Begins with the families that live already. */
export function protect(parts: ProtectParts, excesses: Excesses): Protection {
  const { supervisor, voice } = parts;
  const log = (level: "info" | "warn", fields: object, message: string) => voice.log(level, { ...fields }, message);
  const limits: Limits = openLimits({
    specs: () => supervisor.names().map((name) => supervisor.spec(name)),
    families: parts.families,
    clock: parts.clock,
    onBreach({ workload, what, act, because }) {
      const outcome = act === "tell" ? "failure" : "success";
      voice.audit({ action: `limit.${what}`, target: `workload/${workload}`, because, outcome });
      excesses.tell(workload, because);
      if (act === "restart") supervisor.post(workload, { is: "unwell", symptom: "over_limit", because });
    },
    log,
  });
  const exorcist: Exorcist = openExorcist({
    exorcism: parts.config.exorcism,
    declared: parts.config.processes,
    families: parts.families,
    clock: parts.clock,
    spare: parts.spare,
    views: () =>
      supervisor.names().map((name) => {
        const quietMs = parts.figures(name).progress_age_ms;
        const progressMs = quietMs === undefined ? undefined : parts.clock.monotonicMs() - quietMs;
        return viewOf(supervisor.spec(name), supervisor.state(name), progressMs);
      }),
    paused: parts.killSwitch,
    onExorcised: (record) => exorcised(voice, record),
    onFrozen: (workload, because) => supervisor.post(workload, { is: "unwell", symptom: "no_progress", because }),
    log,
  });
  const self: SelfGuard = guardSelf({
    self: parts.config.self,
    workloads: supervisor.names().length,
    clock: parts.clock,
    restartSelf(because) {
      voice.audit({ action: "agent.restart", target: "node", because, outcome: "success" });
      parts.restartSelf();
    },
    log,
  });
  return {
    warnings: self.warnings,
    killedForMemory: (workload) => limits.killedForMemory(workload),
    applied: (workload) => limits.applied(workload),
    async close() {
      self.close();
      await exorcist.close();
      limits.close();
    },
  };
}

/** What was done counts as success; what was only seen, or survives, does not. A storm pages a person. */
function exorcised(
  voice: ProtectParts["voice"],
  { owner, kind, who, because, did, freed, reaped, tookMs }: Exorcism,
): void {
  const words = `${kind}, ${did}: pid ${who.pid} (${who.name}): ${because}`;
  const acted = did === "ended" || did === "gone" || did === "asked" || did === "reaped" || did === "told";
  voice.audit({
    action: "workload.exorcise",
    target: owner ? `workload/${owner}` : "node",
    because: words,
    outcome: acted ? "success" : "failure",
    tookMs,
    after: { did, reaped, ...(freed && { freed }) },
  });
  if (did === "paged")
    voice.alert({ severity: "critical", workload: owner, incidentId: "", what: "process storm", message: words });
}
