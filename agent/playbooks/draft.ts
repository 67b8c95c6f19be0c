import { isAbsolute } from "node:path";
import { type Draft, draftConfig } from "@blueflame/shared/config/load.ts";
import { nearest } from "@blueflame/shared/config/problems.ts";
import { commandHint, programWord } from "@blueflame/shared/config/quote.ts";
import { invariant } from "@blueflame/shared/errors/fault.ts";
import {
  Declared,
  Earlier,
  type FigureBound,
  OnFailure,
  PlaybookSchema,
  type PlaybookStep,
  type When as WhenMessage,
  WorkloadCondition,
} from "@blueflame/shared/gen/blueflame/config/v1/playbook_pb.ts";
import { parseDuration, parsePercent, parseSize } from "@blueflame/shared/units/units.ts";
import { type Duration, durationMs } from "@bufbuild/protobuf/wkt";
import {
  type Action,
  type Argv,
  type Bound,
  type HookSignal,
  type Playbook,
  placeholders,
  type Step,
  type When,
} from "./playbook.ts";

type PlaybookDraft = Draft<typeof PlaybookSchema>;

/** A larger playbook is a mistake. */
export const playbookBytesMax = 65_536;

/**
 * Reads the text of one playbook. Throws CONFIG_INVALID with every problem by file, line and column; nothing of it may be used
 * then. `added` when it comes from the operator's folder.
 */
export function playbookOf(text: string, fileName: string, added: boolean): Playbook {
  const draft = draftConfig(PlaybookSchema, text, fileName);
  if (Buffer.byteLength(text) > playbookBytesMax) draft.add("", "larger than 64 KiB", "allowed is at most 64 KiB");
  const { name, description, pool, timeout, steps } = draft.message;
  const read = steps.map((step, index) => stepOf(step, `steps[${index}]`, draft));
  draft.finish();
  return {
    name,
    description,
    pool,
    timeoutMs: millis(timeout),
    steps: read.filter((step) => step !== undefined),
    added,
  };
}

/** The value of a figure as people write it: 85% is 0.85, 1s is 1000, 2GiB its bytes, 5 is 5; undefined for anything else. */
export function figureOf(text: string): number | undefined {
  if (/^-?\d{1,15}(\.\d{1,9})?$/.test(text)) return Number(text);
  return parsePercent(text) ?? parseDuration(text) ?? parseSize(text);
}

function stepOf(step: PlaybookStep, path: string, draft: PlaybookDraft): Step | undefined {
  const action = actionOf(step, path, draft);
  if (!action) {
    if (!draft.isBroken(path)) draft.add(path, "a step that does nothing", "allowed is one action, like restart");
    return undefined;
  }
  return {
    name: step.name,
    ...(step.when && { when: whenOf(step.when, `${path}.when`, draft) }),
    timeoutMs: patienceOf(action, millis(step.timeout)),
    onFailure: step.onFailure === OnFailure.CONTINUE ? "continue" : "stop",
    once: step.once,
    action,
  };
}

/** Waiting is not hanging: a pause may be longer than the step's timeout. */
function patienceOf(action: Action, timeoutMs: number): number {
  const ownMs = action.do === "wait" ? action.ms : action.do === "verify" ? action.withinMs : 0;
  return Math.max(timeoutMs, ownMs + 1000);
}

const plain = {
  restart: { do: "restart" },
  restartDependencies: { do: "restart_dependencies" },
  rollback: { do: "rollback" },
  safeMode: { do: "safe_mode" },
  quarantine: { do: "quarantine" },
  trimLogs: { do: "trim_logs" },
  diagnose: { do: "diagnose" },
  backup: { do: "backup" },
  checkBackups: { do: "check_backups" },
  checkStore: { do: "check_store" },
} as const satisfies Record<string, Action>;

function actionOf({ do: what }: PlaybookStep, path: string, draft: PlaybookDraft): Action | undefined {
  switch (what.case) {
    case undefined:
      return undefined;
    case "cleanDisposable": {
      const { olderThan, untilUsed } = what.value;
      return { do: "clean_disposable", olderThanMs: millis(olderThan), untilUsed };
    }
    case "signal":
      // The rule's pattern lets only these through.
      return { do: "signal", signal: what.value.signal as HookSignal };
    case "exec":
      return execOf(what.value, `${path}.exec`, draft);
    case "http": {
      const { method, port, path: at, body } = what.value;
      if (body !== "" && method === "GET") draft.add(`${path}.http.body`, "a body with GET", "allowed with POST only");
      return { do: "http", method: method === "GET" ? "GET" : "POST", port, path: at, body };
    }
    case "wait":
      return { do: "wait", ms: millis(what.value.for) };
    case "verify": {
      const { figure, within } = what.value;
      const at = `${path}.verify`;
      if (figure === "" && (what.value.above || what.value.below)) {
        draft.add(`${at}.figure`, "a bound without a figure", "allowed is the name of a figure");
      }
      const bound = figure === "" ? undefined : boundOf(what.value, at, draft);
      return { do: "verify", withinMs: millis(within), ...(bound && { bound }) };
    }
    case "alert":
      return { do: "alert", severity: severityOf(what.value.severity), message: what.value.message };
    default:
      return plain[what.case];
  }
}

