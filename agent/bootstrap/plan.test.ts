import { catalogue } from "@blueflame/shared/errors/fault.ts";
import { expect, test } from "vitest";
import { allDead, dead, dir, one, well } from "../../test/support/node-findings.ts";
import type { Findings, FolderFound } from "./findings.ts";
import { plan } from "./plan.ts";
import { type Done, type Step, wordsOf } from "./steps.ts";

const folder = (path: string, change: Partial<FolderFound> = {}): FolderFound => ({ ...dir, path, ...change });
const damaged = (code = "STORE_DAMAGED", because = "[STORE_DAMAGED] files are damaged") =>
  ({ ...well.store, is: "damaged", code, because }) as const;

const findings = (change: Partial<Findings>): Findings => ({ ...well, ...change });
const did = (step: Step, ok = true, because = "done"): Done => ({ step, ok, because });
const stepsOf = (change: Partial<Findings>, done: readonly Done[] = []) =>
  plan(findings(change), done).steps.map(wordsOf);
const troublesOf = (change: Partial<Findings>, done: readonly Done[] = []) =>
  plan(findings(change), done).troubles.map(({ code }) => code);
const stateOf = (part: string, change: Partial<Findings>, done: readonly Done[] = []) =>
  plan(findings(change), done).verdicts.find((verdict) => verdict.part === part)?.state;

test("SYN-5 a node that is well gets a verdict for each part, and nothing is done to it", () => {
  const { verdicts, steps, troubles } = plan(well, []);
  expect(verdicts.map(({ part, state }) => `${part} ${state}`)).toEqual([
    "data directory well",
    "folders well",
    "disk well",
    "good copy well",
    "program well",
    "config well",
    "secrets well",
    "store well",
    "socket and lock well",
    "kill switch well",
    "watchdog well",
    "agent well",
    "workload one well",
  ]);
  expect([steps, troubles]).toEqual([[], []]);
});

test.each<[string, Partial<Findings>, readonly Done[], readonly string[]]>([
  ["a missing folder is made", { folders: [folder("/d/logs", { is: "missing" })] }, [], ["makeFolder /d/logs"]],
  [
    "a file in a folder's place is moved aside",
    { folders: [folder("/d/logs", { is: "no-folder" })] },
    [],
    ["moveAside /d/logs"],
  ],
  [
    "a workload's own folder is made too",
    { folders: [folder("/w", { ours: false, is: "missing" })] },
    [],
    ["makeFolder /w"],
  ],
  [
    "a folder that its owner may not write gets its mode back",
    { folders: [folder("/d/logs", { mode: 0o500 })] },
    [],
    ["setMode /d/logs 700"],
  ],
  ["a folder that anybody may write is closed", { dataDir: { ...dir, mode: 0o777 } }, [], ["setMode /d 755"]],
  ["what belongs to somebody else is given back", { foreign: { count: 2, first: "/d/store" } }, [], ["takeOver /d"]],
  [
    "a damaged program is reinstalled",
    { files: [{ name: "binary", target: "/bin/bf", differs: "was changed", copy: undefined }] },
    [],
    ["reinstall binary"],
  ],
  ["a config that is gone is reinstalled", { config: { ...well.config, is: "missing" } }, [], ["reinstall agent.yaml"]],
  ["an invalid config too", { config: { ...well.config, is: "invalid" } }, [], ["reinstall agent.yaml"]],
  [
    "a key of ours that is empty makes way for another",
    { secrets: [{ path: "/k", is: "empty", because: "", opens: "guards" }] },
    [],
    ["moveAside /k"],
  ],
  [
    "a key that others can read is closed",
    { secrets: [{ path: "/k", is: "loose", because: "", opens: "link" }] },
    [],
    ["setMode /k 600"],
  ],
  ["a damaged store of a dead agent is mended", { ...allDead, store: damaged() }, [], ["mendStore"]],
  ["a damaged store of an agent that lives: both guards end first", { store: damaged() }, [], ["endGuards"]],
  [
    "and then it is mended",
    { ...allDead, watchdog: well.watchdog, store: damaged() },
    [did({ do: "endGuards" })],
    ["mendStore"],
  ],
  ["what is in the socket's place is moved aside", { socket: "no-socket" }, [], ["moveAside /d/agent.sock"]],
  ["all dead: the watchdog is started, which starts the rest", allDead, [], ["startAll watchdog"]],
  [
    "init starts what init guards",
    { ...allDead, start: { by: "init", unit: "blueflame-agent.service", user: false } },
    [],
    ["startAll init"],
  ],
  [
    "a watchdog that brought no agent: the agent itself",
    allDead,
    [did({ do: "startAll", by: "watchdog" }, false)],
    ["startAgent"],
  ],
  ["an agent is started beside a watchdog that lives", { ...allDead, watchdog: well.watchdog }, [], ["startAgent"]],
  ["a hung agent is its watchdog's first", { agent: { is: "silent", pid: 2, because: "hung" } }, [], ["wait 15000"]],
  [
    "and ours when that does not help",
    { agent: { is: "silent", pid: 2, because: "hung" } },
    [did({ do: "wait", forMs: 15_000 })],
    ["endAgent"],
  ],
  ["a lost watchdog is its agent's first", { watchdog: dead }, [], ["wait 15000"]],
  ["a workload that is down is waited for", { workloads: [{ ...one, is: "down" }] }, [], ["wait 60000"]],
  [
    "and restarted when a person asks",
    { workloads: [{ ...one, is: "down" }] },
    [did({ do: "wait", forMs: 60_000 })],
    ["restart one"],
  ],
])("SYN-5 %s", (_title, change, done, expected) => {
  expect(stepsOf(change, done)).toEqual(expected);
});

