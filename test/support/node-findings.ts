/** What the emergency finds on a node, to be overridden by a test. */
import type { Findings, FolderFound, WorkloadFound } from "@blueflame/agent/bootstrap/findings.ts";

/** The data directory. */
export const dir: FolderFound = { path: "/d", ours: true, is: "there", uid: 0, mode: 0o700, refuses: undefined };
/** Its one workload. */
export const one: WorkloadFound = { name: "one", is: "runs", because: "running" };
export const dead = { is: "dead", pid: undefined, because: "none lives" } as const;

/** Nothing is wrong with it. */
export const well: Findings = {
  asked: { auto: false, start: false },
  lastAutoAgoMs: undefined,
  word: undefined,
  killSwitch: false,
  dataDir: dir,
  folders: [{ ...dir, path: "/d/logs" }],
  owner: { uid: 0, gid: 0 },
  self: 0,
  foreign: { count: 0, first: "" },
  closed: { count: 0, first: "" },
  disk: { freeBytes: 2 ** 30, totalBytes: 2 ** 34, mount: "/" },
  good: { is: "sound", because: "version 1" },
  files: [
    { name: "binary", target: "/bin/bf", differs: undefined, copy: undefined },
    { name: "agent.yaml", target: "/etc/bf.yaml", differs: undefined, copy: undefined },
  ],
  program: { words: ["/bin/bf"], starts: true, because: "", version: "1", goodVersion: "1" },
  works: ["/bin/bf"],
  config: { path: "/etc/bf.yaml", is: "sound", because: "", copy: "sound", lastGood: true },
  secrets: [{ path: "/d/guard.key", is: "well", because: "", opens: "guards" }],
  key: {
    path: "/d/store.key",
    is: "there",
    aside: "/d/store.key.aside",
    credential: undefined,
    entrusted: undefined,
    sealed: true,
  },
  store: { is: "in-use", code: "", because: "the agent has it", holder: undefined, snapshots: 3, copies: [] },
  socket: "listens",
  lock: "held",
  watchdog: { is: "answers", pid: 1, because: "" },
  agent: { is: "answers", pid: 2, because: "" },
  workloads: [one],
  start: { by: "words" },
};
/** Everything of it was killed at once. */
export const allDead: Partial<Findings> = {
  agent: dead,
  watchdog: dead,
  socket: "left-over",
  lock: "left-over",
  store: { ...well.store, is: "sound", because: "1 byte" },
  workloads: [{ ...one, is: "down", because: "no process of it lives" }],
};
