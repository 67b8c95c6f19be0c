import { Fault } from "@blueflame/shared/errors/fault.ts";
import { WorkloadPhase } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import { GetStatusResponseSchema, LinkState } from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { checkup, type Findings } from "./checkup.ts";
import { defaultDataDir } from "./place.ts";

const nowMs = Date.UTC(2026, 10, 22, 12);
const dayMs = 86_400_000;

const status = create(GetStatusResponseSchema, {
  version: "0.1.0",
  pid: 77,
  link: LinkState.CONNECTED,
  hub: "hub:7443",
  workloads: [
    { name: "firewall", phase: WorkloadPhase.RUNNING },
    { name: "cache", phase: WorkloadPhase.STOPPED },
  ],
});

const well: Findings = {
  nodeVersion: { version: "24.21.0", newEnough: true },
  dataDir: { path: "/d", is: "usable", because: "" },
  disk: { freeBytes: 50 * 1024 ** 3, totalBytes: 100 * 1024 ** 3 },
  agent: { is: "well", status },
  config: { file: "/c.yaml" },
  certificates: [{ file: "/n.crt", fromMs: nowMs - dayMs, toMs: nowMs + 90 * dayMs }],
  clock: { nowMs, newestFileMs: nowMs - 1000 },
  cgroup: "v2",
  proc: true,
  processes: [{ pid: 5, workload: "firewall" }],
  recovery: {
    watchdog: { is: "answers", pid: 78, init: false },
    goodCopy: { is: "sound", version: "0.1.0", files: 3 },
    snapshots: { count: 3, takenWallMs: nowMs - 3_600_000 },
    limits: [{ workload: "firewall", what: "tasks", by: "cgroup" }],
    native: true,
  },
};

/** The lines that are not ok, as `check state: found`. */
function complaints(more: Partial<Findings>): string[] {
  const unwell = checkup({ ...well, ...more }).filter((check) => check.state !== "ok");
  for (const check of unwell) expect(check.remedy, check.check).not.toBe("");
  return unwell.map(({ check, state, saw }) => `${check} ${state}: ${saw}`);
}

test("a well node has nothing to complain of", () => {
  expect(complaints({})).toEqual([]);
});

test("each thing that is wrong with the machine is one line with a remedy", () => {
  expect(complaints({ nodeVersion: { version: "20.20.2", newEnough: false } })).toEqual(["node fail: Node 20.20.2"]);
  expect(complaints({ proc: false })).toEqual(["proc fail: /proc is missing"]);
  expect(complaints({ cgroup: "v1" })).toEqual(["cgroup warn: version 1 only"]);
  expect(complaints({ cgroup: "none" })).toEqual(["cgroup warn: none is mounted"]);
  expect(complaints({ dataDir: { path: "/d", is: "missing", because: "" } })).toEqual([
    "data dir warn: /d is not there yet",
  ]);
  expect(complaints({ dataDir: { path: "/d", is: "refused", because: "EROFS" } })).toEqual([
    "data dir fail: /d: EROFS",
  ]);
});

test("disk space warns below 512 MiB and fails below 64 MiB", () => {
  const mib = 1024 ** 2;
  const at = (freeBytes: number) => complaints({ disk: { freeBytes, totalBytes: 1024 * mib } });
  expect(at(512 * mib)).toEqual([]);
  expect(at(512 * mib - 1)).toEqual(["disk warn: 511MiB free of 1GiB"]);
  expect(at(64 * mib)).toEqual(["disk warn: 64MiB free of 1GiB"]);
  expect(at(64 * mib - 1)).toEqual(["disk fail: 63MiB free of 1GiB"]);
  expect(complaints({ disk: undefined })).toEqual(["disk warn: its space is unknown"]);
});

test("a clock that stands before the program, or behind its own files, is seen", () => {
  expect(complaints({ clock: { nowMs: 0, newestFileMs: undefined }, certificates: [] })).toEqual([
    "clock fail: 1970-01-01T00:00:00.000Z is before this program was made",
  ]);
  expect(complaints({ clock: { nowMs, newestFileMs: nowMs + 300_000 } })).toEqual([]);
  expect(complaints({ clock: { nowMs, newestFileMs: nowMs + 300_001 } })).toEqual([
    "clock warn: files here were written 5m00s in the future: the date went back",
  ]);
});