test("SYN-5 each stage waits for the one before it: nothing is started on a damaged store", () => {
  const change = { ...allDead, folders: [folder("/d/logs", { is: "missing" })], store: damaged() } as const;
  expect(stepsOf(change)).toEqual(["makeFolder /d/logs"]);
  const made = [did({ do: "makeFolder", path: "/d/logs" })];
  expect(stepsOf({ ...change, folders: well.folders }, made)).toEqual(["mendStore"]);
  expect(stepsOf({ ...change, folders: well.folders, store: { ...well.store, is: "sound" } }, made)).toEqual([
    "startAll watchdog",
  ]);
});

test("SYN-5 SYN-9 a store that nobody can mend is never made empty: a person is told the commands, and nothing is started", () => {
  const done = [did({ do: "mendStore" }, false, "[STORE_MISSING] the store is gone, and there is no snapshot")];
  const found = { ...allDead, store: damaged("STORE_MISSING", "the store is gone") };
  expect(stepsOf(found, done)).toEqual([]);
  const [trouble] = plan(findings(found), done).troubles;
  expect(trouble?.code).toBe("STORE_MISSING");
  expect(trouble?.commands.filter((line) => !line.startsWith("#"))).toEqual([
    "/bin/bf store restore --empty --data-dir /d",
    "/bin/bf emergency --data-dir /d",
  ]);
});

test.each<[string, Partial<Findings>, readonly Done[], string, string]>([
  [
    "a store that a stranger holds",
    { ...allDead, store: { ...well.store, is: "held", holder: { pid: 7, command: "cp" } } },
    [],
    "STORE_LOCKED",
    "kill 7",
  ],
  [
    "a store whose holder was stopped by a signal, which hears of no other",
    { ...allDead, store: { ...well.store, is: "held", holder: { pid: 7, command: "cp", stopped: true } } },
    [],
    "STORE_LOCKED",
    "kill -9 7",
  ],
  [
    "a disk that is mounted read-only",
    { dataDir: { ...dir, refuses: "EROFS" } },
    [],
    "DATA_DIR_UNUSABLE",
    "mount -o remount,rw /",
  ],
  ["a full disk", { dataDir: { ...dir, refuses: "ENOSPC" } }, [], "STORE_WRITE_FAILED", "du -x -d 2 /"],
  [
    "what only root can give back",
    { self: 1000, owner: { uid: 1000, gid: 100 }, foreign: { count: 1, first: "/d" } },
    [],
    "DATA_DIR_UNUSABLE",
    "sudo chown -R 1000:100 /d",
  ],
  [
    "a data directory that is gone",
    { dataDir: { ...dir, is: "missing" } },
    [],
    "DATA_DIR_UNUSABLE",
    "# cp -a BACKUP /d",
  ],
  [
    "a key that is gone",
    { secrets: [{ path: "/k", is: "missing", because: "", opens: "link" }] },
    [],
    "CERT_UNUSABLE",
    "#   blueflame-hub cert --node NODE --out PAPERS",
  ],
  [
    "copies that fill their bound",
    {
      ...allDead,
      store: {
        ...damaged("STORE_DAMAGED", "3 damaged copies already lie beside the store"),
        copies: ["/d/store.damaged-1"],
      },
    },
    [did({ do: "mendStore" }, false)],
    "STORE_DAMAGED",
    "mv /d/store.damaged-1 /d-store.damaged-1",
  ],
  [
    "a config without any other",
    { config: { ...well.config, is: "invalid", copy: "missing", lastGood: false } },
    [],
    "CONFIG_INVALID",
    "/bin/bf emergency --data-dir /d",
  ],
])("SYN-5 what only a person can mend has a code and the commands: %s", (_title, change, done, code, command) => {
  const [trouble] = plan(findings(change), done).troubles;
  expect(trouble?.code).toBe(code);
  expect(Object.keys(catalogue)).toContain(code);
  expect(trouble?.commands).toContain(command);
});

test("what only a person can mend keeps nobody from guarding that does not need it", () => {
  expect(stepsOf({ ...allDead, dataDir: { ...dir, refuses: "EROFS" } })).toEqual(["startAll watchdog"]);
  expect(stepsOf({ ...allDead, secrets: [{ path: "/k", is: "missing", because: "", opens: "link" }] })).toEqual([
    "startAll watchdog",
  ]);
});

