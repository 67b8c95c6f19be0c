import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { canMount, smallDisk } from "../../test/contract/small-disk.ts";
import { openRemedyRig, type RemedyRig } from "../../test/support/remedy-rig.ts";
import { specOf } from "../../test/support/spec.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import type { Around } from "./around.ts";
import { openRemedies, type Remedies } from "./remedies.driver.ts";

let dir: string;
let rig: RemedyRig;
let remedies: Remedies;

beforeEach(() => {
  dir = realpathSync(mkdtempSync(join(tmpdir(), "bf-disk-steps-")));
  mkdirSync(join(dir, "playbooks"));
});
afterEach(async () => {
  await remedies.close();
  await rig.close();
  rmSync(dir, { recursive: true, force: true });
});

async function open(specs: readonly WorkloadSpec[] = [specOf()], over: Partial<Around> = {}) {
  rig = await openRemedyRig(dir, specs, { playbooks: join(dir, "playbooks"), ...over });
  remedies = await openRemedies(rig.around);
}
/** Everything older than an hour goes, however empty the disk is. */
function cleaner(): void {
  const step = "  - clean_disposable: {older_than: 1h, until_used: 0%}\n";
  writeFileSync(join(dir, "playbooks", "clean.yaml"), `name: clean\ndescription: Ours.\nsteps:\n${step}`);
}
let count = 0;
const play = (playbook: string, workload = "engine") =>
  remedies.play({ id: `d/${++count}`, playbook, workload, incidentId: "i1", budgetMs: 20_000 });
const hourAgo = Date.now() / 1000 - 7200;
function put(path: string, text = "x", old = true): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  if (old) utimesSync(path, hourAgo, hourAgo);
  return path;
}

test("SYN-9 a clean-up removes what is old below disposable paths, and nothing else: no link is followed, no data touched", async () => {
  cleaner();
  const cache = join(dir, "cache");
  const old = put(join(cache, "deep", "down", "old"));
  const young = put(join(cache, "deep", "young"), "x", false);
  const kept = put(join(cache, "state.db"));
  const outside = put(join(dir, "home", "thesis"));
  symlinkSync(join(dir, "home"), join(cache, "link"));
  symlinkSync(outside, join(cache, "file-link"));
  symlinkSync(join(dir, "home"), join(dir, "linked-root"));
  const conf = put(join(cache, "engine.conf"));
  const data = { paths: [kept], everyMs: 3_600_000, keep: 1, maxBytes: 1000 };
  const disposable = [cache, join(dir, "linked-root"), join(dir, "agent"), "/", join(dir, "none")];
  await open([specOf({ data, configFiles: [conf] })], { disposable });
  const result = await play("clean");
  expect(existsSync(old)).toBe(false);
  // The folders that this has emptied are gone too.
  expect(readdirSync(join(cache, "deep"))).toEqual(["young"]);
  for (const path of [young, kept, outside, conf, join(cache, "link"), join(cache, "file-link")])
    expect(existsSync(path)).toBe(true);
  expect(existsSync(join(dir, "agent", "store", "CURRENT"))).toBe(true);
  expect(result).toMatchObject({ ok: true, because: expect.stringMatching(/^1 disposable files/) });
});

test("SYN-9 a folder that is swapped for a link while the clean-up runs leads nowhere", async () => {
  cleaner();
  const cache = join(dir, "cache");
  const home = join(dir, "home");
  for (let n = 0; n < 200; n++) {
    put(join(cache, "a", `f${n}`));
    put(join(home, `f${n}`));
  }
  await open([specOf()], { disposable: [cache] });
  let swapped = 0;
  const swap = setInterval(() => {
    try {
      renameSync(join(cache, "a"), join(dir, `away-${swapped}`));
      symlinkSync(home, join(cache, "a"));
      swapped += 1;
    } catch {
      // It is a link already.
    }
  }, 5);
  await play("clean");
  clearInterval(swap);
  expect(readdirSync(home)).toHaveLength(200);
});

