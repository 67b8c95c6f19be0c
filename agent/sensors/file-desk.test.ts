import { mkdtempSync, readFileSync, realpathSync, rmSync, type Stats, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { expect, test } from "vitest";
import { FileDesk } from "./file-desk.driver.ts";
import { mountOf } from "./proc-text.ts";
import type { Flight } from "./single-flight.driver.ts";

const settle = () => new Promise((resolve) => setImmediate(resolve));

/** A desk on virtual time. Files below /dead never answer until they are released; /none is not there; others answer at once. */
function bench(max = 6, perDiskMax = 2) {
  const clock = new VirtualClock();
  const asked: string[] = [];
  const stuck: { path: string; release: () => void }[] = [];
  const dead = ["/dead"];
  const desk = new FileDesk({
    clock,
    max,
    perDiskMax,
    stat: (path) => {
      asked.push(path);
      const answer = { size: path.length, dev: path.startsWith("/mnt") ? 9 : 1 } as Stats;
      if (path.startsWith("/none")) return Promise.reject(new Error("not there"));
      if (!dead.some((disk) => path.startsWith(disk))) return Promise.resolve(answer);
      return new Promise((resolve) => stuck.push({ path, release: () => resolve(answer) }));
    },
  });
  const told: Record<string, Flight<number>> = {};
  const look = (path: string, waitMs = 1000, what = "size") => {
    void desk
      .look(path, what, ({ size }) => size, waitMs)
      .then((flight) => {
        told[path] = flight;
      });
  };
  return { clock, desk, asked, stuck, told, look, die: (disk: string) => dead.push(disk) };
}

test("DOL-9 a file that hangs is silent after its deadline, is asked once only, and answers when its disk is back", async () => {
  const { clock, look, told, asked, stuck, desk } = bench();
  look("/dead/a");
  await settle();
  clock.advance(999);
  await settle();
  expect(told).toEqual({});
  clock.advance(1);
  await settle();
  expect(told["/dead/a"]).toEqual({ is: "silent", sinceMs: 1000 });
  look("/dead/a");
  clock.advance(1000);
  await settle();
  expect(told["/dead/a"]).toEqual({ is: "silent", sinceMs: 2000 });
  expect([asked.length, desk.underWay]).toEqual([1, 1]);
  look("/dead/a");
  stuck[0]?.release();
  await settle();
  expect([told["/dead/a"], desk.underWay]).toEqual([{ is: "answered", value: 7 }, 0]);
});

test("DOL-9 a dead disk holds two threads however many files lie on it, and other files answer at once", async () => {
  const { clock, look, told, desk, die } = bench();
  for (let n = 0; n < 100; n += 1) look(`/mnt/${n}`);
  look("/alive/first");
  await settle();
  expect(told["/mnt/99"]).toMatchObject({ is: "answered" });
  die("/mnt");
  for (let n = 0; n < 100; n += 1) look(`/mnt/${n}`);
  look("/alive/first");
  await settle();
  expect(desk.underWay).toBe(2);
  expect(told["/alive/first"]).toMatchObject({ is: "answered" });
  clock.advance(1000);
  await settle();
  expect(told["/mnt/0"]).toEqual({ is: "silent", sinceMs: 1000 });
  // It was not asked, and that says something: its own disk is full of looks that hang.
  expect(told["/mnt/99"]).toEqual({ is: "silent", sinceMs: 1000 });
});

const isOnRootDisk = mountOf(readFileSync("/proc/self/mounts", "utf8"), realpathSync(tmpdir())) === "/";

test.skipIf(!isOnRootDisk)(
  "DOL-9 a dead disk behind a link held up files beside that link (needs the temporary folder on the root disk)",
  async () => {
    const dir = realpathSync(mkdtempSync(join(tmpdir(), "bf-desk-")));
    try {
      symlinkSync("/proc", join(dir, "disk"));
      symlinkSync("disk/self", join(dir, "more"));
      const { look, told, desk, die } = bench();
      for (const link of ["disk", "more"]) die(join(dir, link));
      for (const link of ["disk", "more"]) for (const file of ["a", "b", "c"]) look(join(dir, link, file));
      look(join(dir, "alive"));
      await settle();
      expect(desk.underWay).toBe(2);
      expect(told[join(dir, "alive")]).toMatchObject({ is: "answered" });
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  },
);

test("DOL-9 when several disks die, no more threads are held than the desk has, and what was never asked says so", async () => {
  const { clock, look, told, desk } = bench(2, 1);
  // A file that has failed before is a disk of its own, so that a dead neighbour cannot hide that it has come.
  for (const path of ["/none/a", "/alive/a", "/alive/b"]) look(path);
  await settle();
  expect(told["/none/a"]).toMatchObject({ is: "failed" });
  look("/dead/a");
  await settle();
  look("/none/a");
  await settle();
  expect(told["/none/a"]).toMatchObject({ is: "failed" });
  const before = desk.underWay;
  look("/dead/b");
  await settle();
  expect([before, desk.underWay]).toEqual([1, 1]);
  clock.advance(1000);
  await settle();
  // It has never answered, so nobody knows whether it lies on the disk that hangs: it is not judged.
  expect(told["/dead/b"]).toEqual({ is: "silent", sinceMs: 1000, unasked: true });
  const full = bench(1, 1);
  full.look("/alive/a");
  await settle();
  full.look("/dead/a");
  full.look("/alive/a");
  await settle();
  full.clock.advance(1000);
  await settle();
  expect(full.told["/alive/a"]).toEqual({ is: "silent", sinceMs: 1000, unasked: true });
});

test("questions about one file that ask for different things do not take each other's answers", async () => {
  const { desk } = bench();
  const [size, name] = await Promise.all([
    desk.look("/alive/x", "size", ({ size }) => size, 1000),
    desk.look("/alive/x", "name", () => "x", 1000),
  ]);
  expect([size, name]).toEqual([
    { is: "answered", value: 8 },
    { is: "answered", value: "x" },
  ]);
});

test("what a question throws is its failure, and frees its thread", async () => {
  const { desk } = bench();
  const flight = await desk.look("/alive/x", "bad", () => Promise.reject(new Error("no")), 1000);
  expect(flight).toMatchObject({ is: "failed", error: new Error("no") });
  expect(desk.underWay).toBe(0);
});
