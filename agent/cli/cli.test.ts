import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import {
  DecisionRecordSchema,
  type Incident,
  IncidentSchema,
  IncidentState,
  Severity,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { WorkloadPhase } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { bundled } from "../../test/support/bundle.ts";
import { asPerson, type MemoryNode, memoryNode } from "../../test/support/node.ts";
import { type LocalApi, serveLocalApi } from "../api/server.driver.ts";

let program: string;
let dir: string;
let node: MemoryNode;
/** What {@link node} does of itself, whatever {@link slowly} made of it. */
let plain: MemoryNode;
let api: LocalApi;
let children: ChildProcess[];

beforeAll(async () => {
  program = await bundled("test/support/agent-cli.main.ts");
});

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "bf-cli-"));
  mkdirSync(join(dir, "logs", "workloads"), { recursive: true });
  node = memoryNode(["firewall", "cache"]);
  plain = { ...node };
  node.dataDir = dir;
  children = [];
  await up();
});

afterEach(async () => {
  for (const child of children) child.kill("SIGKILL");
  await api.close();
  rmSync(dir, { recursive: true, force: true });
});

async function up(): Promise<void> {
  api = await serveLocalApi({
    node,
    socketPath: join(dir, "agent.sock"),
    log: () => {},
    onDown: () => void api.close(),
    whoCalls: asPerson,
  });
}

interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

interface Running {
  readonly child: ChildProcess;
  readonly out: () => string;
  readonly err: () => string;
  readonly ended: Promise<Ran>;
}

