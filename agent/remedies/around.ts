import type { Random } from "@blueflame/shared/random/random.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import type { Facts } from "../diagnosis/facts.ts";
import type { Argv } from "../playbooks/playbook.ts";
import type { AgentStore } from "../store/ports.ts";
import type { Severity } from "../supervise/severity.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import type { Figures } from "../triggers/observation.ts";
import type { RemedyResult } from "./ports.ts";

/** How a workload stands, as its machine knows it. */
export interface Stand {
  /** stopped: a person wants it down, or it has completed. recovering: not well, and its machine is at work on it. */
  readonly is: "well" | "recovering" | "down" | "stopped";
  /** It has completed its work: nobody has to wait for it. */
  readonly done?: true;
  /** Its process, while one lives. */
  readonly instance?: { readonly id: string; readonly pid: number; readonly startTicks: number };
  /** When the healer has started it lately. */
  readonly recentMs?: readonly number[];
  /** Its machine waits for the remedy that runs now: its next start comes when that has ended. */
  readonly awaitsRemedy?: boolean;
}

/** One action for the audit (SYN-10). `before` and `after` are JSON-able, small and free of secrets. */
export interface RemedyAudit {
  /** `remedy.` and what was done, or `backup`, `config`: a stable word. */
  readonly action: string;
  /** agent, or person:NAME. */
  readonly actor: string;
  /** Empty: the node. */
  readonly workload: string;
  readonly because: string;
  readonly outcome: "success" | "failure" | "refused";
  readonly tookMs: number;
  readonly incidentId: string;
  readonly before?: unknown;
  readonly after?: unknown;
}

/** What people are told. */
export interface RemedyAlert {
  readonly severity: Severity;
  /** Empty: the node. */
  readonly workload: string;
  readonly incidentId: string;
  /** A stable word: what it is about. */
  readonly what: string;
  /** One sentence. */
  readonly message: string;
}

/**
 * What the remedies need of the running agent. None of these may throw or reject, except where it says so; what takes time is
 * bounded by whoever implements it, and the remedies stop waiting at their own budgets.
 */
export interface Around {
  readonly clock: Clock;
  readonly random: Random;
  readonly dataDir: string;
  /** The folder of the workloads' output, `NAME.log`. */
  readonly outputDir: string;
  readonly bootId: string;
  /** Workloads as the config has them, in any order. */
  readonly specs: readonly WorkloadSpec[];
  /** The node's sections: where playbooks lie (empty: the box only), what may be emptied, how many of a pool at once. */
  readonly playbooks: string;
  readonly disposable: readonly string[];
  readonly pools: Readonly<Record<string, number>>;
  /** What guards the node beyond the data directory, absolute: the agent's config and binary, the link's CA, certificate and key. */
  readonly guarded: readonly string[];
  /** `blueflame-agent emergency --auto …`; absent: there is no full bootstrap. */
  readonly emergency?: Argv;
  readonly store: Pick<AgentStore, "configVersions" | "saveConfigVersions" | "configContents">;

  stand(workload: string): Stand;
  /**
   * Stops and starts it through its machine; `safe` with its safe mode. Resolves when that has been asked for and is durable, or
   * with why not (a person stopped it, the kill switch is on). The instance that runs afterwards has another id.
   */
  restart(workload: string, mode: "normal" | "safe", because: string): Promise<RemedyResult>;
  /** Resolves when it is up and healthy, at the latest after `limitMs`; true when it is. Also ends when `signal` aborts. */
  untilWell(workload: string, limitMs: number, signal: AbortSignal): Promise<boolean>;
  /** The newest figures; of the node when `workload` is empty. */
  figures(workload: string): Figures;
  killSwitch(): boolean;

  /** Checks the agent's own store without changing it. */
  checkStore(): Promise<RemedyResult>;
  /** What the diagnosis asks of others: signature, stale external sources, what else is exhausted (memory limit, OOM kills), advice. */
  signature(workload: string, lastLines: readonly string[]): string;
  externalStale(workload: string): readonly string[];
  exhausted(workload: string): readonly string[];
  advice(workload: string, signature: string): Facts["advice"];
  /** The playbooks that others go before there, and why. */
  demoted(workload: string): NonNullable<Facts["demoted"]>;

  audit(fact: RemedyAudit): void;
  alert(fact: RemedyAlert): void;
  log(level: "info" | "warn" | "error", fields: Record<string, unknown>, message: string): void;
}
