import { dirname, isAbsolute, resolve } from "node:path";
import { nearest } from "@blueflame/shared/config/problems.ts";
import type {
  AgentConfig as AgentMessage,
  Slo,
  Workload,
} from "@blueflame/shared/gen/blueflame/config/v1/agent_config_pb.ts";
import {
  type AgentDraft,
  checkEnv,
  hostAndPort,
  millis,
  type Programs,
  portProblem,
  programOf,
} from "./config-values.ts";
import type { LadderPolicy } from "./ladder/policy.ts";
import type { DataSpec, SloSpec, WorkloadSpec } from "./supervise/spec.ts";

/** Where data comes from; `stale` and `dead` count its age. */
export interface SourceSpec {
  readonly name: string;
  /** Somebody else makes it: stale means waiting, never an action. */
  readonly external: boolean;
  readonly staleMs: number;
  readonly deadMs: number;
  /** Exactly one of the two is not empty; `file` is absolute. */
  readonly file: string;
  readonly url: string;
  /** Empty: the modification time of the file. */
  readonly field: string;
  readonly rows: boolean;
  /** The workload that makes the data; empty: none. */
  readonly workload: string;
}

/** One rule that data must obey. */
export interface CoherenceSpec {
  readonly name: string;
  readonly file: string;
  readonly url: string;
  readonly field: string;
  readonly min?: number;
  readonly max?: number;
  readonly oneOf: readonly string[];
  readonly monotone: boolean;
  readonly workload: string;
}

/** What M1 to M5 look at. */
export interface MetaSpec {
  readonly everyMs: number;
  /** Empty: all that are not stopped on purpose. */
  readonly critical: readonly string[];
  readonly beatStaleMs: number;
  readonly beatDeadMs: number;
  readonly sources: readonly SourceSpec[];
  readonly ports: readonly { readonly host: string; readonly port: number }[];
  readonly coherence: readonly CoherenceSpec[];
  readonly controlPlane: readonly string[];
}

/** A time of day by the machine's clock; `weekday` 0 is Sunday, absent means every day. */
export interface TimeOfDay {
  readonly hour: number;
  readonly minute: number;
  readonly weekday?: number;
}

/** A job that something else runs. Exactly one of `everyMs` and `at` is there. */
export interface JobSpec {
  readonly name: string;
  readonly everyMs?: number;
  readonly at?: TimeOfDay;
  readonly file: string;
  readonly graceMs: number;
  readonly command?: readonly [file: string, ...args: string[]];
}

/** Processes that are ours although the agent did not start them. */
export interface OwnedProcessSpec {
  readonly name: string;
  readonly program: string;
  readonly argument: string;
}

/** What of the config file is about the node and not about one workload. */
export interface NodeSections {
  /** Absolute; empty: only the playbooks of the box. */
  readonly playbooks: string;
  readonly meta: MetaSpec;
  readonly jobs: readonly JobSpec[];
  /** Pool → how many at once. */
  readonly pools: Readonly<Record<string, number>>;
  readonly slo: SloSpec;
  readonly self: { readonly memoryBytes: number; readonly oomScore: number };
  /** Absolute. */
  readonly disposable: readonly string[];
  readonly processes: readonly OwnedProcessSpec[];
  readonly ladder: LadderPolicy;
  readonly learningFrozen: boolean;
  readonly exorcism: {
    readonly reportOnly: boolean;
    readonly everyMs: number;
    readonly cpu: number;
    readonly stuckAfterMs: number;
  };
  /** Empty: nobody is paged by a command. */
  readonly pager: readonly string[];
}

const weekdays = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/** `daily HH:MM` or `weekly DAY HH:MM`; undefined for what is neither. */
export function timeOfDay(text: string): TimeOfDay | undefined {
  const found = /^(?:daily|weekly (\w{3})) (\d\d):(\d\d)$/.exec(text);
  if (!found) return undefined;
  const weekday = found[1] === undefined ? undefined : weekdays.indexOf(found[1]);
  if (weekday === -1) return undefined;
  return { hour: Number(found[2]), minute: Number(found[3]), ...(weekday !== undefined && { weekday }) };
}

