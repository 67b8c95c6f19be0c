import { execFileSync, spawn, spawnSync } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";

let dir: string;
let mount: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-hung-"));
  mount = join(dir, "dead");
  mkdirSync(mount);
});
afterEach(() => {
  spawnSync("umount", ["-l", mount]);
  rmSync(dir, { recursive: true, force: true });
});

/** Mounts a file system whose server never answers: what looks at it hangs in the kernel until the device is closed. */
function mountDead(path: string): number | undefined {
  let device: number;
  try {
    device = openSync("/dev/fuse", "r+");
  } catch {
    return undefined;
  }
  const options = "fd=3,rootmode=40000,user_id=0,group_id=0";
  const mounted = spawnSync("mount", ["-i", "-t", "fuse", "-o", options, "dead", path], {
    stdio: ["ignore", "ignore", "ignore", device],
  });
  if (mounted.status === 0) return device;
  closeSync(device);
  return undefined;
}

const canMount = (() => {
  const path = mkdtempSync(join(tmpdir(), "bf-mount-"));
  const device = mountDead(path);
  if (device !== undefined) closeSync(device);
  spawnSync("umount", ["-l", path]);
  rmSync(path, { recursive: true, force: true });
  return device !== undefined;
})();

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

async function runSensors(): Promise<Found> {
  const [alive, pipe] = [join(dir, "alive"), join(dir, "pipe")];
  writeFileSync(alive, "x");
  execFileSync("mkfifo", [pipe]);
  const child = spawn(process.execPath, ["--input-type=module", "-e", program(mount, alive, pipe)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  // A process whose threads are stuck in the kernel ends only when the disk lets go: what it printed is what counts.
  const text = await new Promise<string>((resolve) => {
    let printed = "";
    child.stdout.setEncoding("utf8").on("data", (part: string) => {
      printed += part;
      if (printed.endsWith("}")) resolve(printed);
    });
    child.stdout.on("end", () => resolve(printed));
    setTimeout(() => resolve(printed), 25_000).unref();
  });
  child.kill("SIGKILL");
  return JSON.parse(text) as Found;
}

test.skipIf(!canMount)(
  "DOL-9 a dead disk under forty sources, twenty beat files and a job holds up nothing and few threads (needs root and /dev/fuse)",
  async () => {
    const device = mountDead(mount);
    try {
      const found = await runSensors();
      expect(found).toMatchObject({ alive: 1, dead: 0.5, late: {}, tail: "" });
      // Of sixteen: two for beats, two for all the rest, and whatever looks at the living file at this moment.
      expect(found.threads).toBeGreaterThanOrEqual(2);
      expect(found.threads).toBeLessThanOrEqual(7);
      expect(found.rounds).toBeGreaterThanOrEqual(6);
      expect(found.beats).toBeGreaterThan(5);
      expect(found.tailMs).toBeGreaterThanOrEqual(900);
    } finally {
      if (device !== undefined) closeSync(device);
    }
  },
);

test("DOL-9 a pipe that nobody writes to is no source of data, and holds nothing up", async () => {
  const found = await runSensors();
  // The mount is an empty folder here: its files are not there, and nothing hangs.
  expect(found).toMatchObject({ alive: 1, pipe: 0.5, late: { job: expect.any(Number) } });
  expect(found.beats).toBeGreaterThan(5);
});
