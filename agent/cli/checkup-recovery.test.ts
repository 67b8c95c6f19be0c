import { Fault } from "@blueflame/shared/errors/fault.ts";
import { GetStatusResponseSchema } from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import type { Findings } from "./checkup.ts";
import { type RecoveryFindings, recoveryChecks } from "./checkup-recovery.ts";

const nowMs = Date.UTC(2026, 10, 25, 12);
const hourMs = 3_600_000;

const well: RecoveryFindings = {
  watchdog: { is: "answers", pid: 78, init: false },
  goodCopy: { is: "sound", version: "0.1.0", files: 3 },
  snapshots: { count: 3, takenWallMs: nowMs - hourMs },
  limits: [{ workload: "web", what: "tasks", by: "cgroup" }],
  native: true,
};
const running: Findings["agent"] = { is: "well", status: create(GetStatusResponseSchema) };
const away: Findings["agent"] = { is: "away", fault: new Fault("AGENT_UNREACHABLE", "no agent answers") };

/** The checks as `check state: found`; what is not ok has a remedy. */
function lines(more: Partial<RecoveryFindings>, agent = running): string[] {
  const found = { recovery: { ...well, ...more }, agent, clock: { nowMs, newestFileMs: nowMs } } as Findings;
  const checks = recoveryChecks(found);
  for (const { check, state, remedy } of checks) expect([check, remedy !== ""]).toEqual([check, state !== "ok"]);
  return checks.map(({ check, state, saw }) => `${check} ${state}: ${saw}`);
}

/** Only what the change has changed. */
function changed(more: Partial<RecoveryFindings>, agent = running): string[] {
  const before = new Set(lines({}, agent));
  return lines(more, agent).filter((line) => !before.has(line));
}

test("a node that nothing can keep down says so, line by line", () => {
  expect(lines({})).toEqual([
    "kill switch ok: off",
    "watchdog ok: pid 78 answers, guarded by the agent",
    "snapshots ok: 3 kept, the youngest is sound and 1h00m old",
    "good copy ok: version 0.1.0, 3 files as their checksums say",
    "limits ok: 1 limit is held by cgroups",
    "native calls ok: posix_spawn, systemd's notify protocol and who calls are there",
  ]);
});

test("GRC-7 a kill switch that is on is said with who, when and why, also without an agent", () => {
  const killed = { person: "asha", reason: "wrong prices", at: "2026-11-25T10:00:00.000Z" };
  const line = "kill switch warn: on since 2026-11-25T10:00:00.000Z, by asha: wrong prices";
  expect(changed({ killed })).toEqual([line]);
  expect(changed({ killed }, away)).toEqual([line]);
  expect(changed({ killed: { person: "unknown", reason: "", at: "" } })).toEqual([
    "kill switch warn: on since an unknown time, by unknown",
  ]);
});

test("a person's word is why no agent runs; while one runs it is nothing", () => {
  expect(changed({ word: "down" }, away)).toEqual(["intent warn: a person's `down` holds: nobody starts the agent"]);
  expect(changed({ word: "stop" }, away)).toEqual([
    "intent warn: the agent was stopped by a signal: nobody starts it before the next boot",
  ]);
  expect(changed({ word: "stop" })).toEqual([]);
});

test("a watchdog is told to answer, to hang, or not to be there; without an agent nobody misses it", () => {
  expect(changed({ watchdog: { is: "answers", pid: 9, init: true } })).toEqual([
    "watchdog ok: pid 9 answers, guarded by init",
  ]);
  const silent = "watchdog warn: pid 9 holds its place and does not answer";
  expect(changed({ watchdog: { is: "silent", pid: 9 } })).toEqual([silent]);
  expect(changed({ watchdog: { is: "silent", pid: 9, stopped: true } }, away)).toEqual([
    `${silent}: it was stopped by a signal (state T)`,
  ]);
  expect(changed({ watchdog: { is: "silent" } })).toEqual(["watchdog warn: it holds its place and does not answer"]);
  expect(changed({ watchdog: { is: "none" } })).toEqual([
    "watchdog warn: none runs: nobody of ours starts the agent again",
  ]);
  expect(changed({ watchdog: { is: "none" } }, away)).toEqual(["watchdog ok: none runs"]);
});

test("a snapshot is late after two hours, and only while an agent should take them", () => {
  const taken = (ageMs: number) => ({ snapshots: { count: 1, takenWallMs: nowMs - ageMs } });
  expect(changed(taken(2 * hourMs))).toEqual(["snapshots ok: 1 kept, the youngest is sound and 2h00m old"]);
  expect(changed(taken(2 * hourMs + 60_000))).toEqual(["snapshots warn: 1 kept, the youngest is sound and 2h01m old"]);
  expect(changed(taken(90 * hourMs), away)).toEqual(["snapshots ok: 1 kept, the youngest is sound and 3d18h old"]);
  expect(changed({ snapshots: { count: 0 } })).toEqual(["snapshots warn: there is none yet"]);
  expect(changed({ snapshots: { count: 0 } }, away)).toEqual(["snapshots ok: there is none yet"]);
  expect(changed({ snapshots: { count: 2, problem: "its checksum differs" } })).toEqual([
    "snapshots warn: its checksum differs",
  ]);
});

test("a good copy that is missing warns; one that is damaged fails, for it would be relied on", () => {
  expect(changed({ goodCopy: { is: "absent" } })).toEqual(["good copy warn: there is none"]);
  expect(changed({ goodCopy: { is: "damaged", because: "the good copy of binary is cut" } })).toEqual([
    "good copy fail: the good copy of binary is cut",
  ]);
});

test("DOL-5 who holds each limit is said: the kernel, watching, or for CPU without a cgroup nobody", () => {
  const limit = (workload: string, what: "tasks" | "memory" | "cpu", by: "cgroup" | "watching" | "nobody") => ({
    workload,
    what,
    by,
  });
  expect(
    changed({
      limits: [limit("web", "tasks", "cgroup"), limit("web", "memory", "watching"), limit("db", "cpu", "nobody")],
    }),
  ).toEqual(["limits warn: 1 of 3 by cgroups; memory of web by watching; cpu of db by nobody, an excess is only told"]);
  const many = Array.from({ length: 8 }, (_, at) => limit(`w${at}`, "tasks", "watching"));
  expect(changed({ limits: many })).toEqual([
    "limits warn: tasks of w0, tasks of w1, tasks of w2, tasks of w3, tasks of w4 and 3 more by watching",
  ]);
  expect(lines({ limits: [] }).some((line) => line.startsWith("limits"))).toBe(false);
});

test("what this system cannot do is said, never pretended", () => {
  expect(changed({ native: false })).toEqual([
    "native calls warn: not on this system: starts are slower, `notify` is guarded without the protocol, and nobody can open a risk lock: who asks is not seen",
  ]);
});
