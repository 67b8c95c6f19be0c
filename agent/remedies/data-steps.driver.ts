import { createHash } from "node:crypto";
import { join } from "node:path";
import type { WorkloadSpec } from "../supervise/spec.ts";
import type { Around } from "./around.ts";
import type { Backups } from "./backups.driver.ts";
import type { Manifest } from "./backups.ts";
import { cleanDisposable } from "./clean.driver.ts";
import { writeBundle } from "./diagnose.driver.ts";
import type { Journal } from "./journal.driver.ts";
import { wordsOf } from "./patience.driver.ts";
import { done, failed, type Outcome, outcomeOf, type Performers, type StepContext, skipped } from "./performer.ts";
import type { Permission } from "./permission.driver.ts";
import type { Run } from "./progress.ts";
import { quarantine } from "./quarantine.driver.ts";
import { HalfRestored, isHalfDone, type Restore, restoreData } from "./restore.driver.ts";
import { trimOwn } from "./trim.driver.ts";
import type { Versions } from "./versions.driver.ts";

/** What the steps about disks are made of. */
export interface DataParts {
  readonly around: Around;
  readonly versions: Versions;
  readonly backups: Backups;
  readonly permission: Permission;
  readonly journal: Journal;
  readonly specOf: (workload: string) => WorkloadSpec | undefined;
  /** Starts the workload through the step of that kind. */
  readonly start: (mode: "restart" | "safe_mode", context: StepContext) => Promise<Outcome>;
}

/** Steps that read, copy, move and remove. */
export function dataSteps(
  parts: DataParts,
): Pick<
  Performers,
  "clean_disposable" | "trim_logs" | "quarantine" | "diagnose" | "backup" | "check_backups" | "restore"
> {
  const { around, versions, backups, permission, journal } = parts;
  return {
    clean_disposable: (action, context) => cleanDisposable(around, permission, action, context),
    trim_logs: async (_action, context) => trimOwn(around, permission, context, (await journal.sweep()).length),
    quarantine: (_action, context) => quarantineAndStart(parts, context),
    diagnose: (_action, context) => writeBundle(around, versions, backups, permission, context),
    backup: (_action, context) => backUp(parts, context),
    check_backups: (_action, context) => checkBackups(parts, context),
    restore: (_action, context) => restore(parts, context),
  };
}

/** Without its artifacts it runs: in safe mode where it has one. With none to move, its safe mode is what is left. */
async function quarantineAndStart(parts: DataParts, context: StepContext): Promise<Outcome> {
  const moved = await quarantine(parts.around, parts.permission, context);
  const hasSafeMode = context.spec?.safeMode !== undefined;
  if (moved.outcome === "failed") return moved;
  if (moved.outcome === "skipped" && !hasSafeMode)
    return failed(`there is nothing to put into quarantine: ${moved.because}`);
  const started = await parts.start(hasSafeMode ? "safe_mode" : "restart", context);
  if (started.outcome === "failed") return failed(`${moved.because}, but it was not started again: ${started.because}`);
  return done(`${moved.because}; ${started.because}`);
}

/** One workload, or on the node each that declares data, one after the other. Those that are not well are passed over there. */
async function backUp(
  { around, versions, backups, permission, specOf }: DataParts,
  context: StepContext,
): Promise<Outcome> {
  const results: string[] = [];
  let bad: string | undefined;
  for (const name of namesOf(around, context)) {
    const spec = specOf(name);
    if (!spec?.data || context.signal.aborted) continue;
    if (context.workload === "" && around.stand(name).is !== "well") continue;
    for (const path of spec.data.paths) await permission.deed("backup", name, { does: "read_data", path });
    const made = await backups.make(spec, versions.facts(name).version, context.signal);
    if (made.ok) results.push(made.because);
    else bad ??= made.because;
  }
  if (bad !== undefined) return failed(bad);
  return results.length > 0 ? done(results.join("; ").slice(0, 400)) : skipped("nothing that is well declares data");
}

