import type { Playbook, Step } from "../playbooks/playbook.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import type { Backups } from "./backups.driver.ts";
import { holds, type Seen } from "./conditions.ts";
import { Refused } from "./performer.ts";
import type { Permission } from "./permission.driver.ts";
import type { PersonsRun } from "./remedies.driver.ts";
import type { Versions } from "./versions.driver.ts";

/** What a rehearsal asks. */
export interface RehearsalParts {
  readonly permission: Permission;
  readonly versions: Versions;
  readonly backups: Backups;
}

/**
 * Says what a playbook would do now, without doing it: conditions and authority are asked as they would be, with the figures of
 * now. What a step would meet after the steps before it is not known. Never rejects.
 */
export async function rehearse(
  playbook: Playbook,
  seen: Seen,
  parts: RehearsalParts,
  spec: WorkloadSpec | undefined,
): Promise<PersonsRun> {
  const steps: PersonsRun["steps"][number][] = [];
  for (const step of playbook.steps) steps.push(await rehearseStep(step, seen, parts, spec));
  return { ok: steps.every(({ outcome }) => outcome === "would" || outcome === "skipped"), steps };
}

async function rehearseStep(
  step: Step,
  seen: Seen,
  parts: RehearsalParts,
  spec: WorkloadSpec | undefined,
): Promise<PersonsRun["steps"][number]> {
  const { action } = step;
  const asked = step.when && holds(step.when, seen);
  if (asked && !asked.holds) return { step, outcome: "skipped", because: asked.because, tookMs: 0 };
  try {
    parts.permission.step(action.do, seen.workload);
    if (action.do === "exec")
      await parts.permission.deed("exec", seen.workload, { does: "run", command: action.command });
    const about = await aboutStep(step, seen, parts, spec);
    return { step, tookMs: 0, ...about };
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return { step, outcome: "refused", because: error.message, tookMs: 0 };
  }
}

type About = { readonly outcome: "would" | "skipped" | "failed"; readonly because: string };
const would = (because: string): About => ({ outcome: "would", because });

async function aboutStep(
  { action, when }: Step,
  { workload, has, alive }: Seen,
  { versions, backups }: RehearsalParts,
  spec: WorkloadSpec | undefined,
): Promise<About> {
  const aboutNode: About = { outcome: "skipped", because: "it is about a workload, and this run is about the node" };
  switch (action.do) {
    case "restart":
    case "restart_dependencies":
    case "quarantine":
      return workload === "" ? aboutNode : would(when ? "its condition holds now" : `on ${workload}`);
    case "safe_mode":
      if (workload === "") return aboutNode;
      return has.safe_mode ? would("it has a safe mode") : { outcome: "failed", because: "it has no safe mode" };
    case "rollback": {
      if (workload === "") return aboutNode;
      const target = await versions.target(workload);
      return target
        ? would(`from config ${target.from} to ${target.to}`)
        : { outcome: "failed", because: "there is no other config of it that was healthy" };
    }
    case "signal":
      if (workload === "") return aboutNode;
      return alive ? would("if it handles the signal") : { outcome: "skipped", because: "it does not run" };
    case "check_backups": {
      const newest = workload === "" ? undefined : backups.newest(workload);
      return would(newest ? `the newest is ${newest.id}` : "of each workload that declares data");
    }
    case "backup":
      return workload !== "" && !spec?.data
        ? { outcome: "skipped", because: "it declares no data" }
        : would("while it is well");
    default:
      return would(when ? "its condition holds now" : "");
  }
}