test.skipIf(!canMount())("of few large files no more goes than is needed (needs the right to mount)", async () => {
  const step = "  - clean_disposable: {older_than: 1h, until_used: 80%}\n";
  writeFileSync(join(dir, "playbooks", "clean.yaml"), `name: clean\ndescription: Ours.\nsteps:\n${step}`);
  const disk = smallDisk(48 * 2 ** 20);
  try {
    const names = Array.from({ length: 11 }, (_, n) => `cache/${n}`);
    for (const [n, name] of names.entries()) {
      put(join(disk.dir, name), "x".repeat(4 * 2 ** 20));
      utimesSync(join(disk.dir, name), hourAgo + n, hourAgo + n);
    }
    await open([specOf()], { disposable: [join(disk.dir, "cache")] });
    expect(await play("clean")).toMatchObject({ ok: true });
    // 44 of 48 MiB were used; the oldest two make it less than 80 %.
    expect(readdirSync(join(disk.dir, "cache")).sort()).toEqual(["10", "2", "3", "4", "5", "6", "7", "8", "9"]);
  } finally {
    disk.remove();
  }
});

test.skipIf(!canMount())(
  "SYN-9 a clean-up emptied another disk that was mounted below (needs the right to mount)",
  async () => {
    cleaner();
    const cache = join(dir, "cache");
    mkdirSync(join(cache, "mnt"), { recursive: true });
    const [own, disk] = [put(join(cache, "own")), smallDisk(4 * 2 ** 20)];
    const precious = put(join(disk.dir, "precious"));
    execFileSync("mount", ["--bind", disk.dir, join(cache, "mnt")]);
    try {
      await open([specOf()], { disposable: [cache] });
      expect(await play("clean")).toMatchObject({ ok: true });
      expect([own, precious].map((path) => existsSync(path))).toEqual([false, true]);
    } finally {
      execFileSync("umount", [join(cache, "mnt")]);
      disk.remove();
    }
  },
);

test("a clean-up found nothing old behind fifty thousand young files, and the disk stayed full", {
  timeout: 60_000,
}, async () => {
  cleaner();
  const young = join(dir, "cache", "young");
  mkdirSync(young, { recursive: true });
  for (let n = 0; n < 50_001; n++) writeFileSync(join(young, `${n}`), "");
  const old = put(join(young, "deep", "old"));
  await open([specOf()], { disposable: [join(dir, "cache")] });
  expect(await play("clean")).toMatchObject({ ok: true });
  expect(existsSync(old)).toBe(false);
});

test("the oldest goes first, and on a disk with room nothing has to go", async () => {
  const step = "  - clean_disposable: {older_than: 0s, until_used: 100%}\n";
  writeFileSync(join(dir, "playbooks", "clean.yaml"), `name: clean\ndescription: Ours.\nsteps:\n${step}`);
  put(join(dir, "cache", "old"));
  await open([specOf()], { disposable: [join(dir, "cache")] });
  expect(await play("clean")).toMatchObject({
    ok: true,
    because: expect.stringMatching(/nothing was to be done: no disk is 100 % full/),
  });
  expect(existsSync(join(dir, "cache", "old"))).toBe(true);
});

test("GRC-4 what crashed the sandbox is moved away, kept with the way back, and the unit runs without it", async () => {
  const plugin = put(join(dir, "plugins", "bad.so"), "evil");
  const folder = put(join(dir, "plugins", "more", "x"), "y");
  const artifacts = [plugin, dirname(folder), join(dir, "plugins", "never-there")];
  await open([specOf({ artifacts, safeMode: { env: { SAFE: "1" } } })]);
  const startedMs = rig.around.clock.monotonicMs();
  expect(await play("quarantine-artifacts")).toMatchObject({ ok: true });
  expect(rig.around.clock.monotonicMs() - startedMs).toBeLessThan(5000);
  expect(rig.asked).toEqual(["safe engine"]);
  expect(existsSync(plugin)).toBe(false);
  const [id = ""] = readdirSync(join(rig.around.dataDir, "quarantine"));
  const where = join(rig.around.dataDir, "quarantine", id);
  const manifest = JSON.parse(readFileSync(join(where, "manifest.json"), "utf8"));
  expect(readFileSync(join(where, "files", "0-bad.so"), "utf8")).toBe("evil");
  // A person takes it back with the commands that stand there.
  for (const [program, ...args] of manifest.put_back.slice(0, 2)) execFileSync(program, args);
  expect(readFileSync(plugin, "utf8")).toBe("evil");
  expect(readFileSync(folder, "utf8")).toBe("y");
  expect(rig.alerts).toMatchObject([{ severity: "high" }]);
});