async function checkBackups({ around, backups, specOf }: DataParts, context: StepContext): Promise<Outcome> {
  const bad: string[] = [];
  let good = 0;
  for (const name of namesOf(around, context)) {
    const spec = specOf(name);
    const newest = backups.newest(name);
    if (!spec?.data || context.signal.aborted) continue;
    if (!newest) {
      bad.push(`${name} declares data and has no backup`);
      continue;
    }
    const checked = await backups.check(spec, newest, context.signal);
    if (checked.ok) good += 1;
    else bad.push(checked.because);
  }
  if (bad.length > 0) return failed(bad.join("; "));
  return good > 0 ? done(`${good} backups were read back and are as they were made`) : skipped("nothing declares data");
}

function namesOf({ specs }: Around, { workload }: StepContext): string[] {
  return workload === "" ? specs.map(({ name }) => name) : [workload];
}

/** The newest backup that can be read back; one that cannot is put aside, and the one before it is tried. */
async function restore({ around, backups, permission }: DataParts, context: StepContext): Promise<Outcome> {
  const { workload, spec, signal, intend, intent, runId } = context;
  if (!spec?.data) return failed("it declares no data");
  if (!context.down) return failed("it runs: data is restored only while its process is down");
  for (const path of spec.data.paths) await permission.deed("restore", workload, { does: "replace_data", path });
  await backups.stop(workload);
  let last = "there is no backup of its data";
  for (const facts of backups.all(workload)) {
    if (typeof intent.backup === "string" && intent.backup !== facts.id) continue;
    if (intent.backup === undefined) {
      const checked = await backups.check(spec, facts, signal);
      if (signal.aborted) return failed("cancelled before anything was changed");
      if (!checked.ok) {
        last = checked.because;
        continue;
      }
      await intend({ backup: facts.id });
    }
    const manifest = await backups.manifest(facts);
    if (!manifest) return failed(`the manifest of backup ${facts.id} cannot be read`);
    try {
      const restored = await restoreData(restoreOf(around, backups, runId, manifest), signal);
      const message = `the data of '${workload}' was corrupt: ${restored.because}`;
      around.alert({ severity: "high", workload, incidentId: context.incidentId, what: "data_restored", message });
      return { ...done(restored.because), after: { backup: manifest.id, moved_aside: restored.movedAside } };
    } catch (error) {
      const left = error instanceof HalfRestored ? "the data is not whole" : "the data was left as it is";
      return failed(`${left}: ${wordsOf(error)}`);
    }
  }
  return outcomeOf({ ok: false, because: last });
}

function restoreOf(around: Around, backups: Backups, runId: string, manifest: Manifest): Restore {
  return {
    folder: join(backups.folderOf(manifest.workload), manifest.id),
    manifest,
    mark: createHash("sha256").update(runId).digest("hex").slice(0, 8),
    marks: join(around.dataDir, "restored"),
    wallMs: around.clock.wallMs(),
  };
}

/**
 * Before any workload is started: a restore that died between two renames has left a path with nothing in it, and whoever starts
 * there would begin anew. Such a one is finished now. Never rejects.
 */
export async function finishRestores(around: Around, backups: Backups, unfinished: readonly Run[]): Promise<void> {
  for (const { id, workload, intent } of unfinished) {
    const facts = backups.all(workload).find((one) => one.id === intent?.backup);
    const manifest = facts && (await backups.manifest(facts));
    if (!manifest) continue;
    const restore = restoreOf(around, backups, id, manifest);
    try {
      if (!(await isHalfDone(restore))) continue;
      const { because } = await restoreData(restore, new AbortController().signal);
      around.log("warn", { workload }, `a restore that was cut off was finished: ${because}`);
    } catch (error) {
      around.log("error", { workload }, `a restore that was cut off cannot be finished: ${wordsOf(error)}`);
    }
  }
}
