import type { Action, Playbook } from "./playbook.ts";

/** Steps that mean a workload, and do nothing without one; `verify` too, where it asks for no figure. */
const ofWorkload = new Set<Action["do"]>([
  "restart",
  "restart_dependencies",
  "rollback",
  "safe_mode",
  "quarantine",
  "signal",
  "restore",
]);
/** Steps that do nothing by themselves: they wait, or tell what others have done. */
const beside = new Set<Action["do"]>(["wait", "alert", "verify"]);

/** On the node it would do nothing, or only tell of what it has not done: it has to be run on a workload. */
export function needsWorkload({ steps }: Pick<Playbook, "steps">): boolean {
  const acts = steps.map(({ action }) => action.do).filter((does) => !beside.has(does));
  return acts.length > 0 && acts.every((does) => ofWorkload.has(does));
}