test("SYN-9 a library that everybody uses was moved away, for an artifact was a link to it", async () => {
  const shared = put(join(dir, "lib", "shared.so"), "used by everybody");
  const plugin = join(dir, "plugins", "p.so");
  mkdirSync(dirname(plugin));
  symlinkSync(shared, plugin);
  await open([specOf({ artifacts: [plugin] })]);
  expect(await play("quarantine-artifacts")).toMatchObject({ ok: true });
  expect(readFileSync(shared, "utf8")).toBe("used by everybody");
  expect(readdirSync(dirname(plugin))).toEqual([]);
});

test("GRC-4 what was in quarantine was lost when the agent died before the step ended, and the program had made its folder anew", async () => {
  const plugins = join(dir, "plugins");
  put(join(plugins, "bad.so"), "evil");
  await open([specOf({ artifacts: [plugins] })]);
  const ask = { id: "q", playbook: "quarantine-artifacts", workload: "engine", incidentId: "i1", budgetMs: 20_000 };
  rig.restarts = async () => {
    put(join(plugins, "fresh"), "of the next life");
    void remedies.close();
    await new Promise((resolve) => setTimeout(resolve, 300));
    return { ok: true, because: "restarted" };
  };
  await remedies.play(ask);
  rig.restarts = async () => ({ ok: true, because: "restarted" });
  remedies = await openRemedies(rig.around);
  await remedies.play(ask);
  const [id = ""] = readdirSync(join(rig.around.dataDir, "quarantine"));
  const where = join(rig.around.dataDir, "quarantine", id);
  const kept = (name: string) => readdirSync(join(where, "files", name));
  expect([kept("0-plugins"), kept("0-plugins.again-1")]).toEqual([["bad.so"], ["fresh"]]);
  const { put_back } = JSON.parse(readFileSync(join(where, "manifest.json"), "utf8"));
  expect(put_back).toEqual([["mv", "-n", join(where, "files", "0-plugins"), plugins]]);
});

test("GRC-4 a unit that is down is started by its machine when the quarantine is done", async () => {
  const plugin = put(join(dir, "bad.so"));
  await open([specOf({ artifacts: [plugin] })]);
  rig.stands.set("engine", { is: "recovering", awaitsRemedy: true });
  expect(await play("quarantine-artifacts")).toMatchObject({ ok: true });
  expect(rig.asked).toEqual([]);
  expect(existsSync(plugin)).toBe(false);
});

test("with nothing to quarantine and no safe mode, it says so, and a person or the ladder goes on", async () => {
  await open();
  expect(await play("quarantine-artifacts")).toMatchObject({
    ok: false,
    because: expect.stringMatching(/nothing to put into quarantine/),
  });
  expect(rig.asked).toEqual([]);
});

test("SYN-9 data and programs are no artifacts, whatever the config calls them", async () => {
  const ledger = put(join(dir, "srv", "ledger"));
  const data = { paths: [ledger], everyMs: 3_600_000, keep: 1, maxBytes: 1000 };
  await open([specOf({ data, artifacts: [ledger] })]);
  expect(await play("quarantine-artifacts")).toMatchObject({ ok: false });
  expect(existsSync(ledger)).toBe(true);
  expect(rig.audits.find(({ action }) => action === "remedy.quarantine")?.outcome).toBe("refused");
});

test("own logs beyond their bounds are trimmed, and those within them stay", async () => {
  await open();
  const logs = rig.around.outputDir;
  const longAgo = Date.now() / 1000 - 30 * 86_400;
  const names = ["engine.log", "engine.log.1", "engine.log.3", "engine.log.4", "gone.log", "new.log"];
  for (const name of names) put(join(logs, name), "x", false);
  utimesSync(join(logs, "gone.log"), longAgo, longAgo);
  expect(await play("daily-maintenance", "")).toMatchObject({ ok: true });
  expect(readdirSync(logs).sort()).toEqual(["engine.log", "engine.log.1", "engine.log.3", "new.log"]);
});