/** The node's sections, checked; problems go to the draft. `path` is the config file's. */
export function nodeSections(message: AgentMessage, path: string, draft: AgentDraft, programs: Programs): NodeSections {
  const folder = dirname(path);
  const names = new Set(message.workloads.map(({ name }) => name));
  const { self, ladder, exorcism, learning } = message;
  const known = (name: string, at: string) => {
    if (name === "" || names.has(name) || draft.isBroken(at)) return;
    const allowed = "allowed is the name of a workload of this file";
    draft.add(at, `there is no workload "${name}"`, allowed, nearest(name, [...names]));
  };
  for (const [index, name] of (message.meta?.critical ?? []).entries()) known(name, `meta.critical[${index}]`);
  for (const [index, name] of (message.meta?.controlPlane ?? []).entries()) known(name, `meta.control_plane[${index}]`);
  return {
    playbooks: message.playbooks && resolve(folder, message.playbooks),
    meta: metaOf(message, folder, draft, known),
    jobs: jobsOf(message, folder, draft, programs),
    pools: Object.fromEntries(message.pools.map(({ name, max }) => [name, max])),
    slo: sloOf(message.slo),
    self: { memoryBytes: Number(self?.memory ?? 0n), oomScore: self?.oomScore ?? 0 },
    disposable: disposableOf(message, folder, draft),
    processes: message.processes.map(({ name, program, argument }, index) => {
      if (program !== "" && !isAbsolute(program))
        draft.add(`processes[${index}].program`, `"${program}" is no absolute path`, "allowed is an absolute path");
      return { name, program, argument };
    }),
    ladder: ladderOf(ladder),
    learningFrozen: learning?.frozen ?? false,
    exorcism: {
      reportOnly: exorcism?.reportOnly ?? false,
      everyMs: millis(exorcism?.every),
      cpu: exorcism?.cpu ?? 0,
      stuckAfterMs: millis(exorcism?.stuckAfter),
    },
    pager: message.pager.length > 0 ? programOf(message.pager, "pager", draft, programs) : [],
  };
}

/** What a slip of the hand must not hand over to a clean-up: the roots of a system. */
const systemFolders = "/ /bin /boot /dev /etc /home /lib /lib64 /opt /proc /root /run /sbin /srv /sys /usr /var".split(
  " ",
);

function disposableOf({ disposable }: AgentMessage, folder: string, draft: AgentDraft): string[] {
  return disposable.map((one, index) => {
    const path = resolve(folder, one);
    if (systemFolders.includes(path))
      draft.add(`disposable[${index}]`, `${path} is the system's`, "allowed is a folder that may be emptied");
    return path;
  });
}

function metaOf(
  { meta }: AgentMessage,
  folder: string,
  draft: AgentDraft,
  known: (name: string, at: string) => void,
): MetaSpec {
  const placeOf = (file: string, url: string, at: string) => {
    if ((file === "") === (url === "") && !draft.isBroken(at))
      draft.add(
        at,
        file === "" ? "neither file nor url" : "both file and url",
        "allowed is exactly one of file and url",
      );
    if (url !== "" && !isWebAddress(url) && !draft.isBroken(`${at}.url`))
      draft.add(`${at}.url`, "not a URL", "allowed is an http:// or https:// URL");
    return { file: file && resolve(folder, file), url };
  };
  if (millis(meta?.beatDead) < millis(meta?.beatStale) && !draft.isBroken("meta.beat_dead"))
    draft.add("meta.beat_dead", "dead comes before stale", "allowed is at least `beat_stale`");
  return {
    everyMs: millis(meta?.every),
    critical: meta?.critical ?? [],
    beatStaleMs: millis(meta?.beatStale),
    beatDeadMs: millis(meta?.beatDead),
    sources: (meta?.sources ?? []).map((one, index) => {
      const at = `meta.sources[${index}]`;
      known(one.workload, `${at}.workload`);
      if (one.url !== "" && one.field === "" && !one.rows)
        draft.add(`${at}.field`, "a url without a field", "allowed is the field that holds the time");
      if (millis(one.dead) < millis(one.stale) && !draft.isBroken(`${at}.dead`))
        draft.add(`${at}.dead`, "dead comes before stale", "allowed is at least `stale`");
      return {
        name: one.name,
        external: one.external,
        staleMs: millis(one.stale),
        deadMs: millis(one.dead),
        ...placeOf(one.file, one.url, at),
        field: one.field,
        rows: one.rows,
        workload: one.workload,
      };
    }),
    ports: (meta?.ports ?? []).map((address, index) => {
      const at = `meta.ports[${index}]`;
      const refused = portProblem(address);
      if (refused && !draft.isBroken(at)) draft.add(at, refused, "allowed is a port from 1 to 65535");
      return hostAndPort(address);
    }),
    coherence: (meta?.coherence ?? []).map((one, index) => {
      const at = `meta.coherence[${index}]`;
      known(one.workload, `${at}.workload`);
      if (one.min !== undefined && one.max !== undefined && one.max < one.min)
        draft.add(`${at}.max`, `${one.max} is below the min of ${one.min}`, "allowed is at least `min`");
      return {
        name: one.name,
        ...placeOf(one.file, one.url, at),
        field: one.field,
        ...(one.min !== undefined && { min: one.min }),
        ...(one.max !== undefined && { max: one.max }),
        oneOf: one.oneOf,
        monotone: one.monotone,
        workload: one.workload,
      };
    }),
    controlPlane: meta?.controlPlane ?? [],
  };
}

function jobsOf({ jobs }: AgentMessage, folder: string, draft: AgentDraft, programs: Programs): JobSpec[] {
  return jobs.map((job, index) => {
    const path = `jobs[${index}]`;
    const at = timeOfDay(job.at);
    if ((job.every === undefined) === (at === undefined) && !draft.isBroken(path))
      draft.add(path, at ? "both every and at" : "neither every nor at", "allowed is exactly one of every and at");
    return {
      name: job.name,
      ...(job.every && { everyMs: millis(job.every) }),
      ...(at && !job.every && { at }),
      file: resolve(folder, job.file),
      graceMs: millis(job.grace),
      ...(job.command.length > 0 && { command: programOf(job.command, `${path}.command`, draft, programs) }),
    };
  });
}

