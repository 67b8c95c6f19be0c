import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openRemedyRig, type RemedyRig } from "../../test/support/remedy-rig.ts";
import { specOf } from "../../test/support/spec.ts";
import { requireTool } from "../../test/tools.ts";
import type { DataSpec } from "../supervise/spec.ts";
import { openRemedies, type Remedies } from "./remedies.driver.ts";

let dir: string;
let rig: RemedyRig;
let remedies: Remedies;
const children: ChildProcess[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-schedule-"));
  mkdirSync(join(dir, "data"));
  writeFileSync(join(dir, "data", "a"), "1");
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  await remedies.close();
  await rig.close();
  rmSync(dir, { recursive: true, force: true });
});

async function open(over: Partial<DataSpec>) {
  const data = { paths: [join(dir, "data")], everyMs: 3_600_000, keep: 3, maxBytes: 2 ** 20, ...over };
  rig = await openRemedyRig(dir, [specOf({ data })]);
  remedies = await openRemedies(rig.around);
}
const made = () => {
  const folder = join(rig.around.dataDir, "backups", "engine");
  return existsSync(folder) ? readdirSync(folder).filter((name) => /^\d/.test(name)) : [];
};
async function until(holds: () => boolean | Promise<boolean>) {
  for (let n = 0; n < 600; n++) {
    if (await holds()) return;
    await pause(50);
  }
  throw new Error("it never came to be");
}

test("PRA-10 DOL-7 data is backed up on its schedule while the workload is well, and not while it is not", async () => {
  await open({ everyMs: 1000 });
  await until(() => made().length >= 2);
  rig.stands.set("engine", { is: "recovering" });
  await pause(1500);
  const then = made().at(-1);
  await pause(2500);
  expect(made().at(-1)).toBe(then);
  rig.stands.delete("engine");
  await until(() => made().at(-1) !== then);
  expect(made().length).toBeLessThanOrEqual(3);
  expect((await remedies.examine("engine")).backup?.ageMs).toBeLessThan(60_000);
});

test("a backup that cannot be made is told once, and again only after it had gone well", async () => {
  await open({ everyMs: 1000, maxBytes: 1 });
  writeFileSync(join(dir, "data", "b"), "much more than that");
  await until(() => rig.audits.filter(({ outcome }) => outcome === "failure").length >= 3);
  expect(rig.alerts).toHaveLength(1);
  expect(rig.alerts[0]).toMatchObject({ what: "backup_failed", workload: "engine", severity: "medium" });
});

test("SYN-3 a real redis whose database is corrupt does not start, and starts with all that was saved after the restore", async (context) => {
  const [redis, cli] = [requireTool(context, "redis-server"), requireTool(context, "redis-cli")];
  const socket = join(dir, "r.sock");
  const say = (...words: string[]) => spawnSync(cli, ["-s", socket, ...words], { encoding: "utf8" }).stdout.trim();
  const start = async () => {
    const child = spawn(redis, ["--port", "0", "--unixsocket", socket, "--dir", join(dir, "data"), "--save", ""], {
      stdio: "ignore",
    });
    children.push(child);
    await until(() => say("ping") === "PONG" || child.exitCode !== null);
    return child;
  };
  const first = await start();
  say("set", "balance", "42");
  say("save");
  await open({});
  await until(() => made().length === 1);
  first.kill("SIGKILL");
  await until(() => first.exitCode !== null || first.signalCode !== null);
  writeFileSync(join(dir, "data", "dump.rdb"), "REDIS0009 and then nothing that makes sense");
  const broken = await start();
  await until(() => broken.exitCode !== null);
  rig.stands.set("engine", { is: "recovering", awaitsRemedy: true });
  const restored = await remedies.prepare({
    id: "r1",
    workload: "engine",
    rung: "backup_restore",
    incidentId: "",
    budgetMs: 20_000,
  });
  expect(restored).toMatchObject({ ok: true, because: expect.stringMatching(/restored is locked/) });
  await start();
  expect(say("get", "balance")).toBe("42");
  expect(rig.alerts).toMatchObject([{ what: "data_restored", severity: "high" }]);
});
