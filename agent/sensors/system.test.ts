import { hostname, release, tmpdir, type } from "node:os";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { expect, test } from "vitest";
import { FamilyFigures } from "./family-figures.driver.ts";
import { inventory, readInventory } from "./inventory.driver.ts";
import { mountOf, parseCpu, parseLoad, parseMemory, parseNetwork } from "./proc-text.ts";
import type { Reading } from "./reading.ts";
import { singleFlight } from "./single-flight.driver.ts";
import { diskReader, libraryReader, systemSensors } from "./system.driver.ts";
import { watchSensors } from "./watch.driver.ts";

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const figure = (readings: readonly Reading[], sensor: string) => readings.find((one) => one.sensor === sensor)?.value;

test("the machine's figures are read, with rates from the second time on", async () => {
  const system = systemSensors(tmpdir(), realClock());
  const first = await system.read();
  expect(figure(first, "cpu_busy_ratio")).toBeUndefined();
  const total = figure(first, "memory_total_bytes") ?? 0;
  expect(total).toBeGreaterThan(64 * 2 ** 20);
  expect(figure(first, "memory_used_bytes")).toBeLessThan(total);
  const disk = first.find(({ sensor }) => sensor === "disk_free_bytes");
  expect(tmpdir().startsWith(disk?.subject ?? "none")).toBe(true);
  expect(disk?.value).toBeGreaterThan(0);
  expect(disk?.value).toBeLessThanOrEqual(figure(first, "disk_total_bytes") ?? 0);
  const until = performance.now() + 300;
  while (performance.now() < until); // Busy on purpose: the ratio must see it.
  const second = await system.read();
  expect(figure(second, "cpu_busy_ratio")).toBeGreaterThan(0.05);
  expect(figure(second, "cpu_busy_ratio")).toBeLessThanOrEqual(1);
  expect(figure(second, "network_sent_bytes_per_second")).toBeGreaterThanOrEqual(0);
  expect(figure(second, "load_1m_ratio")).toBeGreaterThanOrEqual(0);
});

test("where there is no /proc a library gives the same figures under the same names", async () => {
  const read = libraryReader();
  let readings = await read();
  while (readings.length === 0) readings = await read();
  const own = await systemSensors(tmpdir(), realClock()).read();
  expect(figure(readings, "memory_total_bytes")).toBe(figure(own, "memory_total_bytes"));
  expect(readings.map(({ sensor }) => sensor)).toEqual([
    "cpu_busy_ratio",
    "load_1m_ratio",
    "memory_used_bytes",
    "memory_total_bytes",
    "swap_used_bytes",
  ]);
});

test("every sensor's name ends with its unit", async () => {
  const system = systemSensors(tmpdir(), realClock());
  await system.read();
  await wait(20);
  const family = new FamilyFigures(realClock(), () => undefined);
  family.read("w", process.pid);
  const names = [
    ...(await system.read()).map(({ sensor }) => sensor),
    ...Object.keys(family.read("w", process.pid)?.figures ?? {}),
  ];
  family.close();
  expect(names).toEqual(expect.arrayContaining(["memory_used_bytes", "process_tasks"]));
  for (const name of names) expect(name).toMatch(/_(ratio|bytes|bytes_per_second|celsius|seconds|inodes|tasks|files)$/);
});

test("a disk that hangs is told as silent, is asked once only, and holds nothing up", async () => {
  let asked = 0;
  const hanging = Promise.withResolvers<{ mount: string; freeBytes: number; totalBytes: number; freeInodes: number }>();
  const disk = diskReader("/data", () => {
    asked += 1;
    return hanging.promise;
  });
  const [first, second] = await Promise.all([disk(), disk()]);
  expect(first).toEqual([{ sensor: "disk_silent_seconds", subject: "/data", value: expect.any(Number) }]);
  expect(figure(second, "disk_silent_seconds")).toBeGreaterThan(0.4);
  const third = await disk();
  expect(figure(third, "disk_silent_seconds")).toBeGreaterThan(0.9);
  expect(asked).toBe(1);
  hanging.resolve({ mount: "/mnt", freeBytes: 5, totalBytes: 9, freeInodes: Number.NaN });
  await wait(0);
  expect(await disk()).toEqual([
    { sensor: "disk_free_bytes", subject: "/mnt", value: 5 },
    { sensor: "disk_total_bytes", subject: "/mnt", value: 9 },
  ]);
});

