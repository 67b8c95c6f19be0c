import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { canDie, deadDisk, runApart } from "../../test/support/dead-disk.ts";

const url = (path: string) => JSON.stringify(pathToFileURL(join(import.meta.dirname, path)).href);

/**
 * The sensors as an agent runs them, in a process of their own whose threads may get stuck: forty sources, twenty beat files and
 * a job on the dead disk, a pipe that nobody writes to, and one file that lives. Prints what it found after six rounds.
 */
const program = (dead: string, alive: string, pipe: string) => `
  const { widenThreadPool } = await import(${url("../threads.driver.ts")});
  widenThreadPool();
  const { realClock } = await import(${url("../../shared/time/real-clock.driver.ts")});
  const { MetaWatch } = await import(${url("meta-watch.driver.ts")});
  const { BeatFileWatcher } = await import(${url("beat-file.driver.ts")});
  const { tailOf } = await import(${url("bounded-file.driver.ts")});
  const { beatDesk, fileDesk } = await import(${url("file-desk.driver.ts")});
  const { readFile, utimes, writeFile } = await import("node:fs/promises");
  const { utimesSync } = await import("node:fs");
  const clock = realClock();
  const source = (name, file) =>
    ({ name, file, url: "", field: "", rows: false, external: false, workload: "", staleMs: 1000, deadMs: 60000 });
  const sources = [source("alive", ${JSON.stringify(alive)}), { ...source("pipe", ${JSON.stringify(pipe)}), field: "at" }];
  for (let n = 0; n < 40; n++) sources.push(source("dead" + n, ${JSON.stringify(dead)} + "/" + n));
  const rounds = [];
  let beats = 0;
  const beatFiles = new BeatFileWatcher(clock, (name) => { if (name === "alive") beats++; });
  beatFiles.start("alive", ${JSON.stringify(alive)}, 400);
  for (let n = 0; n < 20; n++) beatFiles.start("dead" + n, ${JSON.stringify(dead)} + "/beat" + n, 400);
  setInterval(() => void utimes(${JSON.stringify(alive)}, new Date(), new Date()), 50);
  const watch = new MetaWatch({
    meta: { everyMs: 500, critical: [], beatStaleMs: 30000, beatDeadMs: 60000, sources, ports: [], coherence: [], controlPlane: [] },
    jobs: [{ name: "job", everyMs: 1, graceMs: 0, file: ${JSON.stringify(dead)} + "/job" }],
    clock, workloads: () => ({}), offsetMs: () => 0,
    tell: (meta) => rounds.push(meta),
  });
  while (rounds.length < 6) await new Promise((resolve) => setTimeout(resolve, 50));
  const began = performance.now();
  const tail = await tailOf(${JSON.stringify(dead)} + "/log");
  const tailMs = performance.now() - began;
  // What the store does: many files at once, through the same pool.
  await Promise.all(Array.from({ length: 200 }, (_, n) => writeFile(${JSON.stringify(alive)} + ".store" + n, "x")));
  const { subsystemHealth } = watch.latest();
  process.stdout.write(JSON.stringify({
    rounds: rounds.length, threads: beatDesk.underWay + fileDesk.underWay, beats, tail, tailMs,
    alive: subsystemHealth["source/alive"], pipe: subsystemHealth["source/pipe"], dead: subsystemHealth["source/dead0"],
    late: watch.findings().lateJobs, status: watch.latest().status,
  }));
  process.exit(0);
`;

interface Found {
  readonly rounds: number;
  readonly threads: number;
  readonly beats: number;
  readonly tail: string;
  readonly tailMs: number;
  readonly alive: number;
  readonly pipe: number;
  readonly dead: number;
  readonly late: Readonly<Record<string, number>>;
}

async function runSensors(dir: string, dead: string): Promise<Found> {
  const [alive, pipe] = [join(dir, "alive"), join(dir, "pipe")];
  writeFileSync(alive, "x");
  execFileSync("mkfifo", [pipe]);
  return runApart<Found>(program(dead, alive, pipe), 25_000);
}

test.skipIf(!canDie())(
  "DOL-9 a dead disk under forty sources, twenty beat files and a job holds up nothing and few threads (needs root and /dev/fuse)",
  async () => {
    const disk = deadDisk();
    if (!disk) return;
    try {
      const found = await runSensors(disk.dir, disk.dead);
      expect(found).toMatchObject({ alive: 1, dead: 0.5, late: {}, tail: "" });
      // Of sixteen: two for beats, two for all the rest, and whatever looks at the living file at this moment.
      expect(found.threads).toBeGreaterThanOrEqual(2);
      expect(found.threads).toBeLessThanOrEqual(7);
      expect(found.rounds).toBeGreaterThanOrEqual(6);
      expect(found.beats).toBeGreaterThan(5);
      expect(found.tailMs).toBeGreaterThanOrEqual(900);
    } finally {
      disk.remove();
    }
  },
);

test("DOL-9 a pipe that nobody writes to is no source of data, and holds nothing up", async () => {
  const dir = mkdtempSync(join(tmpdir(), "bf-pipe-"));
  try {
    const empty = join(dir, "empty");
    mkdirSync(empty);
    const found = await runSensors(dir, empty);
    // Its files are not there, and nothing hangs.
    expect(found).toMatchObject({ alive: 1, pipe: 0.5, late: { job: expect.any(Number) } });
    expect(found.beats).toBeGreaterThan(5);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
