import { basename, dirname, isAbsolute, resolve } from "node:path";
import { nearest } from "@blueflame/shared/config/problems.ts";
import { programWord } from "@blueflame/shared/config/quote.ts";
import type { AgentConfig as AgentMessage, Slo } from "@blueflame/shared/gen/blueflame/config/v1/agent_config_pb.ts";
import { printDuration } from "@blueflame/shared/units/units.ts";
import type { Duration } from "@bufbuild/protobuf/wkt";
import type { LadderPolicy } from "../ladder/policy.ts";
import type { SloSpec } from "../supervise/spec.ts";
import { checkGivenUp, keptOf, placesOf } from "./places.ts";
import { type AgentDraft, hostAndPort, isWebAddress, millis, type Programs, portProblem, programOf } from "./values.ts";

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
    if (names.has(name) || draft.isBroken(at)) return;
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
    slo: sloOf(message.slo, "slo", draft),
    self: { memoryBytes: Number(self?.memory ?? 0n), oomScore: self?.oomScore ?? 0 },
    disposable: disposableOf(message, path, draft),
    processes: processesOf(message, draft),
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

function disposableOf(message: AgentMessage, path: string, draft: AgentDraft): string[] {
  const kept = keptOf(message, path);
  const all = placesOf(message.disposable, "disposable", dirname(path), draft);
  for (const [index, one] of all.entries())
    checkGivenUp(one, `disposable[${index}]`, kept, "allowed is a folder that may be emptied", draft);
  return all;
}

/** Programs that everybody runs: by the program alone a stranger's process would be taken for ours. */
const everybodys =
  /^(ba|da|k|z|fi)?sh$|^(node|deno|bun|java|perl|ruby|php|env|sudo|su|login|init|systemd|sshd|cron)$|^python[\d.]*$/;

function processesOf({ processes }: AgentMessage, draft: AgentDraft): OwnedProcessSpec[] {
  return processes.map(({ name, program, argument }, index) => {
    const at = `processes[${index}]`;
    if (program !== "" && !isAbsolute(program))
      draft.add(`${at}.program`, `"${programWord(program)}" is no absolute path`, "allowed is an absolute path");
    else if (argument === "" && everybodys.test(basename(program)))
      draft.add(
        at,
        `${programWord(program)} is run by others too`,
        "allowed is such a program with a word of its `argument`",
      );
    return { name, program, argument };
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
  return {
    everyMs: millis(meta?.every),
    critical: meta?.critical ?? [],
    beatStaleMs: millis(meta?.beatStale),
    beatDeadMs: deadAfterMs("meta.beat_", meta?.beatStale, meta?.beatDead, draft),
    sources: (meta?.sources ?? []).map((one, index) => {
      const at = `meta.sources[${index}]`;
      if (one.workload !== "") known(one.workload, `${at}.workload`);
      if (one.url !== "" && one.field === "" && !one.rows)
        draft.add(`${at}.field`, "a url without a field", "allowed is the field that holds the time");
      return {
        name: one.name,
        external: one.external,
        staleMs: millis(one.stale),
        deadMs: deadAfterMs(`${at}.`, one.stale, one.dead, draft),
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
      if (one.workload !== "") known(one.workload, `${at}.workload`);
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

/** What is stale only after more than the default of dead, and says nothing of dead, is dead after this many times as long. */
const deadByStale = 4;

function deadAfterMs(
  prefix: string,
  stale: Duration | undefined,
  dead: Duration | undefined,
  draft: AgentDraft,
): number {
  const at = `${prefix}dead`;
  const [staleMs, deadMs] = [millis(stale), millis(dead)];
  if (deadMs >= staleMs) return deadMs;
  if (!draft.isGiven(at)) return staleMs * deadByStale;
  if (draft.isBroken(at) || draft.isBroken(`${prefix}stale`)) return deadMs;
  const saw = `dead after ${printDuration(deadMs)}, and stale only after ${printDuration(staleMs)}`;
  draft.add(at, saw, `allowed is at least \`${prefix.includes("beat_") ? "beat_" : ""}stale\``);
  return deadMs;
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

/** A Ladder section as the agent uses it. */
export function ladderOf(ladder: AgentMessage["ladder"]): LadderPolicy {
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

/** A Slo section as the agent uses it. A p99 that is left out is never below the p95 that was written. */
export function sloOf(slo: Slo | undefined, path: string, draft: AgentDraft): SloSpec {
  const [p95Ms, p99Ms] = [millis(slo?.p95), millis(slo?.p99)];
  const [p95, p99] = [`${path}.p95`, `${path}.p99`];
  if (p99Ms < p95Ms && draft.isGiven(p99) && !draft.isBroken(p99) && !draft.isBroken(p95)) {
    const saw = `99 of 100 within ${printDuration(p99Ms)}, and 95 of 100 only within ${printDuration(p95Ms)}`;
    draft.add(p99, saw, "allowed is at least `p95`");
  }
  return {
    availability: slo?.availability ?? 0,
    p95Ms,
    p99Ms: Math.max(p95Ms, p99Ms),
    errorRate: slo?.errorRate ?? 0,
    successRate: slo?.successRate ?? 0,
    windowMs: millis(slo?.window),
  };
}
