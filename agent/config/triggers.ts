import { nearest } from "@blueflame/shared/config/problems.ts";
import {
  type AgentConfig as AgentMessage,
  TriggerKind,
  type Trigger as Written,
} from "@blueflame/shared/gen/blueflame/config/v1/agent_config_pb.ts";
import type { Severity } from "../supervise/severity.ts";
import { figureWords, formOf, type Metric, metricOf, metrics, parseFigure } from "../triggers/metrics.ts";
import { catalogue, type LevelTrigger, type Trigger } from "../triggers/trigger.ts";
import { timeOfDay } from "./sections.ts";
import { type AgentDraft, millis } from "./values.ts";

/** What the names in a trigger may be. `playbooks` undefined: an operator's folder adds some, so they are not checked here. */
export interface KnownNames {
  readonly workloads: ReadonlySet<string>;
  readonly playbooks: ReadonlySet<string> | undefined;
}

/** Without a clear threshold of its own, a condition is over at 5 % on the good side of its threshold. */
const clearShare = 0.05;
const countMax = 1_000_000;

const kinds: Readonly<Record<TriggerKind, Trigger["kind"] | undefined>> = {
  [TriggerKind.UNSPECIFIED]: undefined,
  [TriggerKind.BEAT_SILENCE]: "beat_silence",
  [TriggerKind.API_TIMEOUTS]: "api_timeouts",
  [TriggerKind.THRESHOLD]: "threshold",
  [TriggerKind.TRUST]: "trust",
  [TriggerKind.SANDBOX]: "sandbox",
  [TriggerKind.ERROR_BURST]: "error_burst",
  [TriggerKind.ANOMALY]: "anomaly",
  [TriggerKind.SCHEDULE]: "schedule",
  [TriggerKind.TREND]: "trend",
  [TriggerKind.JOB_LATE]: "job_late",
  [TriggerKind.CRASH]: "crash",
  [TriggerKind.FROZEN]: "frozen",
};

/** Keys that mean something to one kind only, beside those of all. */
const own: Readonly<Record<Trigger["kind"], readonly string[]>> = {
  beat_silence: ["within", "hold", "clear_hold", "workloads"],
  api_timeouts: ["count", "within", "hold", "clear_hold", "workloads"],
  threshold: ["metric", "above", "below", "clear", "hold", "clear_hold", "workloads"],
  trust: ["below", "clear", "hold", "clear_hold", "workloads"],
  sandbox: ["clear_hold", "workloads"],
  error_burst: ["count", "within", "hold", "clear_hold", "workloads"],
  anomaly: ["hold", "clear_hold", "workloads"],
  schedule: ["at"],
  trend: ["metric", "within", "hold", "clear_hold", "workloads"],
  job_late: ["hold", "clear_hold"],
  crash: ["clear_hold", "workloads"],
  frozen: ["clear_hold", "workloads"],
};
const special = [...new Set(Object.values(own).flat())];

/** One entry of the file while it is read. */
interface Entry {
  readonly written: Written;
  readonly path: string;
  readonly draft: AgentDraft;
}

/** The triggers of the box as the file changes them, then those that it adds; problems go to the draft. */
export function triggersOf(message: AgentMessage, draft: AgentDraft, known: KnownNames): readonly Trigger[] {
  const changed = new Map<string, Trigger>();
  for (const [index, written] of message.triggers.entries()) {
    const trigger = triggerOf({ written, path: `triggers[${index}]`, draft }, known);
    if (trigger) changed.set(trigger.name, trigger);
  }
  const boxed = catalogue.map((trigger) => changed.get(trigger.name) ?? trigger);
  return [...boxed, ...[...changed.values()].filter(({ added }) => added)];
}

/** Undefined when it cannot be understood; the draft then says why. */
function triggerOf(entry: Entry, known: KnownNames): Trigger | undefined {
  const { written, path, draft } = entry;
  const box = catalogue.find(({ name }) => name === written.name);
  const kind = kinds[written.kind];
  if (box && kind && kind !== box.kind) {
    problem(entry, "kind", `"${box.name}" of the box is of another kind`, "allowed is another name for a new trigger");
    return undefined;
  }
  const like = box ?? catalogue.find((trigger) => trigger.kind === kind);
  if (!like) {
    const names = catalogue.map(({ name }) => name);
    if (!draft.isBroken(path))
      draft.add(
        path,
        `"${written.name}" is not one of the box, and has no kind`,
        "allowed is a name of the box, or a new one with its kind",
        nearest(written.name, names),
      );
    return undefined;
  }
  const foreign = special.filter((key) => !own[like.kind].includes(key) && draft.isGiven(`${path}.${key}`));
  for (const key of foreign)
    problem(entry, key, `it means nothing to a trigger of this kind`, `allowed are ${own[like.kind].join(", ")}`);
  checkNames(entry, known);
  const common = commonOf(entry, like, box !== undefined);
  return ofKind(entry, { ...like, ...common }, box !== undefined);
}

function commonOf({ written, path, draft }: Entry, like: Trigger, isBox: boolean) {
  const given = (key: string) => draft.isGiven(`${path}.${key}`);
  return {
    name: written.name,
    off: written.off,
    added: !isBox,
    workloads: written.workloads,
    holdMs: given("hold") ? millis(written.hold) : like.holdMs,
    clearHoldMs: given("clear_hold") ? millis(written.clearHold) : like.clearHoldMs,
    cooldownMs: given("cooldown") ? millis(written.cooldown) : like.cooldownMs,
    playbook: given("playbook") || !isBox ? written.playbook : like.playbook,
    // The rule's pattern lets only the words of severity through.
    severity: written.severity ? (written.severity as Severity) : isBox ? like.severity : ("medium" as const),
  };
}

