import { expect, test } from "vitest";
import { parseProcessLine } from "../limits/process-line.ts";
import { addLines, cutLines, type LineCounts, linesWithin, wholeLength } from "./error-lines.ts";
import { nodeFigures, oursOf, workloadReadings } from "./node-figures.ts";
import { hasDefaultRoute, isLocal, parseCgroupCache, parseCgroupCpu, parseProcessIo } from "./proc-text.ts";
import { advance } from "./progress.ts";

test("SYN-7 the machine's readings become figures, with the shares that follow from them", () => {
  const reading = (sensor: string, value: number, subject = "") => ({ sensor, subject, value });
  const node = nodeFigures([
    reading("cpu_busy_ratio", 0.4),
    reading("memory_used_bytes", 3 * 2 ** 30),
    reading("memory_total_bytes", 4 * 2 ** 30),
    reading("disk_free_bytes", 20, "/data"),
    reading("disk_total_bytes", 100, "/data"),
    reading("network_up_ratio", 1),
  ]);
  expect(node).toMatchObject({
    cpu_busy_ratio: 0.4,
    memory_used_ratio: 0.75,
    disk_used_ratio: 0.8,
    network_up_ratio: 1,
  });
  // A disk that is silent has no share: what is not known is missing.
  expect(nodeFigures([reading("disk_silent_seconds", 3, "/data")])).toEqual({ disk_silent_seconds: 3 });
});

test("SYN-7 what our own families take is told apart from the rest of the machine", () => {
  const total = { memory_total_bytes: 1000 };
  const workloads = { a: { process_cpu_ratio: 1.5, process_memory_bytes: 200 }, b: { process_memory_bytes: 50 } };
  expect(oursOf(total, workloads, 4)).toEqual({ ours_cpu_ratio: 0.375, ours_memory_ratio: 0.25 });
  expect(oursOf(total, { b: { process_memory_bytes: 50 } }, 4)).toEqual({ ours_memory_ratio: 0.05 });
  expect(oursOf({}, {}, 4)).toEqual({ ours_cpu_ratio: 0 });
});

test("SYN-7 the main figures of each workload are sent as readings, within what a hub takes of one heartbeat", () => {
  const figures = {
    process_cpu_ratio: 0.1,
    process_memory_bytes: 5,
    process_tasks: 2,
    process_open_files: 9,
    progress_age_ms: 4,
    p95_latency_ms: 12,
    error_rate: 0,
    requests_per_second: 3,
  };
  const one = workloadReadings({ engine: figures });
  expect(one.map(({ sensor }) => sensor)).toEqual([
    "process_cpu_ratio",
    "process_memory_bytes",
    "process_tasks",
    "process_open_files",
    "p95_latency_ms",
    "error_rate",
    "requests_per_second",
  ]);
  expect(one.every(({ subject }) => subject === "workload/engine")).toBe(true);
  const many = Object.fromEntries(Array.from({ length: 500 }, (_, n) => [`w${n}`, figures]));
  const sent = workloadReadings(many);
  expect(sent.length).toBeLessThanOrEqual(900);
  // Whole workloads only: half a workload would look like a broken sensor.
  expect(sent.length % 7).toBe(0);
});

test("progress is a beat, output or I/O; CPU is none, and the agent's own absence does not count", () => {
  const start = { movedMs: 1000 };
  const still = { outputBytes: 0, ioBytes: 0 };
  expect(advance(start, still, 6000, 0)).toEqual({ movedMs: 1000 });
  expect(advance(start, { ...still, outputBytes: 1 }, 6000, 0)).toEqual({ movedMs: 6000 });
  expect(advance(start, { ...still, ioBytes: 65 }, 6000, 0)).toEqual({ movedMs: 6000 });
  // An idle Node that wakes itself gets nowhere.
  expect(advance(start, { ...still, ioBytes: 16 }, 6000, 0)).toEqual({ movedMs: 1000 });
  const beaten = advance(start, { ...still, lastBeatMs: 4000 }, 6000, 0);
  expect(beaten).toEqual({ movedMs: 4000, lastBeatMs: 4000 });
  // The same beat again is no other beat.
  expect(advance(beaten, { ...still, lastBeatMs: 4000 }, 11_000, 0)).toEqual({ movedMs: 4000, lastBeatMs: 4000 });
  expect(advance(start, still, 66_000, 60_000)).toEqual({ movedMs: 61_000 });
  expect(advance(start, still, 5000, 60_000)).toEqual({ movedMs: 5000 });
});

test("lines that look like errors are counted over the last minute", () => {
  let counts: LineCounts = [];
  for (let at = 0; at < 120_000; at += 1000) counts = addLines(counts, 2, at);
  expect(linesWithin(counts, 119_000)).toBe(120);
  expect(counts.length).toBeLessThanOrEqual(12);
  expect(linesWithin(counts, 150_000)).toBeLessThan(70);
  expect(linesWithin(counts, 400_000)).toBe(0);
  expect(addLines(counts, 0, 500_000)).toBe(counts);
});

test("output is looked through in whole lines, each up to a KiB", () => {
  const bytes = (text: string) => new TextEncoder().encode(text);
  expect([wholeLength(bytes("a\nbc\nhalf")), wholeLength(bytes("half")), wholeLength(bytes("x".repeat(2000)))]).toEqual(
    [5, 0, 2000],
  );
  expect(cutLines(`a\n${"x".repeat(5000)}\nc`).map((line) => line.length)).toEqual([1, 1024, 1]);
});

test("texts of the kernel about processes, cgroups and routes are read as they are written", () => {
  const stat = `7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 30 12 0 0 20 0 5 0 4711 123456 88 0`;
  expect(parseProcessLine(7, stat)).toEqual({
    pid: 7,
    state: "S",
    ppid: 1,
    session: 7,
    cpuTicks: 42,
    threads: 5,
    startTicks: 4711,
    residentPages: 88,
    name: "a) b (c)",
  });
  expect([parseProcessLine(7, ""), parseProcessLine(7, "7 (x")]).toEqual([undefined, undefined]);
  expect(parseProcessIo("rchar: 10\nwchar: 5\nsyscr: 3\nread_bytes: 4096\nwrite_bytes: 0\n")).toBe(15);
  expect([parseCgroupCpu("usage_usec 77\nuser_usec 70\n"), parseCgroupCpu("")]).toEqual([77, undefined]);
  expect([parseCgroupCache("anon 5\ninactive_file 4096\n"), parseCgroupCache("")]).toEqual([4096, 0]);
  const mounts =
    "/dev/a / ext4 rw\nsrv:/x /net nfs4 rw\n/dev/b /my\\040disk xfs rw\nd /net/over tmpfs rw\nsrv:/y /net/over nfs rw\n";
  expect(["/var/log", "/net/logs", "/my disk/logs", "/net/over/x"].map((path) => isLocal(mounts, path))).toEqual([
    true,
    false,
    true,
    false,
  ]);
  expect(isLocal("", "/var/log")).toBe(false);
  const head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n";
  expect(hasDefaultRoute(`${head}eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\n`, false)).toBe(true);
  expect(hasDefaultRoute(`${head}eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\n`, false)).toBe(false);
  const six = (name: string) =>
    `${"0".repeat(32)} 00 ${"0".repeat(32)} 00 fd01 00000400 00000002 00000000 00000003     ${name}\n`;
  expect([hasDefaultRoute(six("eth0"), true), hasDefaultRoute(six("lo"), true), hasDefaultRoute("", true)]).toEqual([
    true,
    false,
    false,
  ]);
});