test("a question that fails is no silence, and the next one is asked anew", async () => {
  let asked = 0;
  const ask = singleFlight(() => Promise.reject(new Error(`no ${++asked}`)), 1000);
  expect(await ask()).toMatchObject({ is: "failed" });
  expect(await ask()).toMatchObject({ is: "failed", error: new Error("no 2") });
});

test("the inventory names the machine, and is asked once", async () => {
  const known = await readInventory(20_000);
  const plain = await readInventory(20_000, () => Promise.reject(new Error("no names")));
  expect(known).toMatchObject({ hostName: hostname(), cores: plain.cores, memoryBytes: plain.memoryBytes });
  // The built-in module says "Linux" where the library knows the distribution.
  expect(known.os).not.toBe(plain.os);
  expect(inventory()).toBe(inventory());
});

test("an inventory that does not answer is replaced by what the built-in module knows", async () => {
  const known = await readInventory(20, () => new Promise(() => {}));
  expect(known).toMatchObject({ hostName: hostname(), os: type(), kernel: release() });
});

test("texts of /proc are read as the kernel writes them", () => {
  expect(parseCpu("cpu  100 5 50 800 40 3 2 0 10 0\ncpu0 1 1 1 1\n")).toEqual({ busy: 160, total: 1000 });
  expect(
    parseMemory("MemTotal:  1000 kB\nMemFree: 100 kB\nMemAvailable:  600 kB\nSwapTotal: 50 kB\nSwapFree: 20 kB\n"),
  ).toEqual({
    totalBytes: 1_024_000,
    usedBytes: 409_600,
    swapUsedBytes: 30_720,
  });
  const dev =
    "Inter-|   Receive\n face |bytes\n    lo: 999 1 0 0 0 0 0 0 999 1 0 0 0 0 0 0\n  eth0:100 1 0 0 0 0 0 0 50 1 0 0 0 0 0 0\nwlan0: 7 1 0 0 0 0 0 0 3 0 0 0 0 0 0 0\n";
  expect(parseNetwork(dev)).toEqual({ receivedBytes: 107, sentBytes: 53 });
  expect([parseLoad("0.52 0.40 0.30 1/130 999\n"), parseLoad("")]).toEqual([0.52, undefined]);
  const mounts = "/dev/a / ext4 rw 0 0\n/dev/b /var ext4 rw 0 0\n/dev/c /var/my\\040disk ext4 rw 0 0\n";
  expect(["/etc", "/var/lib/x", "/var/my disk/x", "/variety"].map((path) => mountOf(mounts, path))).toEqual([
    "/",
    "/var",
    "/var/my disk",
    "/",
  ]);
  expect([parseCpu(""), parseMemory("")]).toEqual([undefined, undefined]);
});

test("a disk that hangs while the history is kept does not make the machine's figures old", async () => {
  const clock = new VirtualClock(0);
  let reads = 0;
  let asked = 0;
  const watch = watchSensors({
    sensors: { read: () => Promise.resolve([{ sensor: "load_1m_ratio", subject: "", value: ++reads }]) },
    clock,
    everyMs: 1000,
    historyEveryMs: 2000,
    keep: () => {
      asked++;
      return new Promise(() => undefined);
    },
  });
  for (let second = 0; second < 10; second++) {
    await new Promise((resolve) => setImmediate(resolve));
    clock.advance(1000);
  }
  await new Promise((resolve) => setImmediate(resolve));
  watch.close();
  expect([watch.latest()[0]?.value, asked]).toEqual([11, 1]);
});