function execOf(exec: { command: string[]; cwd: string }, path: string, draft: PlaybookDraft): Action {
  const [file = "", ...args] = exec.command;
  const at = (index: number) => `${path}.command[${index}]`;
  if (!isAbsolute(file) && !draft.isBroken(`${path}.command`)) {
    const allowed = `allowed is the absolute path of a program${commandHint(file)}`;
    draft.add(at(0), `"${programWord(file)}" is no absolute path`, allowed);
  }
  for (const [index, word] of args.entries()) {
    const problem = placeholderProblem(word);
    if (problem) draft.add(at(index + 1), problem.saw, problem.allowed, problem.meant);
  }
  if (exec.cwd !== "" && !isAbsolute(exec.cwd)) {
    draft.add(`${path}.cwd`, `"${exec.cwd}" is no absolute path`, "allowed is an absolute path, or nothing");
  }
  const command: Argv = [file, ...args];
  return { do: "exec", command, cwd: exec.cwd };
}

/** A value that became a part of an argument could be read as something else: it stands alone, or not at all. */
function placeholderProblem(word: string): { saw: string; allowed: string; meant?: string } | undefined {
  const allowed = `allowed are ${placeholders.map((name) => `{${name}}`).join(", ")}, each as a whole argument`;
  const inside = placeholders.find((name) => word.includes(`{${name}}`) && word !== `{${name}}`);
  if (inside) return { saw: `{${inside}} inside an argument`, allowed };
  const whole = /^\{([a-z_]+)\}$/.exec(word)?.[1];
  if (whole === undefined || (placeholders as readonly string[]).includes(whole)) return undefined;
  const meant = nearest(whole, placeholders);
  return { saw: `"${word}"`, allowed, ...(meant && { meant: `{${meant}}` }) };
}

function whenOf(when: WhenMessage, path: string, draft: PlaybookDraft): When {
  const any = when.any.map((bound, index) => boundOf(bound, `${path}.any[${index}]`, draft));
  const workload = conditions[when.workload as keyof typeof conditions];
  const has = declared[when.has as keyof typeof declared];
  const earlier = before[when.earlier as keyof typeof before];
  if (any.length === 0 && !workload && !has && !earlier && !draft.isBroken(path)) {
    draft.add(path, "a condition that asks nothing", "allowed is at least one of any, workload, has, earlier");
  }
  return {
    any: any.filter((bound) => bound !== undefined),
    ...(workload && { workload }),
    ...(has && { has }),
    ...(earlier && { earlier }),
  };
}

const conditions = {
  [WorkloadCondition.RUNNING]: "running",
  [WorkloadCondition.DOWN]: "down",
  [WorkloadCondition.WELL]: "well",
  [WorkloadCondition.UNWELL]: "unwell",
} as const;
const declared = {
  [Declared.SAFE_MODE]: "safe_mode",
  [Declared.DATA]: "data",
  [Declared.ARTIFACTS]: "artifacts",
  [Declared.DEPENDENCIES]: "dependencies",
  [Declared.HEALTHY_CONFIG]: "healthy_config",
} as const;
const before = { [Earlier.FAILED]: "failed", [Earlier.DONE]: "done" } as const;

function boundOf(
  { figure, above, below }: Pick<FigureBound, "figure" | "above" | "below">,
  path: string,
  draft: PlaybookDraft,
): Bound | undefined {
  if ((above === "") === (below === "")) {
    if (!draft.isBroken(path)) {
      const saw = above === "" ? "neither above nor below" : "both above and below";
      draft.add(path, saw, "allowed is exactly one of above and below");
    }
    return undefined;
  }
  const is = above === "" ? "below" : "above";
  const text = above || below;
  const value = figureOf(text);
  if (value === undefined) {
    draft.add(
      `${path}.${is}`,
      `"${text.slice(0, 60)}"`,
      "allowed is a figure with its unit, like 85%, 1000ms, 2GiB or 5",
    );
    return undefined;
  }
  return { figure, is, value, text };
}

const severities = ["low", "medium", "high", "critical"] as const;

function severityOf(word: string): (typeof severities)[number] {
  return severities.find((one) => one === word) ?? "medium";
}

function millis(duration: Duration | undefined): number {
  invariant(duration !== undefined, "the loader fills in durations that have a default");
  return durationMs(duration);
}
