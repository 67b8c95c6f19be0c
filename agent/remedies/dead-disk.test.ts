import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { canDie, type DeadDisk, deadDisk, runApart } from "../../test/support/dead-disk.ts";
import type { RemedyResult } from "./ports.ts";

let disk: DeadDisk;
beforeEach(() => {
  const made = deadDisk();
  if (made) disk = made;
});
afterEach(() => disk.remove());

const url = (path: string) => JSON.stringify(pathToFileURL(join(import.meta.dirname, "..", "..", path)).href);

/** With as many threads as an agent has. Says whether one is free for whoever comes next. */
const threads = `
  const { widenThreadPool } = await import(${url("agent/threads.driver.ts")});
  widenThreadPool();
  const { readFile } = await import("node:fs/promises");
  const { specOf } = await import(${url("test/support/spec.ts")});
  const threadIsFree = () =>
    Promise.race([readFile("/proc/version").then(() => true), new Promise((resolve) => setTimeout(resolve, 2000, false))]);
  const timed = async (work) => {
    const beganMs = performance.now();
    const result = await work();
    return { ...result, tookMs: performance.now() - beganMs };
  };
`;

/** The remedies of an agent for these specs, an expression; what `body` leaves in `found` is printed. */
const remediesOf = (specs: string, body: string, around = "{}") => `
  ${threads}
  const dead = ${JSON.stringify(disk.dead)};
  const dir = ${JSON.stringify(disk.dir)};
  const { openRemedyRig } = await import(${url("test/support/remedy-rig.ts")});
  const { openRemedies } = await import(${url("agent/remedies/remedies.driver.ts")});
  const { mkdir, symlink, utimes, writeFile } = await import("node:fs/promises");
  const { existsSync } = await import("node:fs");
  const dataOf = (...paths) => ({ paths, everyMs: 3_600_000, keep: 1, maxBytes: 1000 });
  const rig = await openRemedyRig(dir, ${specs}, ${around});
  let played = 0;
  const play = (playbook, workload) => timed(() =>
    remedies.play({ id: "p" + ++played, playbook, workload, incidentId: "i", budgetMs: 20_000 }));
  const openedMs = performance.now();
  const remedies = await openRemedies(rig.around);
  const found = { openMs: performance.now() - openedMs };
  ${body}
  found.threadIsFree = await threadIsFree();
  process.stdout.write(JSON.stringify(found));
`;

interface Timed extends RemedyResult {
  readonly tookMs: number;
}

