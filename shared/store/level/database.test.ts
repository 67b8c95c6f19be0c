import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Level } from "level";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { canMount, type SmallDisk, smallDisk } from "../../../test/contract/small-disk.ts";
import { isFault } from "../../errors/fault.ts";
import { realClock } from "../../time/real-clock.driver.ts";
import type { Database } from "./database.ts";
import { openDatabase } from "./open-database.ts";

const clock = realClock();
const megabytes = 1024 * 1024;
let dir = "";
let path = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "bf-store-"));
  path = join(dir, "store");
});
afterEach(async () => {
  vi.restoreAllMocks();
  await rm(dir, { recursive: true, force: true });
});

const open = () => openDatabase(path, { clock });
const code = (error: unknown) => (isFault(error) ? error.code : error);
const put = (database: Database, key: string, text: string, synced = true) =>
  database.submit({ build: () => [{ type: "put", key, value: Buffer.from(text) }] }, synced);
async function made(): Promise<void> {
  const database = await open();
  await put(database, "a", "1");
  await database.close();
}

test("a second opener in the same process is refused, and the first one keeps the store", async () => {
  const first = await open();
  expect(await open().catch(code)).toBe("STORE_LOCKED");
  await put(first, "a", "1");
  await first.close();
  await (await open()).close();
});

