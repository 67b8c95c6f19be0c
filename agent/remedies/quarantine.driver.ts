/**
 * Moves a workload's declared artifacts into `<dataDir>/quarantine/ID/`: nothing is deleted, and `manifest.json` there says how a
 * person puts everything back. A rename where it can be one; across file systems a copy that was read back, and only then the
 * original goes. A link is moved itself, and never what it leads to. Nothing in quarantine is written over: what is there again when
 * a step is done again lies beside what was moved before.
 */
import { lstat, mkdir, readdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Around } from "./around.ts";
import { copyTree, differs } from "./copy.driver.ts";
import { realInTime } from "./desk.driver.ts";
import { replaceFile, syncFolder } from "./files.driver.ts";
import { done, failed, type Outcome, type StepContext, skipped } from "./performer.ts";
import type { Permission } from "./permission.driver.ts";

/** What is in quarantine waits for a person; with this many folders, nothing more is taken in. */
export const quarantinesMax = 20;

interface Move {
  readonly from: string;
  readonly to: string;
  readonly is: "absent" | "present" | "moved";
  /** It came back after it was moved: this is not what a person puts back. */
  readonly again: boolean;
}

/** Quarantines what the workload declares. It does not restart it. */
export async function quarantine(around: Around, permission: Permission, context: StepContext): Promise<Outcome> {
  const { workload, spec, incidentId } = context;
  if (!spec) return skipped("it is about a workload, and this run is about the node");
  const all = join(around.dataDir, "quarantine");
  const id = await idOf(all, around, context);
  if (id === undefined)
    return failed(`${quarantinesMax} quarantines wait for a person in ${all}: nothing more is taken in`);
  const folder = join(all, id);
  const moves = await movesOf(spec.artifacts, folder);
  const present = moves.filter(({ is }) => is === "present");
  const taken = moves.filter(({ is }) => is !== "absent");
  if (taken.length === 0) return skipped("none of its artifacts is there");
  for (const { from } of present) await permission.deed("quarantine", workload, { does: "move_artifact", path: from });
  await mkdir(join(folder, "files"), { recursive: true, mode: 0o700 });
  await writeManifest(folder, { id, workload, incidentId, at: new Date(around.clock.wallMs()).toISOString() }, moves);
  for (const move of present) await moveAway(move, context.signal);
  await syncFolder(join(folder, "files"));
  return done(
    `${taken.length} artifacts of ${workload} are in quarantine ${folder}; manifest.json there says how to put them back`,
  );
}

/** The same after a crash; undefined when the quarantine is full. */
async function idOf(
  all: string,
  around: Around,
  { intent, intend, workload }: StepContext,
): Promise<string | undefined> {
  if (typeof intent.quarantine === "string") return intent.quarantine;
  if ((await readdir(all).catch(() => [])).length >= quarantinesMax) return undefined;
  const time = new Date(around.clock.wallMs()).toISOString().replaceAll(/[-:]|\.\d+/g, "");
  const id = `${time}-${workload}-${Math.floor(around.random() * 36 ** 4).toString(36)}`;
  await intend({ quarantine: id });
  return id;
}

async function movesOf(artifacts: readonly string[], folder: string): Promise<Move[]> {
  const moves: Move[] = [];
  for (const [index, artifact] of artifacts.entries()) {
    const above = await realInTime(dirname(artifact));
    if (above === undefined) throw new Error(`the disk of ${artifact} does not answer`);
    const from = join(above, basename(artifact));
    let to = join(folder, "files", `${index}-${basename(from)}`);
    let before = 0;
    for (; await exists(to); to = join(folder, "files", `${index}-${basename(from)}.again-${before}`)) {
      moves.push({ from, to, is: "moved", again: before > 0 });
      before += 1;
    }
    if (await exists(from)) moves.push({ from, to, is: "present", again: before > 0 });
    else if (before === 0) moves.push({ from, to, is: "absent", again: false });
  }
  return moves;
}

async function exists(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined)) !== undefined;
}

/** Written first: whoever finds a moved file finds where it belongs. */
async function writeManifest(folder: string, about: Record<string, string>, moves: readonly Move[]): Promise<void> {
  const files = moves.map(({ from, to }) => ({ from, to }));
  const putBack = moves.filter(({ again }) => !again).map(({ from, to }) => ["mv", "-n", to, from]);
  const text = JSON.stringify(
    { ...about, files, put_back: putBack, afterwards: `blueflame-agent restart ${about.workload}` },
    null,
    2,
  );
  await replaceFile(join(folder, "manifest.json"), Buffer.from(`${text}\n`));
}

async function moveAway({ from, to }: Move, signal: AbortSignal): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EXDEV") throw error;
    const folder = dirname(to);
    const half = `.half-${basename(to)}`; // it gets its name when it is whole
    await rm(join(folder, half), { recursive: true, force: true });
    const { entries } = await copyTree(from, folder, half, Number.MAX_SAFE_INTEGER, signal);
    const problem = await differs(folder, entries, signal);
    if (problem) throw new Error(`the copy of ${from} in quarantine: ${problem}`);
    await rename(join(folder, half), to);
    await syncFolder(folder);
    await rm(from, { recursive: true });
  }
}
