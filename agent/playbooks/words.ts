import { programWord } from "@blueflame/shared/config/quote.ts";
import { printDuration, printPercent } from "@blueflame/shared/units/units.ts";
import type { Action, Bound, Step, When } from "./playbook.ts";

/** A step as a person reads it: its name, or what it does, and when. */
export function stepWords(step: Step): string {
  return worded(step, actionWords(step.action));
}

/** As {@link stepWords}, for whoever may ask the agent: what is handed to programs and servers is left out. */
export function stepDeed(step: Step): string {
  return worded(step, deedWords(step.action));
}

function worded(step: Step, what: string): string {
  const words = step.name === "" ? what : `${step.name} (${what})`;
  const when = step.when ? `, ${whenWords(step.when)}` : "";
  return `${words}${when}${step.onFailure === "continue" ? "; goes on if it fails" : ""}`;
}

/** `p95_latency_ms above 1000ms`. */
export function boundWords({ figure, is, text }: Bound): string {
  return `${figure} ${is} ${text}`;
}

/** What an action does, for records that must hold no secret: what is handed to programs and servers is left out. */
export function deedWords(action: Action): string {
  if (action.do === "exec") return `run ${programWord(action.command[0])}`;
  if (action.do === "http") return `${action.method} ${action.path.split("?")[0]}`;
  return actionWords(action);
}

function actionWords(action: Action): string {
  switch (action.do) {
    case "clean_disposable":
      return `remove disposable files older than ${printDuration(action.olderThanMs)} until the disk is ${printPercent(action.untilUsed)} full`;
    case "signal":
      return `send ${action.signal}`;
    case "exec":
      return `run ${action.command.join(" ")}`;
    case "http":
      return `${action.method} http://127.0.0.1:${action.port === 0 ? "(its own port)" : action.port}${action.path}`;
    case "wait":
      return `wait ${printDuration(action.ms)}`;
    case "verify":
      return action.bound
        ? `verify that ${boundWords(action.bound)} within ${printDuration(action.withinMs)}`
        : `verify that it is well within ${printDuration(action.withinMs)}`;
    case "alert":
      return `tell people (${action.severity}): ${action.message}`;
    default:
      return plain[action.do];
  }
}

const plain = {
  restart: "restart it",
  restart_dependencies: "restart what it depends on and is not well",
  rollback: "go back to the last healthy config",
  safe_mode: "start it in safe mode",
  quarantine: "move its artifacts into quarantine",
  trim_logs: "remove own logs and snapshots beyond their bounds",
  diagnose: "write a diagnostic bundle",
  backup: "back up its data",
  check_backups: "check the newest backup",
  check_store: "check the agent's store",
  restore: "restore the newest verified backup",
  bootstrap: "run the emergency bootstrap",
} as const;

function whenWords({ any, workload, has, earlier }: When): string {
  const parts: string[] = [];
  if (any.length > 0) parts.push(any.map(boundWords).join(" or "));
  if (workload) parts.push(`it is ${workload}`);
  if (has) parts.push(`it has ${has.replaceAll("_", " ")}`);
  if (earlier) parts.push(earlier === "failed" ? "a step before failed" : "no step before failed");
  return `when ${parts.join(" and ")}`;
}