test("a second process is refused while the first one lives, and let in when it was killed", async () => {
  const program = `
    import { openDatabase } from ${JSON.stringify(join(import.meta.dirname, "open-database.ts"))};
    import { realClock } from ${JSON.stringify(join(import.meta.dirname, "../../time/real-clock.driver.ts"))};
    await openDatabase(process.argv[1], { clock: realClock() });
    console.log("open");
    setInterval(() => {}, 1000);`;
  const holder = spawn(process.execPath, ["--no-warnings", "--input-type=module", "-e", program, path], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(holder.stdout, "data");
  expect(await open().catch(code)).toBe("STORE_LOCKED");
  holder.kill("SIGKILL");
  await once(holder, "exit");
  await (await open()).close();
});

test("a lock whose holder's number was given to another process is known as dead", async () => {
  await made();
  const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  writeFileSync(`${path}.lock`, JSON.stringify({ pid: process.ppid, started: "1", boot }));
  await (await open()).close();
});

test("a lock from before a reboot is known as dead", async () => {
  await made();
  const started = readFileSync(`/proc/${process.ppid}/stat`, "utf8").split(") ")[1]?.split(" ")[19] ?? "";
  const before = { pid: process.ppid, started, boot: "another-boot" };
  writeFileSync(`${path}.lock`, JSON.stringify(before));
  await (await open()).close();
});

test("a lock whose holder was killed and whose parent never asks for it is known as dead", async () => {
  await made();
  // What `sleep` inherits from the shell before it, it does not know of: the child stays a zombie.
  const parent = spawn("/bin/sh", ["-c", "sleep 0.2 & echo $!; exec sleep 60"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  try {
    const [said] = (await once(parent.stdout, "data")) as [Buffer];
    const pid = Number(String(said));
    const statOf = () => readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    writeFileSync(`${path}.lock`, JSON.stringify({ pid, started: statOf()[19], boot }));
    expect(await open().catch(code)).toBe("STORE_LOCKED");
    await vi.waitUntil(() => statOf()[0] === "Z", { timeout: 10_000 });
    await (await open()).close();
  } finally {
    parent.kill("SIGKILL");
  }
});

test("a lock of a living process holds even when LevelDB's own is free", async () => {
  await made();
  const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  const started = readFileSync(`/proc/${process.ppid}/stat`, "utf8").split(") ")[1]?.split(" ")[19] ?? "";
  writeFileSync(`${path}.lock`, JSON.stringify({ pid: process.ppid, started, boot }));
  expect(await open().catch(code)).toBe("STORE_LOCKED");
});

test("a store that is gone after its first run is reported, not made again", async () => {
  await made();
  rmSync(path, { recursive: true });
  expect(await open().catch(code)).toBe("STORE_MISSING");
  expect(await readdir(dir)).toEqual(["store.made", "store.witness"]);
});

test("a store that lost its CURRENT file is repaired with everything in it, and the damaged one is kept", async () => {
  await made();
  rmSync(join(path, "CURRENT"));
  const database = await open();
  expect(Buffer.from((await database.get("a")) ?? []).toString()).toBe("1");
  expect(database.repairs).toBe(1);
  expect(database.notes[0]).toMatch(/repaired/);
  await database.close();
  expect((await readdir(dir)).some((file) => file.startsWith("store.damaged-"))).toBe(true);
});

test("a store with a cut manifest is repaired with everything in it", async () => {
  await made();
  const manifest = (await readdir(path)).find((file) => file.startsWith("MANIFEST")) ?? "";
  truncateSync(join(path, manifest), 10);
  const database = await open();
  expect(Buffer.from((await database.get("a")) ?? []).toString()).toBe("1");
  await database.close();
});

test("a store that breaks again and again is left as it is after three repairs", async () => {
  await made();
  for (let round = 1; round <= 3; round++) {
    rmSync(join(path, "CURRENT"));
    const database = await open();
    expect(database.repairs).toBe(round);
    await database.close();
  }
  rmSync(join(path, "CURRENT"));
  expect(await open().catch(code)).toBe("STORE_DAMAGED");
  expect((await readdir(dir)).filter((file) => file.startsWith("store.damaged-"))).toHaveLength(3);
});

test("a store that cannot be repaired is never taken for an empty one", async () => {
  await made();
  for (const file of await readdir(path)) {
    if (/^(MANIFEST|.*\.(log|ldb)$)/.test(file)) truncateSync(join(path, file), 0);
  }
  expect(await open().catch(code)).toBe("STORE_DAMAGED");
  expect(await open().catch(code)).toBe("STORE_DAMAGED");
});

test("a store of a newer format is refused with the version needed", async () => {
  await made();
  const level = new Level<string, string>(path);
  await level.put("!format", "2");
  await level.close();
  const error = await open().catch((reason: unknown) => reason);
  expect(code(error)).toBe("STORE_NEWER");
  expect(String(error)).toMatch(/format 2, this version knows 1/);
});

test("a data directory that is a file is named as unusable", async () => {
  writeFileSync(path, "");
  expect(await openDatabase(join(path, "store"), { clock }).catch(code)).toBe("DATA_DIR_UNUSABLE");
});

test("what a job refuses by itself harms none of the others in its batch", async () => {
  const database = await open();
  const refused = database.submit(
    {
      build: () => {
        throw new Error("mine");
      },
    },
    true,
  );
  const [one, two, three] = await Promise.allSettled([put(database, "a", "1"), refused, put(database, "b", "2")]);
  expect([one?.status, two?.status, three?.status]).toEqual(["fulfilled", "rejected", "fulfilled"]);
  expect(await database.keys({ gte: "a", lt: "c" })).toEqual(["a", "b"]);
  await database.close();
});

test("jobs are built and land in the order in which they came, batched and synced mixed", async () => {
  const database = await open();
  const order: string[] = [];
  const job = (name: string) => ({
    build: () => {
      order.push(`build ${name}`);
      return [{ type: "put", key: "k", value: Buffer.from(name) } as const];
    },
    landed: () => void order.push(`land ${name}`),
  });
  await Promise.all(["a", "b", "c", "d"].map((name, at) => database.submit(job(name), at % 2 === 1)));
  expect(order.filter((line) => line.startsWith("build"))).toEqual(["a", "b", "c", "d"].map((name) => `build ${name}`));
  expect(order.filter((line) => line.startsWith("land"))).toEqual(["a", "b", "c", "d"].map((name) => `land ${name}`));
  expect(Buffer.from((await database.get("k")) ?? []).toString()).toBe("d");
  await database.close();
});

test("a batched write is followed by a sync although nobody asks for one", async () => {
  const synced = Promise.withResolvers<void>();
  const database = await openDatabase(path, { clock, onSynced: () => synced.resolve() });
  await put(database, "a", "1", false);
  await synced.promise;
  await database.close();
});

test("more waiting than the disk can follow is refused by name", async () => {
  const database = await open();
  const outcomes = await Promise.allSettled(Array.from({ length: 25_000 }, (_, at) => put(database, `k${at}`, "v")));
  const refused = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [code(outcome.reason)] : []));
  expect(new Set(refused)).toEqual(new Set(["LIMIT_REACHED"]));
  expect((await database.keys({ gte: "k", lt: "l" })).length).toBe(25_000 - refused.length);
  await database.close();
});

/** The next batch of any LevelDB in this process does what `does` says; it is given the real one. */
function nextBatch(does: (real: () => Promise<void>) => Promise<void>): void {
  const real: unknown = Reflect.get(Level.prototype, "batch");
  const faulty = function (this: unknown, ...args: unknown[]) {
    return does(async () => {
      if (typeof real === "function") await Reflect.apply(real, this, args);
    });
  };
  vi.spyOn(Level.prototype, "batch").mockImplementationOnce(faulty as never);
}

test("a write that reached the disk although an error was reported is acknowledged after the store was read back", async () => {
  const database = await open();
  await put(database, "a", "1");
  nextBatch(async (real) => {
    await real();
    throw new Error("an error after the fact");
  });
  const landed = vi.fn();
  await database.submit({ build: () => [{ type: "put", key: "b", value: Buffer.from("2") }], landed }, true);
  expect(landed).toHaveBeenCalledOnce();
  expect([await database.keys({ gte: "a", lt: "c" }), database.trouble()]).toEqual([["a", "b"], undefined]);
  await database.close();
});

test("a write that did not reach the disk is refused, undone in reverse order, and the next one is taken", async () => {
  const database = await open();
  const order: string[] = [];
  const job = (name: string) => ({
    build: () => [],
    landed: () => order.push(name),
    lost: () => order.push(`-${name}`),
  });
  const ahead = put(database, "a", "1"); // on its way: the two behind it share the batch that fails
  nextBatch(() => Promise.reject(new Error("an error")));
  const two = [database.submit(job("one"), true), database.submit(job("two"), true)];
  const refused = await Promise.all(two.map((done) => done.catch(code)));
  expect(refused).toEqual(["STORE_WRITE_FAILED", "STORE_WRITE_FAILED"]);
  await ahead;
  expect(order).toEqual(["-two", "-one"]);
  await put(database, "b", "2");
  expect(await database.keys({ gte: "a", lt: "c" })).toEqual(["a", "b"]);
  await database.close();
});

test("when an acknowledged write is gone after an error the store takes nothing more and says so", async () => {
  const database = await open();
  nextBatch(() => Promise.resolve()); // LevelDB after a full disk: acknowledged, and not there
  await put(database, "a", "1");
  nextBatch(() => Promise.reject(new Error("an error")));
  await put(database, "b", "2").catch(() => {});
  expect(await put(database, "c", "3").catch(code)).toBe("STORE_DAMAGED");
  expect(database.trouble()).toMatch(/acknowledged and is gone/);
  await database.close();
});

test.skipIf(!canMount())(
  "after a full disk was freed writing resumes, and no acknowledged write was lost (needs the right to mount)",
  async () => {
    const disk: SmallDisk = smallDisk(48 * megabytes);
    let database: Database | undefined;
    try {
      const place = join(disk.dir, "store");
      database = await openDatabase(place, { clock });
      const acknowledged = new Set<string>();
      const refused = new Set<unknown>();
      let count = 0;
      const write = async () => {
        const key = `k${String(count++).padStart(6, "0")}`;
        const value = Buffer.alloc(32 * 1024, key);
        const done = database?.submit({ build: () => [{ type: "put", key, value }] }, count % 2 === 0);
        await done?.then(
          () => acknowledged.add(key),
          (error: unknown) => refused.add(code(error)),
        );
      };
      for (let round = 0; round < 3; round++) {
        for (let at = 0; at < 10; at++) await write();
        disk.fill(megabytes);
        while (!database.trouble()) await write();
        for (let at = 0; at < 20; at++) await write();
        expect(refused).toEqual(new Set(["STORE_WRITE_FAILED"]));
        expect(database.trouble()).toMatch(/STORE_WRITE_FAILED/);
        const [first] = acknowledged;
        expect((await database.get(first ?? ""))?.byteLength).toBe(32 * 1024); // reading goes on
        disk.free();
        while (database.trouble()) await new Promise((resolve) => setTimeout(resolve, 20));
        const before = acknowledged.size;
        for (let at = 0; at < 100; at++) await write();
        expect(acknowledged.size).toBe(before + 100);
      }
      await database.close();
      database = await openDatabase(place, { clock });
      const found = new Set(await database.keys({ gte: "k", lt: "l" }));
      expect([...acknowledged].filter((key) => !found.has(key))).toEqual([]);
    } finally {
      await database?.close();
      disk.remove();
    }
  },
  60_000,
);
