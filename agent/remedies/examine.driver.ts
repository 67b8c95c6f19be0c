import type { Facts } from "../diagnosis/facts.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import type { Around } from "./around.ts";
import type { Backups } from "./backups.driver.ts";
import { dependentsOf, needsOf, standsFor } from "./dependencies.ts";
import { spaceOf } from "./desk.driver.ts";
import type { Emergency } from "./emergency.driver.ts";
import { hintsIn } from "./hints.ts";
import { inTime } from "./patience.driver.ts";
import { graphOf } from "./process-steps.driver.ts";
import { lastLines } from "./tail.driver.ts";
import type { Versions } from "./versions.driver.ts";

/** All of it is known within a second; each look has less, since they run side by side. */
const lookMs = 700;
const linesBytes = 4096;
/** Below either of these a disk counts as full. */
const fullBytes = 1024 * 1024;
const fullShare = 0.001;

/** What an examination looks at. */
export interface ExamineParts {
  readonly around: Around;
  readonly versions: Versions;
  readonly backups: Backups;
  readonly emergency: Emergency;
  /** How large the output was when the last process was started; undefined when nobody knows. */
  readonly outputSince: (workload: string) => number | undefined;
}

/** Everything that the diagnosis has to know of a workload that failed, within a second. What cannot be had by then is missing. */
export async function factsOf(
  { around, versions, backups, emergency, outputSince }: ExamineParts,
  spec: WorkloadSpec,
): Promise<Facts> {
  const { name } = spec;
  const { clock } = around;
  const observing = inTime(clock, lookMs, versions.observe(name));
  const [said, disks] = await Promise.all([
    lastLines(around.outputDir, name, linesBytes, lookMs, outputSince(name)),
    Promise.all(pathsOf(around, spec).map(fullDisk)),
    observing,
  ]);
  const lines = said ?? [];
  const signature = around.signature(name, lines);
  const advice = around.advice(name, signature);
  const demoted = around.demoted(name);
  const newest = backups.newest(name);
  const waiting = dependentsOf(name, graphOf(around)).filter((one) =>
    ["down", "recovering"].includes(around.stand(one).is),
  );
  const exhausted: Exhausted[] = [
    ...around.exhausted(name).map((because) => ({ because, noRoom: false })),
    ...disks.filter((one) => one !== undefined),
  ];
  return {
    config: versions.facts(name),
    dependencies: needsOf(name, graphOf(around)).flatMap((need) => {
      const stands = standsFor(around.stand(need));
      return stands === "done" ? [] : [{ name: need, stands }];
    }),
    ...(waiting.length > 0 && { dependents: waiting }),
    signature,
    hints: hintsIn(lines, spec.patterns),
    exhausted: [...new Set(exhausted.map(({ because }) => because))],
    ...(exhausted.some(({ noRoom }) => noRoom) && { diskFull: true as const }),
    externalStale: around.externalStale(name),
    ...(newest && { backup: { id: newest.id, ageMs: Math.max(0, clock.wallMs() - newest.wallMs) } }),
    bootstrapAllowed: emergency.allowed(),
    ...(advice && { advice }),
    ...(demoted.length > 0 && { demoted }),
  };
}

/** Where it writes: its folder, its data and its output. */
function pathsOf({ outputDir }: Around, { cwd, data }: WorkloadSpec): string[] {
  return [...new Set([cwd, ...(data?.paths ?? []), outputDir])].slice(0, 16);
}

/** What has run out; `noRoom`: it is room on a disk. */
interface Exhausted {
  readonly because: string;
  readonly noRoom: boolean;
}

async function fullDisk(path: string): Promise<Exhausted | undefined> {
  const flight = await spaceOf(path, lookMs);
  // One that was not even asked says nothing: other disks hang.
  if (flight.is === "silent")
    return flight.unasked ? undefined : { because: `the disk of ${path} does not answer`, noRoom: false };
  if (flight.is === "failed") return undefined;
  const { bsize, bavail, blocks, files, ffree } = flight.value;
  if (blocks > 0 && (bavail * bsize < fullBytes || bavail < blocks * fullShare))
    return { because: `the disk of ${path} is full`, noRoom: true };
  return files > 0 && ffree === 0 ? { because: `the disk of ${path} has no free inodes`, noRoom: true } : undefined;
}
