import { lstat, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Around } from "./around.ts";
import { done, type Outcome, Refused, type StepContext, skipped } from "./performer.ts";
import type { Permission } from "./permission.driver.ts";
import { quarantinesMax } from "./quarantine.driver.ts";

/** Diagnostic bundles that are kept. */
export const diagnosticsMax = 20;
/** Output of a workload that is no longer in the config is kept this long after its last line. */
const strangersMs = 7 * 24 * 3_600_000;
/** Evidence in quarantine is kept at least this long, whatever comes after it. */
const quarantineMs = 30 * 24 * 3_600_000;

interface Candidate {
  readonly path: string;
  readonly mtimeMs: number;
}

/** Removes what the agent keeps of its own beyond its bounds; `swept` are finished runs that went already. */
export async function trimOwn(
  around: Around,
  permission: Permission,
  context: StepContext,
  swept: number,
): Promise<Outcome> {
  const { dataDir, clock } = around;
  const nowMs = clock.wallMs();
  const diagnostics = await newestFirst(join(dataDir, "diagnostics"));
  const quarantines = await newestFirst(join(dataDir, "quarantine"));
  const gone = [
    ...diagnostics.slice(diagnosticsMax),
    // Half of the places stay free for the next ones.
    ...quarantines.slice(quarantinesMax / 2).filter(({ mtimeMs }) => nowMs - mtimeMs > quarantineMs),
    ...(await staleLogs(around, nowMs)),
  ];
  let removed = swept;
  for (const { path } of gone) {
    if (context.signal.aborted) break;
    try {
      await permission.deed("trim_logs", context.workload, { does: "remove", path });
      await rm(path, { recursive: true, force: true });
      removed += 1;
    } catch (error) {
      if (error instanceof Refused) throw error;
      around.log("warn", { path }, `a left-over of the agent cannot be removed: ${(error as Error).message}`);
    }
  }
  return removed > 0
    ? done(`${removed} own logs, bundles and runs beyond their bounds were removed`)
    : skipped("nothing of the agent's own is beyond its bounds");
}

/** Output beyond the configured rotations, and of workloads that nobody guards any more. */
async function staleLogs({ outputDir, specs }: Around, nowMs: number): Promise<Candidate[]> {
  const keeps = new Map(specs.map(({ name, output }) => [name, output.files]));
  return (await newestFirst(outputDir)).filter(({ path, mtimeMs }) => {
    const [, name = "", number = "0"] = /([^/]+?)\.log(?:\.(\d+))?$/.exec(path) ?? [];
    if (name === "") return false;
    const files = keeps.get(name);
    return files === undefined ? nowMs - mtimeMs > strangersMs : Number(number) > files;
  });
}

async function newestFirst(folder: string): Promise<Candidate[]> {
  const found: Candidate[] = [];
  for (const name of await readdir(folder).catch(() => [])) {
    const path = join(folder, name);
    const stats = await lstat(path).catch(() => undefined);
    if (stats && !stats.isSymbolicLink()) found.push({ path, mtimeMs: stats.mtimeMs });
  }
  return found.sort((a, b) => b.mtimeMs - a.mtimeMs);
}
