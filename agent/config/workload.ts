/** What a config says of a workload beyond its supervision: safe mode, data, limits, figures, words. Pure. */
import { dirname } from "node:path";
import { nearest } from "@blueflame/shared/config/problems.ts";
import type {
  AgentConfig as AgentMessage,
  Workload,
} from "@blueflame/shared/gen/blueflame/config/v1/agent_config_pb.ts";
import type { DataSpec, WorkloadSpec } from "../supervise/spec.ts";
import { checkData, checkGivenUp, keptOf, placesOf } from "./places.ts";
import { ladderOf, sloOf } from "./sections.ts";
import { type AgentDraft, checkEnv, isWebAddress, millis, type Programs, programOf } from "./values.ts";

/** What issue by issue was added to a workload beyond its supervision; problems go to the draft. */
export function recoveryOf(
  workload: Workload,
  path: string,
  message: AgentMessage,
  configPath: string,
  draft: AgentDraft,
  programs: Programs,
) {
  const folder = dirname(configPath);
  const pools = message.pools.map(({ name }) => name);
  const { safeMode, limits, performance, data, slo, risk } = workload;
  for (const key of ["errorPattern", "corruptionPattern", "configErrorPattern"] as const) {
    // The others are empty where known texts of common programs are wanted.
    const problem = key !== "errorPattern" && workload[key] === "" ? undefined : patternProblem(workload[key]);
    const at = `${path}.${key.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}`;
    if (problem && !draft.isBroken(at)) draft.add(at, problem, "allowed is a regular expression of JavaScript");
  }
  if (workload.pool !== "" && !pools.includes(workload.pool) && !draft.isBroken(`${path}.pool`)) {
    const allowed = "allowed is the name of a pool of this file";
    draft.add(`${path}.pool`, `there is no pool "${workload.pool}"`, allowed, nearest(workload.pool, pools));
  }
  if (safeMode) checkEnv(safeMode.env, `${path}.safe_mode`, draft);
  checkLimits(limits, `${path}.limits`, draft);
  if (performance && !isWebAddress(performance.url) && !draft.isBroken(`${path}.performance.url`))
    draft.add(`${path}.performance.url`, "not a URL", "allowed is an http:// or https:// URL");
  return {
    ...(safeMode && {
      safeMode: {
        ...(safeMode.command.length > 0 && {
          command: programOf(safeMode.command, `${path}.safe_mode.command`, draft, {
            ...programs,
            searchPath: safeMode.env.PATH ?? programs.searchPath,
          }),
        }),
        env: safeMode.env,
      },
    }),
    configFiles: placesOf(workload.configFiles, `${path}.config_files`, folder, draft),
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
    ...(slo && { slo: sloOf(slo, `${path}.slo`, draft) }),
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
    artifacts: artifactsOf(workload, path, message, configPath, draft),
    sandboxExitCodes: workload.sandboxExitCodes,
    patterns: {
      error: workload.errorPattern,
      corruption: workload.corruptionPattern,
      configError: workload.configErrorPattern,
    },
  } satisfies Partial<WorkloadSpec>;
}

function artifactsOf(
  { artifacts }: Workload,
  path: string,
  message: AgentMessage,
  configPath: string,
  draft: AgentDraft,
): string[] {
  const kept = keptOf(message, configPath);
  const all = placesOf(artifacts, `${path}.artifacts`, dirname(configPath), draft);
  for (const [index, one] of all.entries())
    checkGivenUp(one, `${path}.artifacts[${index}]`, kept, "allowed is what may be taken away from it", draft);
  return all;
}

/** Below these nothing can live: a unit that was forgotten, and none at all is 0. */
const leastMemory = 1024n * 1024n;
const leastCpu = 0.01;

function checkLimits(limits: Workload["limits"], path: string, draft: AgentDraft): void {
  const memory = limits?.memory ?? 0n;
  if (memory > 0n && memory < leastMemory && !draft.isBroken(`${path}.memory`))
    draft.add(`${path}.memory`, `${memory} B`, "allowed is 0B (none), or at least 1MiB");
  const cpu = limits?.cpu ?? 0;
  if (cpu > 0 && cpu < leastCpu && !draft.isBroken(`${path}.cpu`))
    draft.add(`${path}.cpu`, `${cpu * 100}%`, "allowed is 0% (none), or at least 1%");
}

function dataOf(
  data: NonNullable<Workload["data"]>,
  path: string,
  folder: string,
  draft: AgentDraft,
  programs: Programs,
): DataSpec {
  const paths = placesOf(data.paths, `${path}.paths`, folder, draft);
  checkData(paths, `${path}.paths`, draft);
  return {
    paths,
    everyMs: millis(data.every),
    keep: data.keep,
    maxBytes: Number(data.maxSize),
    ...(data.dump.length > 0 && { dump: programOf(data.dump, `${path}.dump`, draft, programs) }),
    ...(data.verify.length > 0 && { verify: programOf(data.verify, `${path}.verify`, draft, programs) }),
  };
}

function patternProblem(source: string): string | undefined {
  try {
    // What matches nothing at all matches in every line: each would count, or ask for a restore.
    return new RegExp(source, "i").test("") ? "an expression that every line matches" : undefined;
  } catch (error) {
    return error instanceof Error ? error.message.slice(0, 200) : "not a regular expression";
  }
}