function ladderOf(ladder: AgentMessage["ladder"]): LadderPolicy {
  return {
    budgetMs: {
      quick_restart: millis(ladder?.quickRestart),
      safe_mode: millis(ladder?.safeMode),
      config_rollback: millis(ladder?.configRollback),
      dependency_restart: millis(ladder?.dependencyRestart),
      backup_restore: millis(ladder?.backupRestore),
      full_bootstrap: millis(ladder?.fullBootstrap),
    },
    recentConfigMs: millis(ladder?.recentConfig),
  };
}

/** A Slo section as the agent uses it. */
export function sloOf(slo: Slo | undefined): SloSpec {
  return {
    availability: slo?.availability ?? 0,
    p95Ms: millis(slo?.p95),
    p99Ms: millis(slo?.p99),
    errorRate: slo?.errorRate ?? 0,
    successRate: slo?.successRate ?? 0,
    windowMs: millis(slo?.window),
  };
}

/** What issue by issue was added to a workload beyond its supervision; problems go to the draft. */
export function recoveryOf(
  workload: Workload,
  path: string,
  message: AgentMessage,
  folder: string,
  draft: AgentDraft,
  programs: Programs,
) {
  const pools = message.pools.map(({ name }) => name);
  const { safeMode, limits, performance, data, slo, risk } = workload;
  for (const key of ["errorPattern", "corruptionPattern", "configErrorPattern"] as const) {
    const problem = key === "errorPattern" && workload[key] === "" ? everyLine : patternProblem(workload[key]);
    const at = `${path}.${key.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}`;
    if (problem && !draft.isBroken(at)) draft.add(at, problem, "allowed is a regular expression of JavaScript");
  }
  if (workload.pool !== "" && !pools.includes(workload.pool) && !draft.isBroken(`${path}.pool`)) {
    const allowed = "allowed is the name of a pool of this file";
    draft.add(`${path}.pool`, `there is no pool "${workload.pool}"`, allowed, nearest(workload.pool, pools));
  }
  if (safeMode) checkEnv(safeMode.env, `${path}.safe_mode`, draft);
  if (performance && !isWebAddress(performance.url) && !draft.isBroken(`${path}.performance.url`))
    draft.add(`${path}.performance.url`, "not a URL", "allowed is an http:// or https:// URL");
  return {
    ...(safeMode && {
      safeMode: {
        ...(safeMode.command.length > 0 && {
          command: programOf(safeMode.command, `${path}.safe_mode.command`, draft, programs),
        }),
        env: safeMode.env,
      },
    }),
    configFiles: workload.configFiles.map((file) => resolve(folder, file)),
    ...(data && { data: dataOf(data, `${path}.data`, folder, draft, programs) }),
    limits: { memoryBytes: Number(limits?.memory ?? 0n), cpu: limits?.cpu ?? 0, tasks: limits?.tasks ?? 0 },
    ...(performance && {
      performance: {
        url: performance.url,
        everyMs: millis(performance.every),
        timeoutMs: Math.min(millis(performance.timeout), millis(performance.every)),
      },
    }),
    ...(workload.progress && { progressMs: millis(workload.progress) }),
    ladder: ladderOf(message.ladder),
    notify: workload.notify,
    ...(slo && { slo: sloOf(slo) }),
    ...(risk && {
      risk: {
        lossStreak: risk.lossStreak,
        sessionLoss: Number(risk.sessionLoss),
        sessionTrades: risk.sessionTrades,
        sessionExposure: Number(risk.sessionExposure),
        openExposure: Number(risk.openExposure),
      },
    }),
    pool: workload.pool,
    artifacts: workload.artifacts.map((one) => resolve(folder, one)),
    sandboxExitCodes: workload.sandboxExitCodes,
    patterns: {
      error: workload.errorPattern,
      corruption: workload.corruptionPattern,
      configError: workload.configErrorPattern,
    },
  } satisfies Partial<WorkloadSpec>;
}

function dataOf(
  data: NonNullable<Workload["data"]>,
  path: string,
  folder: string,
  draft: AgentDraft,
  programs: Programs,
): DataSpec {
  return {
    paths: data.paths.map((one) => resolve(folder, one)),
    everyMs: millis(data.every),
    keep: data.keep,
    maxBytes: Number(data.maxSize),
    ...(data.dump.length > 0 && { dump: programOf(data.dump, `${path}.dump`, draft, programs) }),
    ...(data.verify.length > 0 && { verify: programOf(data.verify, `${path}.verify`, draft, programs) }),
  };
}

const everyLine = "an empty expression, which every line matches";

function isWebAddress(url: string): boolean {
  return /^https?:/.test(url) && URL.canParse(url);
}

function patternProblem(source: string): string | undefined {
  try {
    new RegExp(source, "i");
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message.slice(0, 200) : "not a regular expression";
  }
}