test("a certificate is judged a week before it ends, after it ended, and before it begins", () => {
  const valid = (fromMs: number, toMs: number) => complaints({ certificates: [{ file: "/n.crt", fromMs, toMs }] });
  expect(valid(nowMs, nowMs + 7 * dayMs + 1)).toEqual([]);
  expect(valid(nowMs, nowMs + 7 * dayMs)).toEqual(["certificate warn: /n.crt is valid until 2026-11-29"]);
  expect(valid(nowMs - dayMs, nowMs - 60_000)).toEqual(["certificate fail: /n.crt expired 1m00s ago"]);
  expect(valid(nowMs + 60_000, nowMs + dayMs)).toEqual(["certificate fail: /n.crt is valid only in 1m00s"]);
  expect(complaints({ certificates: [{ file: "/n.crt", problem: "ENOENT" }] })).toEqual([
    "certificate fail: /n.crt: ENOENT",
  ]);
});

test("an agent that is away fails with its reason, and its workloads are counted as running without it", () => {
  const fault = new Fault("AGENT_UNREACHABLE", "no agent answers");
  expect(complaints({ agent: { is: "away", fault } })).toEqual([
    "agent fail: no agent answers",
    "orphans warn: 1 process runs without an agent: firewall (5)",
  ]);
  expect(complaints({ agent: { is: "away", fault }, processes: [] })).toEqual(["agent fail: no agent answers"]);
  expect(complaints({ agent: { is: "away", fault, stopped: 9 }, processes: [] })).toEqual([
    "agent fail: process 9 was stopped by a signal (state T): it lives and answers nobody",
  ]);
});

test("what the agent complains of itself is shown with its remedy, a store that cannot be written as a failure", () => {
  const store = new Fault("STORE_WRITE_FAILED", "no space left on device").message;
  const port = new Fault("PORT_IN_USE", "something listens on 9000").message;
  const agent: Findings["agent"] = { is: "well", status: { ...status, warnings: [store, port, "in its own words"] } };
  const checks = checkup({ ...well, agent });
  expect(checks.filter(({ check, state }) => state !== "ok" || check === "store")).toEqual([
    {
      check: "store",
      state: "fail",
      saw: "no space left on device",
      remedy: "Free space on the disk of the data directory or mend it; writing resumes by itself.",
    },
    {
      check: "agent",
      state: "warn",
      saw: "something listens on 9000",
      remedy: "Stop what listens there, or give another address.",
    },
    { check: "agent", state: "warn", saw: "in its own words", remedy: "" },
  ]);
});

test("a link that is not up warns with its reason; a node without a hub is well", () => {
  const linkBecause = new Fault("HUB_UNTRUSTED", "self-signed certificate").message;
  const connecting = { ...status, link: LinkState.CONNECTING, linkBecause };
  expect(complaints({ agent: { is: "well", status: connecting } })).toEqual(["hub link warn: self-signed certificate"]);
  const silent = { ...connecting, linkBecause: "" };
  expect(complaints({ agent: { is: "well", status: silent } })).toEqual(["hub link warn: connecting to hub:7443"]);
  expect(complaints({ agent: { is: "well", status: { ...status, link: LinkState.NONE } } })).toEqual([]);
});

test("a process of a workload that is stopped, or unknown, is an orphan", () => {
  const processes = [
    { pid: 5, workload: "firewall" },
    { pid: 6, workload: "cache" },
    { pid: 7, workload: "gone" },
  ];
  expect(complaints({ processes })).toEqual([
    "orphans warn: 2 processes belong to no running workload: cache (6), gone (7)",
  ]);
});

test("a config that cannot be used fails with what it says", () => {
  const fault = new Fault("CONFIG_INVALID", "agent.yaml:1:1: unknown key");
  expect(complaints({ config: { file: "agent.yaml", fault } })).toEqual(["config fail: agent.yaml:1:1: unknown key"]);
});

test("the data directory is what was said, else the machine's for root, else the user's", () => {
  expect(defaultDataDir({ BLUEFLAME_DATA_DIR: "/x/y" }, 0)).toBe("/x/y");
  expect(defaultDataDir({}, 0)).toBe("/var/lib/blueflame");
  expect(defaultDataDir({ XDG_STATE_HOME: "/state" }, 1000)).toBe("/state/blueflame");
  expect(defaultDataDir({ XDG_STATE_HOME: "relative", HOME: "/home/asha" }, 1000)).toBe(
    "/home/asha/.local/state/blueflame",
  );
});