describe.skipIf(!canDie())("a dead disk (needs root and /dev/fuse)", () => {
  test("DOL-9 sixteen threads were gone after six examinations of one workload, and no state was stored any more", async () => {
    const specs = `[specOf({ name: "engine", cwd: dead, data: dataOf(dead + "/a", dead + "/b") }), specOf({ name: "other" })]`;
    const body = `
      rig.stands.set("engine", { is: "recovering" });
      for (let n = 0; n < 8; n++) found.exhausted = (await remedies.examine("engine")).exhausted;
      const stored = rig.store.put("other", "k", new Uint8Array([1]), undefined).then(() => true);
      found.stored = await Promise.race([stored, new Promise((resolve) => setTimeout(resolve, 5000, false))]);`;
    const found = await runApart<Record<string, unknown>>(remediesOf(specs, body), 40_000);
    expect(found).toMatchObject({ threadIsFree: true, stored: true });
    expect(found.exhausted).toContain(`the disk of ${disk.dead} does not answer`);
  }, 60_000);

  test("DOL-9 one declared file took a thread at each try to clean up, until nothing was stored any more", async () => {
    const program = `
      ${threads}
      const { realProcesses } = await import(${url("agent/supervise/process.driver.ts")});
      const { realClock } = await import(${url("shared/time/real-clock.driver.ts")});
      const logDir = ${JSON.stringify(disk.dir)};
      const processes = realProcesses({ owner: "dead" + process.pid, logDir, clock: realClock() });
      const cleanOf = (path) => ({ files: [path], sockets: [], ports: [] });
      const engine = specOf({ name: "engine", clean: cleanOf(${JSON.stringify(join(disk.dead, "pid"))}) });
      const other = specOf({ name: "other", clean: cleanOf(logDir + "/pid") });
      await (await import("node:fs/promises")).writeFile(logDir + "/pid", "1");
      const tries = await Promise.all(Array.from({ length: 20 }, () => processes.clean(engine)));
      const found = { because: tries.map(({ because }) => because), other: await timed(() => processes.clean(other)) };
      found.threadIsFree = await threadIsFree();
      process.stdout.write(JSON.stringify(found));`;
    const found = await runApart<Record<string, unknown>>(program, 30_000);
    expect(found).toMatchObject({ threadIsFree: true, other: { ok: true, removed: [join(disk.dir, "pid")] } });
    expect(found.because).toEqual(Array(20).fill(expect.stringContaining("has not answered")));
  }, 40_000);

  test("DOL-7 DOL-9 starting a workload whose folder or program lies on a dead disk held up the whole agent", async () => {
    const program = `
      ${threads}
      const { realProcesses } = await import(${url("agent/supervise/process.driver.ts")});
      const { realClock } = await import(${url("shared/time/real-clock.driver.ts")});
      const [dir, dead] = ${JSON.stringify([disk.dir, disk.dead])};
      const processes = realProcesses({ owner: "dead" + process.pid, logDir: dir, clock: realClock() });
      const started = async (spec) => {
        await processes.clean(spec);
        return processes.spawn({ spec, id: "i1", env: {} });
      };
      // One that waits for its next start, without a clean-up before it.
      const waits = specOf({ name: "waits", cwd: dead, command: ["/bin/true"] });
      await processes.rotate(waits);
      await new Promise((resolve) => setTimeout(resolve, 1500));
      const found = {
        waits: processes.spawn({ spec: waits, id: "i1", env: {} }),
        folder: await started(specOf({ name: "folder", cwd: dead, command: ["/bin/true"] })),
        program: await started(specOf({ name: "program", cwd: dir, command: [dead + "/program"] })),
        other: await started(specOf({ name: "other", cwd: dir, command: ["/bin/true"] })),
        threadIsFree: await threadIsFree(),
      };
      process.stdout.write(JSON.stringify(found));`;
    const found = await runApart<Record<string, unknown>>(program, 30_000);
    const failed = { failed: expect.stringContaining("does not answer") };
    expect(found).toMatchObject({ waits: failed, folder: failed, program: failed, other: { pid: expect.any(Number) } });
    expect(found.threadIsFree).toBe(true);
  }, 40_000);

  test("DOL-7 DOL-9 a restart was never asked for while the disk of another workload was dead", async () => {
    const paths = `configFiles: [dead + "/conf"], artifacts: [dead + "/plugin"]`;
    const specs = `[specOf({ name: "engine", cwd: dead, data: dataOf(dead), ${paths} }), specOf({ name: "other" })]`;
    const body = `found.restart = await play("restart-kernel", "other"); found.asked = rig.asked;`;
    const found = await runApart<{ restart: Timed; openMs: number }>(remediesOf(specs, body), 60_000);
    expect(found).toMatchObject({ threadIsFree: true, restart: { ok: true }, asked: ["restart other"] });
    expect(found.restart.tookMs).toBeLessThan(3000);
  }, 70_000);

  test("SYN-9 DOL-9 what may be data of a workload whose disk is dead is neither removed nor moved away", async () => {
    const data = `specOf({ name: "engine", data: dataOf(dead + "/link-to-cache") })`;
    const other = `specOf({ name: "other", artifacts: [dir + "/cache/plugin"], safeMode: { env: { SAFE: "1" } } })`;
    const body = `
      const old = dir + "/cache/old";
      const plugin = dir + "/cache/plugin";
      await mkdir(dir + "/cache");
      for (const path of [old, plugin]) { await writeFile(path, "x"); await utimes(path, 1, 1); }
      found.clean = await play("clean", "");
      found.quarantine = await play("quarantine-artifacts", "other");
      found.kept = existsSync(old) && existsSync(plugin);
      found.bundle = await play("bundle", "other");`;
    const around = `{ disposable: [dir + "/cache", dead + "/cache"], playbooks: await (async () => {
      const folder = dir + "/playbooks";
      await mkdir(folder);
      const write = (name, step) =>
        writeFile(folder + "/" + name + ".yaml", "name: " + name + "\\ndescription: Ours.\\nsteps:\\n  - " + step);
      await write("clean", "clean_disposable: {older_than: 1h, until_used: 0%}");
      await write("bundle", "diagnose: {}");
      return folder;
    })() }`;
    const found = await runApart<{ clean: Timed }>(remediesOf(`[${data}, ${other}]`, body, around), 60_000);
    expect(found).toMatchObject({ threadIsFree: true, kept: true, quarantine: { ok: false }, bundle: { ok: true } });
    expect(found.clean.because).toContain(`the disk of ${disk.dead}/link-to-cache does not answer`);
  }, 70_000);

  test("DOL-9 config files of twenty workloads on one dead disk take two threads, and the agent starts in seconds", async () => {
    const specs = `[
      ...Array.from({ length: 20 }, (_, n) => specOf({ name: "w" + n, configFiles: [dead + "/" + n, dead + "/more" + n] })),
      specOf({ name: "other", configFiles: [dir + "/conf"] }),
    ]`;
    const body = `
      await writeFile(dir + "/conf", "x");
      found.other = await remedies.configInUse("other");`;
    const found = await runApart<{ openMs: number }>(remediesOf(specs, body), 40_000);
    expect(found).toMatchObject({ threadIsFree: true, other: { version: expect.stringMatching(/./) } });
    expect(found.openMs).toBeLessThan(15_000);
  }, 50_000);
});
