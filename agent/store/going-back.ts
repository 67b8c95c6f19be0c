/**
 * A snapshot, or nothing, takes the place of the store: what that gives up is said before it is done, and no lock is opened by it. What
 * the store of now knows of its workloads' risk is read from it, or from a copy that is mended as far as it can be.
 */

import { type Handle, type Place, reopenHandle } from "@blueflame/shared/store/level/opening.ts";
import { remake } from "@blueflame/shared/store/level/remake.ts";
import { type Cause, freshRisk, lock, locksOf, type Risk, tighten } from "../state/risk.ts";
import type { KeptRisk } from "../state/space.ts";
import { textOf } from "./codec.ts";
import { type Form, formOf, storeFormat } from "./form.ts";
import type { StoreFindings } from "./mend-choice.ts";
import { rowsIn } from "./readable.ts";
import { manifestOf } from "./snapshot-file.ts";
import { type SnapshotStand, type Younger, youngerIn } from "./younger.ts";

/** So many workloads are told of one by one. */
const linesMax = 5;

const setBy: Readonly<Record<Cause, string>> = {
  workload: "the workload itself",
  limit: "a limit that was reached",
  restored: "an earlier return to a copy",
};

/** What the store of now knows. */
export interface Standing {
  readonly risks: ReadonlyMap<string, KeptRisk>;
  /** What it holds beyond the snapshot that was asked for. */
  readonly younger?: Younger | undefined;
  /** Why it cannot be read. */
  readonly unread?: string;
}

type Seen = StoreFindings & { readonly damage: readonly { readonly file: string }[] };

/**
 * The store stays as it is; with `than` what is younger in it is read, too. Never throws: who goes back may have nothing else left.
 */
export async function standingOf(
  place: Place,
  found: Seen,
  dataDir: string,
  than: SnapshotStand | undefined,
): Promise<Standing> {
  if (found.files === "absent") return { risks: new Map() };
  try {
    if (found.files === "sound" && found.opens) {
      const handle = await reopenHandle(place, {});
      return await readAll(handle, dataDir, than).finally(() => handle.close());
    }
    const onlyLogs = found.parts.every((part) => part === "log") && found.files === "damaged";
    const without = found.damage.map(({ file }) => file).filter((file) => /\.(ldb|sst|log)$/.test(file));
    const copy = await remake(place, onlyLogs ? { by: "reopen" } : { by: "repair", without }, storeFormat);
    return await readAll(copy.handle, dataDir, than).finally(() => copy.drop());
  } catch (error) {
    return { risks: new Map(), unread: (error as Error).message };
  }
}

async function readAll(handle: Handle, dataDir: string, than: SnapshotStand | undefined): Promise<Standing> {
  const form = await formOf(handle, dataDir);
  if (!form) return { risks: new Map(), unread: "its data keys are gone" };
  return { risks: await risksIn(handle, form), younger: than && (await younger(handle, form, than)) };
}

/** What else breaks in it must not cost what is known of its locks. */
async function younger(handle: Handle, form: Form, than: SnapshotStand): Promise<Younger> {
  try {
    return await youngerIn(handle, form, than);
  } catch (error) {
    return { rows: [], because: `what is younger in it cannot be read: ${(error as Error).message}` };
  }
}

/** What is known of each workload's risk. Read row after row: in a repaired store a look-up may answer with an older one. */
export async function risksIn(handle: Handle, form: Form): Promise<Map<string, KeptRisk>> {
  const risks = new Map<string, KeptRisk>();
  for await (const { key, value } of rowsIn(handle, form, "risk/"))
    risks.set(key.slice("risk/".length), JSON.parse(textOf(value)) as KeptRisk);
  return risks;
}

/** Takes the locks and limits of now over into the store that is made; returns what is given up, in words of our own. `source`: the snapshot, where nothing later is laid over it. */
export async function giveUp(now: Standing, handle: Handle, form: Form, source: string | undefined): Promise<string[]> {
  const of = source && new Date((await manifestOf(source)).takenWallMs).toISOString();
  const since = of ? [`the snapshot is of ${of}: what was written since is given up`] : [];
  return [...since, ...(await keepLocks(now, handle, form))];
}

async function keepLocks(now: Standing, handle: Handle, form: Form): Promise<string[]> {
  const then = await risksIn(handle, form);
  const lines: string[] = [];
  for (const [workload, { risk }] of now.risks) {
    const before = then.get(workload) ?? { risk: freshRisk, changed: 0, mark: "" };
    const kept: KeptRisk = { ...before, risk: lockedAsNow(before.risk, risk) };
    const write = form.put(`risk/${workload}`, Buffer.from(JSON.stringify(kept)));
    if (write.type === "put") await handle.put(write.key, write.value, { sync: true });
    const stays = risk.lock ? `; its lock stays, set by ${lockedBy(risk)}` : "";
    const lost = risk.trades > before.risk.trades;
    if (lost || stays !== "")
      lines.push(`of ${risk.trades} trades of '${workload}' ${before.risk.trades} are in it${stays}`);
  }
  if (now.unread !== undefined) lines.push(`what the store of now holds cannot be read: ${now.unread}`);
  if (lines.length <= linesMax) return lines;
  return [...lines.slice(0, linesMax), `${lines.length - linesMax} more workloads lose trades or keep a lock`];
}

/** This goes to the agent's log, which holds no words of a workload, nor its sessions' names: `state list` says them to whoever may ask. */
function lockedBy(risk: Risk): string {
  return locksOf(risk)
    .map(({ cause }) => setBy[cause])
    .join(" and ");
}

/** What locked of old stays, too: nobody but a person opens anything. */
function lockedAsNow(then: Risk, now: Risk): Risk {
  const { also: _also, ...rest } = then;
  const taken: Risk = { ...rest, lock: now.lock, ...(now.also && { also: now.also }) };
  const locked = locksOf(then).reduce((risk, one) => lock(risk, one.cause, one.because, one.sinceWallMs), taken);
  return tighten(locked, now.limits, now.lock?.sinceWallMs ?? 0);
}