function start(args: readonly string[], env: Record<string, string> = {}): Running {
  const child = spawn(process.execPath, [program, ...args], {
    env: { ...process.env, BLUEFLAME_DATA_DIR: dir, NO_COLOR: "1", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  let [out, err] = ["", ""];
  child.stdout.on("data", (chunk) => {
    out += chunk;
  });
  child.stderr.on("data", (chunk) => {
    err += chunk;
  });
  const ended = new Promise<Ran>((resolve) => child.once("close", (code) => resolve({ code, out, err })));
  return { child, out: () => out, err: () => err, ended };
}

const cli = (...args: string[]) => start(args).ended;

async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; !holds(); tries += 1) {
    if (tries > 1000) throw new Error("waited 10 s in vain");
    await pause(10);
  }
}

function incident(id: string, more: { needsPerson?: boolean; summary?: string }): Incident {
  return create(IncidentSchema, {
    id,
    workload: "firewall",
    state: IncidentState.CLOSED,
    severity: Severity.MEDIUM,
    symptom: "crash",
    summary: "it ended with signal SIGKILL, which nobody asked for",
    detectedAt: timestampFromMs(Date.now() - 60_000),
    closedAt: timestampFromMs(Date.now()),
    timeToRecover: { seconds: 0n, nanos: 850_000_000 },
    timeline: [
      { at: timestampFromMs(1_000_000), what: "symptom", because: "exit by SIGKILL" },
      { at: timestampFromMs(1_000_850), what: "verification", because: "beats and answers again" },
    ],
    ...more,
  });
}

test("GRC-9 status shows each workload with phase, health and the reason, within 80 columns", async () => {
  await node.stopWorkload("cache", "asha");
  const { code, out, err } = await cli("status");
  expect({ code, err }).toEqual({ code: 0, err: "" });
  const lines = out.trimEnd().split("\n");
  expect(lines[0]).toBe("node-under-test healthy · 2 workloads, 1 stopped by a person");
  expect(lines[1]).toMatch(/^agent 0\.1\.0, pid \d+, up 1h01m · no hub$/);
  expect(lines.slice(3)).toEqual([
    "WORKLOAD  PHASE    HEALTH    PID     UP  STARTS  WHY",
    expect.stringMatching(/^firewall {2}running {2}healthy {2}1000 {2}1m0[5-9]s {7}1 {2}running and ready$/),
    "cache     stopped  -           -      -       -  stopped by a person",
  ]);
  for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
});

test("status -o json is the API's own message, --no-headers is the bare rows", async () => {
  node.warnings = ["[STORE_WRITE_FAILED] no space left on device"];
  const { out } = await cli("status", "-o", "json");
  expect(JSON.parse(out)).toMatchObject({
    nodeId: "node-under-test",
    link: "LINK_STATE_NONE",
    warnings: ["[STORE_WRITE_FAILED] no space left on device"],
    workloads: [{ name: "firewall", phase: "WORKLOAD_PHASE_RUNNING" }, { name: "cache" }],
  });
  expect((await cli("status")).out).toContain("warning: [STORE_WRITE_FAILED] no space left on device\n");
  expect((await cli("status", "--no-headers")).out).toMatch(/^firewall .*\ncache .*\n$/);
});

test("status --exit-code tells a script whether all is well", async () => {
  expect((await cli("status", "--exit-code")).code).toBe(0);
  const firewall = node.workloads.get("firewall");
  if (firewall) firewall.phase = WorkloadPhase.BACKOFF;
  const { code, err } = await cli("status", "--exit-code");
  expect(code).toBe(6);
  expect(err).toContain("[CONDITION_FALSE]");
});

test("status --watch tells each change once, waits for an agent that goes away, and ends with 130 on Ctrl-C", async () => {
  const watching = start(["status", "--watch"]);
  await until(() => watching.out().split("\n").length === 3);
  node.beat("token-of-firewall", true, "bar 7"); // progress of a running workload is no news
  await pause(700);
  await node.restartWorkload("cache", "person:asha");
  await until(() => watching.out().split("\n").length === 4);
  await api.close();
  await until(() => watching.err().includes("the agent is away"));
  await up();
  await until(() => watching.err().includes("the agent is back"));
  watching.child.kill("SIGINT");
  const { code, out } = await watching.ended;
  expect(code).toBe(130);
  const rows = out
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(rows.map(({ name, restarts }) => `${name} ${restarts ?? 0}`)).toEqual(["firewall 0", "cache 0", "cache 1"]);
});

test("GRC-9 stop, start and restart act on the named workload, in the name of who typed it", async () => {
  expect((await cli("stop", "cache")).out).toContain("cache     stopped");
  expect(node.workloads.get("cache")?.phase).toBe(WorkloadPhase.STOPPED);
  expect((await cli("restart", "cache")).code).toBe(6);
  expect((await cli("start", "cache")).code).toBe(0);
  expect(JSON.parse((await cli("restart", "cache", "-o", "jsonl")).out)).toMatchObject({
    name: "cache",
    restarts: "1",
  });
  const { out } = await cli("audit", "-o", "json");
  const records = JSON.parse(out) as { actor: string; action: string }[];
  expect(records.map(({ action }) => action)).toEqual(["workload.restart", "intent.start", "intent.stop"]);
  for (const { actor } of records) expect(actor).toMatch(/^person:\S+$/);
});

/** The workload `cache` takes so long after it was asked for, and ends in `phase`; what was said of the verb before is over. */
function slowly(verb: "startWorkload" | "restartWorkload", ms: number, phase: WorkloadPhase): void {
  const act = plain[verb];
  node[verb] = async (name, who) => {
    await act(name, who);
    const workload = node.workloads.get(name);
    if (workload) workload.phase = WorkloadPhase.STARTING;
    setTimeout(() => {
      if (workload) workload.phase = phase;
    }, ms).unref();
    return node.status().workloads.find((one) => one.name === name) ?? act(name, who);
  };
}

test("start and restart wait until the workload is up, and say what came of it; with --no-wait they do not wait", async () => {
  slowly("restartWorkload", 700, WorkloadPhase.RUNNING);
  expect(await cli("restart", "cache")).toMatchObject({
    code: 0,
    err: "",
    out: expect.stringMatching(/cache +running/),
  });
  slowly("restartWorkload", 3_600_000, WorkloadPhase.RUNNING);
  expect((await cli("restart", "cache", "--no-wait")).out).toMatch(/cache +starting/);
  slowly("restartWorkload", 300, WorkloadPhase.BACKOFF);
  const failed = await cli("restart", "cache");
  expect(failed).toMatchObject({ code: 1, err: expect.stringContaining("[WORKLOAD_FAILED] 'cache' did not come up") });
  expect(failed.out).toMatch(/cache +backoff/);
  slowly("startWorkload", 60_000, WorkloadPhase.RUNNING);
  const late = await cli("start", "cache", "--timeout", "500ms");
  expect(late).toMatchObject({ code: 124, err: expect.stringContaining("[TIMED_OUT] 'cache' is not up after 500ms") });
});

test("the name may be left out when there is one workload, and is asked for when there are more", async () => {
  const { code, err } = await cli("stop");
  expect(code).toBe(2);
  expect(err).toContain("[USAGE] name one of the 2 workloads: firewall, cache");
  node.workloads.delete("cache");
  expect((await cli("stop")).out).toContain("firewall");
  node.workloads.delete("firewall");
  expect((await cli("stop")).code).toBe(3);
});

test("a name that does not exist ends with 3 and the nearest one that does", async () => {
  for (const command of [
    ["stop", "firewal"],
    ["logs", "firewal"],
  ]) {
    const { code, err } = await cli(...command);
    expect(code).toBe(3);
    expect(err).toContain("[WORKLOAD_UNKNOWN] there is no workload 'firewal'; did you mean 'firewall'?");
  }
});

test("nonsense in flags and commands ends with 2 and says what is allowed", async () => {
  const wrong: [string[], string][] = [
    [["statsu"], "Did you mean status?"],
    [["status", "--wach"], "Did you mean --watch?"],
    [["status", "-o", "xml"], "Allowed choices are table, json, jsonl, yaml"],
    [["stop", "firewall", "--timeout", "30"], "'30' is no duration"],
    [["logs", "-n", "many"], "-n 'many' must be a whole number"],
    [["logs", "-n", "-1"], "-n"],
    [["audit", "-n", "0"], "from 1 to 500"],
    [["status", "firewall", "cache"], "too many arguments"],
    [["--data-dir"], "--data-dir"],
  ];
  for (const [args, said] of wrong) {
    const { code, out, err } = await cli(...args);
    expect({ args, code, out }).toEqual({ args, code: 2, out: "" });
    expect(err).toContain("[USAGE]");
    expect(err).toContain(said);
  }
  const { code } = await cli("--help");
  expect(code).toBe(0);
});

test("without an agent every command that needs one ends with 5 and says how to start it", async () => {
  await api.close();
  for (const command of ["status", "stop", "down", "incidents", "audit", "decisions", "logs"]) {
    const { code, out, err } = await cli(command);
    expect({ command, code, out }).toEqual({ command, code: 5, out: "" });
    expect(err).toContain("[AGENT_UNREACHABLE] no agent answers on");
    expect(err).toContain("blueflame-agent up");
  }
});

test("a data directory whose socket path is too long is named, not cut", async () => {
  const { code, err } = await cli("status", "--data-dir", join(dir, "x".repeat(120)));
  expect(code).toBe(1);
  expect(err).toContain("[SOCKET_PATH_TOO_LONG]");
});

test("a stop that takes longer than --timeout ends with 124, and Ctrl-C while waiting with 130", async () => {
  const release = Promise.withResolvers<void>();
  const stopWorkload = node.stopWorkload.bind(node);
  let asked = 0;
  node.stopWorkload = async (name, person) => {
    asked += 1;
    await release.promise;
    return stopWorkload(name, person);
  };
  const { code, err } = await cli("stop", "cache", "--timeout", "300ms");
  expect(code).toBe(124);
  expect(err).toContain("[TIMED_OUT]");
  const before = asked;
  const waiting = start(["stop", "cache"]);
  await until(() => asked > before);
  waiting.child.kill("SIGINT");
  expect((await waiting.ended).code).toBe(130);
  release.resolve();
});

test("down stops everything and returns when the agent is gone", async () => {
  const { code, out } = await cli("down");
  expect({ code, out }).toEqual({ code: 0, out: "2 workloads stopped, the agent has ended\n" });
  expect((await cli("status")).code).toBe(5);
});

test("incidents lists them, one with its timeline, and says when an id fits none or several", async () => {
  node.incidentList = [incident("0198-new", { needsPerson: true }), incident("0197-old", {})];
  const { out } = await cli("incidents");
  expect(out).toContain("NEEDS A PERSON: it ended with signal SIGKILL");
  expect(out).toContain("850ms");
  const one = (await cli("incidents", "last")).out;
  expect(one).toContain("0198-new");
  expect(one).toMatch(/\+850ms {2}verification {2}beats and answers again/);
  expect((await cli("incidents", "old")).out).toContain("0197-old");
  expect((await cli("incidents", "019")).code).toBe(2);
  expect((await cli("incidents", "0200")).code).toBe(3);
  expect(JSON.parse((await cli("incidents", "-o", "json")).out)).toHaveLength(2);
});

test("`decisions -n 500` failed where they are large: they are asked for page by page", async () => {
  const large = "x".repeat(30_000);
  node.decisionList = Array.from({ length: 300 }, (_, n) =>
    create(DecisionRecordSchema, { id: `d${n}`, because: large }),
  );
  const { code, out } = await cli("decisions", "-n", "500", "-o", "json");
  expect(code).toBe(0);
  expect((JSON.parse(out) as { id: string }[]).map(({ id }) => id)).toEqual(node.decisionList.map(({ id }) => id));
  expect(JSON.parse((await cli("decisions", "-n", "200", "-o", "json")).out)).toHaveLength(200);
});

test("an empty list says so on stderr and leaves stdout to the data", async () => {
  const { code, out, err } = await cli("decisions", "-o", "json");
  expect({ code, out, err }).toEqual({ code: 0, out: "[]\n", err: "" });
  expect((await cli("incidents")).err).toBe("none\n");
});

test("control sequences of a hostile workload do not reach the terminal through a table", async () => {
  node.incidentList = [incident("0198", { summary: "\u001b]0;owned\u0007\u001b[2Jgone" })];
  const { out } = await cli("incidents");
  expect(out).not.toContain("\u001b");
  expect(out).toContain("gone");
});

test("doctor finds a well node well, and what is wrong with another by name", async () => {
  const well = await cli("doctor");
  expect(well.err).toBe("");
  expect(well.code).toBe(0);
  node.warnings = [
    "[STORE_WRITE_FAILED] write of 12 bytes: no space left on device. Free space on the disk of the data directory or mend it; writing resumes by itself.",
  ];
  const full = await cli("doctor", "-o", "json");
  expect(full.code).toBe(1);
  expect(JSON.parse(full.out)).toContainEqual({
    check: "store",
    state: "fail",
    saw: "write of 12 bytes: no space left on device",
    remedy: "Free space on the disk of the data directory or mend it; writing resumes by itself.",
  });
  await api.close();
  const away = await cli("doctor");
  expect(away.code).toBe(1);
  expect(away.out).toMatch(/^agent +fail +no agent answers/m);
  expect(away.err).toContain("[NODE_UNWELL] 1 of");
});

test("doctor reads the config and its certificates", async () => {
  const config = join(dir, "agent.yaml");
  writeFileSync(join(dir, "node.crt"), "no certificate");
  writeFileSync(config, "hub:\n  addresses: [127.0.0.1:7443]\n  ca: none.crt\n  cert: node.crt\n  key: node.key\n");
  const broken = JSON.parse((await cli("doctor", "--config", config, "-o", "json")).out) as {
    check: string;
    state: string;
  }[];
  expect(broken.filter(({ check }) => check === "config")).toMatchObject([{ state: "ok" }]);
  expect(broken.filter(({ check }) => check === "certificate")).toMatchObject([{ state: "fail" }, { state: "fail" }]);
  writeFileSync(config, "hubb: 1\n");
  const { out, code } = await cli("doctor", "--config", config);
  expect(code).toBe(1);
  expect(out).toMatch(/^config +fail/m);
});

test("doctor finds processes of workloads that run without their agent", async () => {
  const env = { ...process.env, BLUEFLAME_SOCKET: join(dir, "agent.sock"), BLUEFLAME_MARK: "owner:firewall:1" };
  const orphan = spawn("sleep", ["60"], { env });
  children.push(orphan);
  expect((await cli("doctor")).out).toMatch(/^orphans +ok/m);
  await api.close();
  expect((await cli("doctor")).out).toContain(`1 process runs without an agent: firewall (${orphan.pid})`);
});

test.skipIf(process.getuid?.() === 0)(
  "a socket of another user is denied by name (not as root, who may ask everybody)",
  async () => {
    chmodSync(join(dir, "agent.sock"), 0o000);
    expect((await cli("status")).code).toBe(5);
  },
);
