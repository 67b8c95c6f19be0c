import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { canMount, type SmallDisk, smallDisk } from "../../test/contract/small-disk.ts";
import { openRemedyRig, type RemedyRig } from "../../test/support/remedy-rig.ts";
import { specOf } from "../../test/support/spec.ts";
import { Backups } from "./backups.driver.ts";
import { openRemedies } from "./remedies.driver.ts";
import { HalfRestored, restoreData } from "./restore.driver.ts";

let dir: string;
let srv: string;
let rig: RemedyRig;
let backups: Backups;
let disk: SmallDisk | undefined;
const free = () => new AbortController().signal;
const mark = "0000000a";

beforeEach(() => {
  dir = realpathSync(mkdtempSync(join(tmpdir(), "bf-restore-")));
  srv = join(dir, "srv");
});
afterEach(async () => {
  await rig.close();
  disk?.remove();
  disk = undefined;
  rmSync(dir, { recursive: true, force: true });
});

/** Workloads with a folder of data each, which holds `a`; all are backed up, and then written to. */
async function open(folders: Readonly<Record<string, readonly string[]>>) {
  const specs = Object.entries(folders).map(([name, paths]) =>
    specOf({ name, data: { paths, everyMs: 3_600_000, keep: 5, maxBytes: 2 ** 30 } }),
  );
  const all = Object.values(folders).flat();
  for (const folder of all) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "a"), "of the backup");
  }
  rig = await openRemedyRig(dir, specs);
  backups = new Backups(rig.around);
  await backups.begin();
  for (const spec of specs) expect(await backups.make(spec, "v1", free())).toMatchObject({ ok: true });
  for (const folder of all) writeFileSync(join(folder, "a"), "now");
}
const held = (...folders: readonly string[]) => folders.map((folder) => readFileSync(join(folder, "a"), "utf8"));
async function restorable(workload: string) {
  const facts = backups.newest(workload);
  const manifest = facts && (await backups.manifest(facts));
  if (!manifest) throw new Error("there is a backup");
  const marks = join(rig.around.dataDir, "restored");
  return { folder: join(backups.folderOf(workload), manifest.id), manifest, mark, marks, wallMs: 0 };
}
/** Rung 5, as the machine of a workload that is down asks for it. */
async function restore(workload: string) {
  const remedies = await openRemedies(rig.around);
  rig.stands.set(workload, { is: "recovering", awaitsRemedy: true });
  const ask = { id: `r/${workload}`, workload, rung: "backup_restore", incidentId: "i1", budgetMs: 60_000 } as const;
  const result = await remedies.prepare(ask);
  await remedies.close();
  return result;
}

test.skipIf(!canMount())(
  "SYN-3 a restore failed at its second path, said that the data was left as it is, and left the first one an hour older (needs the right to mount)",
  async () => {
    const wal = join(srv, "wal");
    disk = smallDisk(4 * 2 ** 20);
    await open({ engine: [wal, disk.dir] });
    // What is mounted is not renamed.
    expect(await restore("engine")).toMatchObject({
      ok: false,
      because: expect.stringMatching(/left as it is: EBUSY/),
    });
    expect(held(wal, disk.dir)).toEqual(["now", "now"]);
    expect(readdirSync(srv)).toEqual(["wal"]);
  },
);

test("SYN-3 a restore of which nobody would know is taken back, of all its paths", async () => {
  const [first, second, gone] = [join(srv, "first"), join(srv, "second"), join(srv, "gone")];
  await open({ engine: [first, second, gone] });
  rmSync(gone, { recursive: true });
  const file = join(dir, "file");
  writeFileSync(file, "no folder");
  await expect(restoreData({ ...(await restorable("engine")), marks: file }, free())).rejects.toThrow("EEXIST");
  expect(held(first, second)).toEqual(["now", "now"]);
  expect(readdirSync(srv).sort()).toEqual(["first", "second"]);
});

test("SYN-3 a restore that cannot be taken back says which path holds what", async () => {
  const [first, second] = [join(srv, "first"), join(srv, "second")];
  await open({ engine: [first, second] });
  const asked = {
    ...(await restorable("engine")),
    get wallMs(): number {
      mkdirSync(join(srv, `.first.restoring-${mark}`)); // somebody is in the way
      throw new Error("the disk is full");
    },
  };
  const failed = await restoreData(asked, free()).catch((error: unknown) => error);
  expect(failed).toBeInstanceOf(HalfRestored);
  const said = `the disk is full; half restored: ${first} could not be taken back`;
  expect((failed as Error).message).toContain(said);
  expect((failed as Error).message).toContain(`what was there is kept as ${first}.corrupt-${mark}`);
  expect(held(first, `${first}.corrupt-${mark}`, second)).toEqual(["of the backup", "now", "now"]);
});

test("SYN-9 a restore replaced the data of a neighbour that ran, for it lay in the folder of the one that was ill", async () => {
  const [outer, inner, other] = [srv, join(srv, "b"), join(dir, "other")];
  await open({ a: [outer], b: [inner], c: [other] });
  for (const [workload, path, neighbour, theirs] of [
    ["a", outer, "b", inner],
    ["b", inner, "a", outer],
  ])
    expect(await restore(workload as string)).toMatchObject({
      ok: false,
      because: expect.stringContaining(
        `to restore ${path} would replace data of '${neighbour}' too, which is ${theirs}`,
      ),
    });
  expect(held(outer, inner)).toEqual(["now", "now"]);
  expect(await restore("c")).toMatchObject({ ok: true });
  expect(held(other)).toEqual(["of the backup"]);
});

test("SYN-9 what a person had put aside beside the data went with the agent's own third copy of corrupt data", async () => {
  const data = join(srv, "data");
  await open({ engine: [data] });
  const persons = join(srv, "data.corrupt-keep-for-lawyers");
  mkdirSync(persons);
  for (const mark of ["0000000a", "0000000b", "0000000c"])
    await restoreData({ ...(await restorable("engine")), mark }, free());
  expect(existsSync(persons)).toBe(true);
  expect(readdirSync(srv)).toHaveLength(4);
});