test("SYN-5 a program that cannot be reinstalled runs from its good copy; without one nothing is started", () => {
  const files = [{ name: "binary", target: "/bin/bf", differs: "is missing", copy: undefined }];
  const program = { ...well.program, starts: false, because: "ENOENT" };
  const failed = [did({ do: "reinstall", name: "binary" }, false, "EROFS")];
  expect(stepsOf({ ...allDead, files, program, works: ["/d/good/binary"] }, failed)).toEqual(["startAll watchdog"]);
  expect(stepsOf({ ...allDead, files, program, works: undefined }, failed)).toEqual([]);
  expect(troublesOf({ ...allDead, files, program, works: undefined }, failed)).toEqual(["PROGRAM_DAMAGED"]);
});

test("a newer program that runs is not put back to the older good copy", () => {
  const files = [{ name: "binary", target: "/bin/bf", differs: "was changed", copy: undefined }];
  const newer = { ...well.program, version: "1.10.0", goodVersion: "1.9.3" };
  expect([stepsOf({ files, program: newer }), stateOf("program", { files, program: newer })]).toEqual([[], "warning"]);
  // An older one is not what was installed.
  for (const version of ["1.9.2", "0.10.9", "1.9.3"]) {
    expect(stepsOf({ files, program: { ...newer, version } })).toEqual(["reinstall binary"]);
  }
});

test("without a good copy the last good config is used, and the broken file stays as the person left it", () => {
  const config = { ...well.config, is: "empty", copy: "missing" } as const;
  expect(stepsOf({ config })).toEqual([]);
  expect(stateOf("config", { config })).toBe("warning");
  expect(troublesOf({ config })).toEqual([]);
});

test.each([
  ["a person said down", { word: "down" }],
  ["a person stopped it in this boot", { word: "stop" }],
  ["it ran half an hour ago", { lastAutoAgoMs: 1_800_000 }],
] as const)("SYN-6 by itself it does nothing at all when %s", (_title, change) => {
  const found = { ...allDead, ...change, asked: { auto: true, start: false } };
  expect(plan(findings(found), [])).toMatchObject({ leave: expect.any(String), steps: [], verdicts: [] });
  // A person who asks is answered: what is broken is mended all the same.
  expect(plan(findings({ ...found, asked: well.asked }), []).leave).toBeUndefined();
});

test("SYN-6 by itself it runs again an hour later, and ends what it has begun", () => {
  const asked = { auto: true, start: false };
  expect(stepsOf({ ...allDead, asked, lastAutoAgoMs: 3_600_000 })).toEqual(["startAll watchdog"]);
  expect(stepsOf({ ...allDead, asked, lastAutoAgoMs: 1 }, [did({ do: "mendStore" })])).toEqual(["startAll watchdog"]);
});

test("SYN-6 called by the ladder of an agent that lives it starts no workload out of turn, and that is no trouble", () => {
  const found = { asked: { auto: true, start: false }, workloads: [{ ...one, is: "down" } as const] };
  expect([stepsOf(found), troublesOf(found), stateOf("workload one", found)]).toEqual([[], [], "warning"]);
});

test("after a down a person's emergency mends and starts nothing, until the person takes it back", () => {
  const found = { ...allDead, word: "down" } as const;
  expect([stepsOf(found), troublesOf(found), stateOf("word", found)]).toEqual([[], [], "rests"]);
  expect(stepsOf({ ...found, folders: [folder("/d/logs", { is: "missing" })] })).toEqual(["makeFolder /d/logs"]);
  expect(stepsOf({ ...found, asked: { auto: false, start: true } })).toEqual(["takeBackDown"]);
  expect(stepsOf({ ...allDead, asked: { auto: false, start: true } }, [did({ do: "takeBackDown" })])).toEqual([
    "startAll watchdog",
  ]);
});

test("the kill switch keeps every workload down while the node itself is brought back", () => {
  expect(stepsOf({ ...allDead, killSwitch: true })).toEqual(["startAll watchdog"]);
  const found = { killSwitch: true, workloads: [{ ...one, is: "down" } as const] };
  expect([stepsOf(found), troublesOf(found), stateOf("workload one", found)]).toEqual([[], [], "rests"]);
});

test("whatever is found and whatever fails, it comes to an end, and no step is done twice", () => {
  const bad: Partial<Findings> = {
    ...allDead,
    folders: [folder("/d/logs", { is: "missing" }), folder("/d/alerts", { is: "no-folder" })],
    foreign: { count: 1, first: "/d/x" },
    files: [{ name: "binary", target: "/bin/bf", differs: "is missing", copy: undefined }, ...well.files.slice(1)],
    config: { ...well.config, is: "invalid", lastGood: false },
    secrets: [{ path: "/k", is: "unreadable", because: "", opens: "guards" }],
    store: damaged(),
    socket: "no-socket",
  };
  for (const ok of [true, false]) {
    const done: Done[] = [];
    for (;;) {
      const { steps } = plan(findings(bad), done);
      if (steps.length === 0) break;
      done.push(...steps.map((step) => did(step, ok)));
      expect(done.length).toBeLessThan(40);
    }
    expect(new Set(done.map(({ step }) => JSON.stringify(step))).size).toBe(done.length);
    expect(troublesOf(bad, done).length).toBeGreaterThan(2);
  }
});