/** Adds what only one kind has. */
function ofKind(entry: Entry, trigger: Trigger, isBox: boolean): Trigger | undefined {
  const { written, path, draft } = entry;
  const within = draft.isGiven(`${path}.within`) ? { withinMs: millis(written.within) } : {};
  switch (trigger.kind) {
    case "threshold":
    case "trust":
      return levelOf(entry, trigger, isBox);
    case "beat_silence":
      return { ...trigger, ...within };
    case "api_timeouts":
    case "error_burst": {
      if (!draft.isGiven(`${path}.count`)) return { ...trigger, ...within };
      if (written.count < 1 || written.count > countMax)
        problem(entry, "count", String(written.count), `allowed is a whole number from 1 to ${countMax}`);
      return { ...trigger, ...within, count: written.count };
    }
    case "trend": {
      const metric = written.metric || (isBox ? trigger.metric : "");
      if (!isBox && !draft.isGiven(`${path}.within`))
        problem(entry, "within", "a trend without `within`", "allowed is the time in which the limit would be reached");
      const found = metricNamed(entry, metric);
      if (found) checkReach(entry, metric, found);
      return { ...trigger, ...within, metric };
    }
    case "schedule": {
      if (isBox && !draft.isGiven(`${path}.at`)) return trigger;
      const at = timeOfDay(written.at);
      if (!at) problem(entry, "at", "a schedule without its time", "allowed is daily HH:MM or weekly DAY HH:MM");
      return at && { ...trigger, at };
    }
    default:
      return trigger;
  }
}

function levelOf(entry: Entry, like: LevelTrigger, isBox: boolean): LevelTrigger | undefined {
  const { written, path, draft } = entry;
  const name = like.kind === "trust" ? "trust" : written.metric || (isBox ? like.metric : "");
  const metric = metricNamed(entry, name);
  if (!metric) return undefined;
  checkReach(entry, name, metric);
  const sides = (["above", "below"] as const).filter((side) => draft.isGiven(`${path}.${side}`));
  const [side, another] = sides;
  if (another) {
    problem(entry, another, "both above and below", "allowed is one of above and below");
    return undefined;
  }
  const isKept = side === undefined && isBox && name === like.metric;
  if (side === undefined && !isKept) {
    const sought = like.kind === "trust" ? "below" : "one of above and below";
    if (!draft.isBroken(path)) draft.add(path, "no threshold", `allowed is ${sought}`);
    return undefined;
  }
  const threshold = side === undefined ? like.threshold : figureOf(entry, side, written[side], metric);
  if (threshold === undefined) return undefined;
  const level = { ...like, metric: name, side: side ?? like.side, threshold };
  if (!draft.isGiven(`${path}.clear`))
    return { ...level, clear: side === undefined ? like.clear : usualClear(level, metric) };
  const clear = figureOf(entry, "clear", written.clear, metric);
  if (clear === undefined) return undefined;
  if (level.side === "above" ? clear > threshold : clear < threshold)
    problem(
      entry,
      "clear",
      `${figureWords(name, clear)} is on the bad side of the threshold`,
      `allowed is at ${level.side === "above" ? "most" : "least"} ${figureWords(name, threshold)}`,
    );
  return { ...level, clear };
}

function usualClear({ side, threshold }: LevelTrigger, { max }: Metric): number {
  if (side === "above") return threshold * (1 - clearShare);
  return Math.min(threshold * (1 + clearShare), max ?? Number.POSITIVE_INFINITY);
}

function figureOf(entry: Entry, key: string, text: string, metric: Metric): number | undefined {
  const figure = parseFigure(metric, text);
  if (figure === undefined) problem(entry, key, `"${text.slice(0, 60)}"`, formOf(metric));
  return figure;
}

function metricNamed(entry: Entry, name: string): Metric | undefined {
  const metric = metricOf(name);
  if (metric) return metric;
  const saw = name === "" ? "no metric" : `there is no metric "${name.slice(0, 60)}"`;
  const meant = name === "" ? undefined : nearest(name, Object.keys(metrics));
  problem(entry, "metric", saw, "allowed is one that `blueflame-agent triggers --metrics` lists", meant);
  return undefined;
}

/** A figure of the node has no workloads. */
function checkReach(entry: Entry, name: string, { of }: Metric): void {
  if (of === "node" && entry.written.workloads.length > 0)
    problem(entry, "workloads", `${name} is a figure of the node`, "allowed are workloads for their own figures only");
}

function checkNames(entry: Entry, { workloads, playbooks }: KnownNames): void {
  const { written, path } = entry;
  for (const [index, name] of written.workloads.entries()) {
    if (workloads.has(name)) continue;
    const allowed = "allowed is the name of a workload of this file";
    problem(entry, `workloads[${index}]`, `there is no workload "${name}"`, allowed, nearest(name, [...workloads]));
  }
  if (written.playbook === "" || playbooks === undefined || playbooks.has(written.playbook)) return;
  const meant = nearest(written.playbook, [...playbooks]);
  const allowed = `allowed are ${[...playbooks].join(", ")}`;
  if (!entry.draft.isBroken(`${path}.playbook`))
    problem(entry, "playbook", `there is no playbook "${written.playbook.slice(0, 60)}"`, allowed, meant);
}

function problem({ path, draft }: Entry, key: string, saw: string, allowed: string, meant?: string): void {
  const at = `${path}.${key}`;
  if (!draft.isBroken(at)) draft.add(at, saw, allowed, meant);
}
