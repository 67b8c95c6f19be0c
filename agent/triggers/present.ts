import {
  type TriggerInfo,
  TriggerInfoSchema,
  TriggerStandSchema,
} from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { printDuration } from "@blueflame/shared/units/units.ts";
import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { figureWords } from "./metrics.ts";
import { scheduleWords } from "./schedule.ts";
import { own, type State, subjectOf, subjectWords, triggerOf } from "./state.ts";
import type { Trigger } from "./trigger.ts";

/** Every trigger with its condition and where it stands, by name. `nowMs` is monotonic. */
export function triggerInfos(triggers: readonly Trigger[], state: State, nowMs: number): TriggerInfo[] {
  return triggers
    .map((trigger) =>
      create(TriggerInfoSchema, {
        name: trigger.name,
        condition: conditionWords(trigger),
        playbook: trigger.playbook,
        severity: trigger.severity,
        active: !trigger.off,
        added: trigger.added,
        fired: BigInt(own(state.fired, trigger.name) ?? 0),
        stands: trigger.off ? [] : standsOf(trigger, state, nowMs),
      }),
    )
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function standsOf({ name }: Trigger, { stands }: State, nowMs: number) {
  return Object.entries(stands)
    .filter(([key]) => triggerOf(key) === name)
    .map(([key, { at, sinceMs, heldMs, because, excuse }]) =>
      create(TriggerStandSchema, {
        subject: subjectWords(subjectOf(key)),
        stand: at,
        because: excuse === undefined ? because : `${because}; ${excuse}`,
        since: durationFromMs(Math.max(0, Math.round(nowMs - (at === "pending" ? heldMs : sinceMs)))),
      }),
    )
    .sort((a, b) => (a.subject < b.subject ? -1 : 1));
}

/** What a trigger looks at, with its threshold: `cpu_busy_ratio above 85% for 3s`. */
export function conditionWords(trigger: Trigger): string {
  const { holdMs, workloads } = trigger;
  const hold = holdMs > 0 ? ` for ${printDuration(holdMs)}` : "";
  const of = workloads.length > 0 ? `, of ${workloads.join(", ")}` : "";
  return `${bareCondition(trigger)}${hold}${of}`;
}

function bareCondition(trigger: Trigger): string {
  switch (trigger.kind) {
    case "threshold":
    case "trust":
      return `${trigger.metric} ${trigger.side} ${figureWords(trigger.metric, trigger.threshold)}`;
    case "beat_silence":
      return `no beat of a workload for ${printDuration(trigger.withinMs)}, or its own longer beat.timeout`;
    case "api_timeouts":
      return `${trigger.count} requests timed out within ${printDuration(trigger.withinMs)}`;
    case "error_burst":
      return `${trigger.count} errors within ${printDuration(trigger.withinMs)}, and far more than usual`;
    case "sandbox":
      return "the sandbox of a workload has crashed";
    case "crash":
      return "a workload has ended by itself";
    case "frozen":
      return "a workload lives and does nothing";
    case "anomaly":
      return "the figures of a workload are unlike all that was seen of it";
    case "schedule":
      return scheduleWords(trigger.at);
    case "trend":
      return `${trigger.metric} will reach its limit within ${printDuration(trigger.withinMs)}`;
    case "job_late":
      return "a scheduled job was not picked up in time";
  }
}
