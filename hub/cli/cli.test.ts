import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { IncidentState } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { FleetState, Level, OperatorService } from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import { addService, serverOptions } from "@blueflame/shared/rpc/definition.ts";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import * as grpc from "@grpc/grpc-js";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { parse } from "yaml";
import { bundled } from "../../test/support/bundle.ts";
import { type MemoryFleet, memoryFleet } from "../../test/support/fleet.ts";
import { operatorHandlers } from "../api/grpc.driver.ts";
import { type HttpDoor, serveHttp } from "../api/http.driver.ts";
import { openAuthority, writeIssued } from "../trust/authority.driver.ts";

/** The machine may be busy: how long is not what is tested. */
const patient = { timeout: 10_000 };

const log = { warn: () => {} };
const incidentId = "0192f0c1-0000-7000-8000-000000000001";
let folder: string;
let program: string;
let fleet: MemoryFleet;
let door: HttpDoor;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "bf-operator-"));
  program = await bundled("hub/cli/main.ts");
});
afterAll(() => rm(folder, { recursive: true }));
beforeEach(async () => {
  fleet = memoryFleet();
  fleet.putNode({
    id: "edge-1",
    workloads: [{ name: "risk-firewall", pid: 4211, health: 1, phase: 3 }],
    readings: [{ sensor: "cpu_busy_ratio", value: 0.25 }],
  });
  fleet.putNode({ id: "edge-2", level: Level.RED, state: FleetState.FAILED, because: "silent for 61 s" });
  const timeline = [{ what: "symptom", because: "last beat 61 s ago" }];
  fleet.putIncident({ id: incidentId, nodeId: "edge-2", summary: "edge-2 is silent", timeline });
  fleet.putAudit({ id: "a", nodeId: "edge-2", actor: "hub", action: "node.level", target: "node/edge-2", outcome: 1 });
  fleet.putDecision({ id: "d", machine: "hub/escalation", subject: "node/edge-2", inputJson: "{}", outputJson: "{}" });
  door = await serveHttp({ fleet, host: "127.0.0.1", port: 0, log });
});
afterEach(() => door.close());

interface Ran {
  code: number | null;
  out: string;
  err: string;
}

function start(args: string[], environment: Record<string, string> = {}, cwd = folder) {
  const { BLUEFLAME_HUB: _, ...rest } = process.env;
  return spawn(process.execPath, [program, ...args], { cwd, env: { ...rest, NO_COLOR: "1", ...environment } });
}

async function run(
  args: string[],
  environment: Record<string, string> = { BLUEFLAME_HUB: door.url },
  cwd = folder,
): Promise<Ran> {
  const child = start(args, environment, cwd);
  const ran: Ran = { code: null, out: "", err: "" };
  child.stdout.on("data", (text) => (ran.out += String(text)));
  child.stderr.on("data", (text) => (ran.err += String(text)));
  [ran.code] = await once(child, "close");
  return ran;
}

test("nodes are a table without boxes, the worst first, and nothing but data on stdout", async () => {
  const { code, out, err } = await run(["nodes"]);
  expect([code, err]).toEqual([0, ""]);
  const lines = out.trimEnd().split("\n");
  expect(lines[0]).toMatch(/^NODE {4}LEVEL {2}STATE .* BECAUSE$/);
  expect(lines[1]).toMatch(/^edge-2 {2}RED {4}failed .* silent for 61 s$/);
  expect(lines[2]).toMatch(/^edge-1 {2}GREEN {2}healthy .* 1 ok /);
  expect((await run(["nodes", "--no-headers"])).out).not.toContain("LEVEL");
});

test.each([
  [["nodes"], 2],
  [["nodes", "edge-2"], 1],
  [["workloads"], 1],
  [["incidents"], 1],
  [["incidents", incidentId], 1],
  [["audit"], 1],
  [["decisions"], 1],
  [["wait", "--for=green", "edge-1"], 1],
])("%j speaks json, jsonl and yaml, and all say the same", async (args, count) => {
  const json = JSON.parse((await run([...args, "-o", "json"])).out);
  const jsonl = (await run([...args, "-o", "jsonl"])).out.trimEnd().split("\n");
  expect(jsonl).toHaveLength(count);
  expect(jsonl.map((line) => JSON.parse(line))).toEqual([json].flat());
  expect(parse((await run([...args, "-o", "yaml"])).out)).toEqual(json);
});

test("one node comes with its workloads and readings, one incident with its timeline, found by the beginning of its id", async () => {
  expect((await run(["nodes", "edge-1"])).out).toMatch(/WORKLOAD .*\nrisk-firewall {2}healthy {2}running {2}4211/);
  expect((await run(["nodes", "edge-1"])).out).toMatch(/SENSOR .*\ncpu_busy_ratio {2}node {3}0.25/);
  expect((await run(["incidents", "0192f0c1"])).out).toMatch(/edge-2 is silent[\s\S]*symptom {2}last beat 61 s ago/);
  expect((await run(["incidents", "last"])).out).toMatch(/edge-2 is silent[\s\S]*symptom {2}last beat 61 s ago/);
  expect(await run(["incidents", "last", "--node", "edge-1"])).toMatchObject({ code: 3 });
  expect(JSON.parse((await run(["incidents", "--open", "--node", "edge-1", "-o", "json"])).out)).toEqual([]);
});

test("SYN-4 cause, confidence and remedy of an incident, safe mode and rollback of a workload are on the lists", async () => {
  const diagnosis = { cause: "config_change", confidence: 0.75, evidence: ["its config changed 9 s ago"] };
  const attempts = [{ rung: 1, ok: false }, { rung: 3 }];
  fleet.putIncident({
    id: incidentId,
    nodeId: "edge-1",
    workload: "web",
    summary: "crash",
    diagnosis,
    attempts,
    state: 2,
  });
  const web = { name: "web", health: 2, phase: 3, safeMode: true, rolledBack: true, atWork: "config_rollback" };
  fleet.putNode({ id: "edge-1", workloads: [{ name: "risk-firewall", pid: 4211, health: 1, phase: 3 }, web] });
  expect((await run(["incidents"])).out).toMatch(
    /CAUSE +REMEDY[^\n]*\n.*config change \(0\.75\) +config rollback at work/,
  );
  expect((await run(["incidents", "last"])).out).toMatch(/EVIDENCE +its config changed 9 s ago/);
  const listed = (await run(["workloads"])).out.split("\n");
  expect(listed[1]).toMatch(/^edge-1 +GREEN +web +degraded .* config rollback at work, SAFE MODE, rolled back/);
  expect(listed[2]).toMatch(/^edge-1 +GREEN +risk-firewall +healthy +running +4211 /);
  expect((await run(["nodes"])).out).toContain("1 degraded, 1 ok, 1 in safe mode, 1 rolled back");
  expect(await run(["workloads", "--node", "edge-7"])).toMatchObject({ code: 3 });
  expect(JSON.parse((await run(["workloads", "--node", "edge-1", "-o", "json"])).out)[0]).toMatchObject({
    nodeId: "edge-1",
    name: "web",
    safeMode: true,
  });
});

test("an empty list is no failure, and a list at its bound says that there may be more", async () => {
  expect(await run(["incidents", "--node", "edge-1"])).toMatchObject({ code: 0, err: "" });
  expect((await run(["audit", "--limit", "1"])).err).toContain("there may be more");
});

test.each([
  [["nods"], 2, "Did you mean nodes?"],
  [["nodes", "--wacth"], 2, "Did you mean --watch?"],
  [["nodes", "-o", "xml"], 2, "Allowed choices are table, json, jsonl, yaml"],
  [["audit", "--limit", "many"], 2, "[USAGE] 'many' is no limit"],
  [["wait"], 2, "--for <condition>"],
  [["wait", "--for=gren"], 2, "Allowed choices are green, healthy, incident-closed"],
  [["wait", "--for=green", "--timeout", "30"], 2, "[USAGE] '30' is no duration"],
  [["nodes", "--hub", "localhost:7480"], 2, "write http://HOST:PORT"],
  [["nodes", "--hub", "https://localhost:7443"], 2, "needs --ca, --cert and --key"],
  [["top"], 2, "top needs a terminal"],
  [["nodes", "edge-9"], 3, "[NOT_FOUND] no node 'edge-9' is known to this hub. List what there is"],
  [["incidents", "ffff"], 3, "[NOT_FOUND] no incident 'ffff'"],
  [["nodes", "--hub", "http://127.0.0.1:1"], 5, "[HUB_UNREACHABLE] no hub answers at http://127.0.0.1:1"],
  [["wait", "--for=green", "--timeout", "0s"], 6, "[CONDITION_FALSE] node 'edge-2' is not green: silent for 61 s"],
  [["wait", "--for=incident-closed", "--timeout", "0s"], 6, "is not closed: edge-2 is silent"],
  [
    ["wait", "--for=green", "edge-9", "--timeout", "700ms"],
    124,
    "[TIMED_OUT] node 'edge-9' is not known to the hub, after 700ms",
  ],
])("%j ends with %i and says why on stderr only", async (args, code, text) => {
  const ran = await run(args);
  expect([ran.code, ran.out]).toEqual([code, ""]);
  expect(ran.err).toContain(text);
});

test("a hub that fails is 1, and says so", async () => {
  fleet.breakWith(new Error("broken"));
  expect(await run(["nodes"])).toMatchObject({ code: 1, err: expect.stringContaining("[HUB_FAILED]") });
});

test("an address that swallows everything is unreachable before 5 s are over", { timeout: 30_000 }, async () => {
  const hole = createServer(() => {}).listen(0, "127.0.0.1");
  await once(hole, "listening");
  const { port } = hole.address() as { port: number };
  try {
    for (const args of [["nodes"], ["nodes", "--watch"]]) {
      const ran = await run(args, { BLUEFLAME_HUB: `http://127.0.0.1:${port}` });
      expect(ran).toMatchObject({ code: 5, err: expect.stringContaining("no answer within 4 s") });
    }
  } finally {
    hole.close();
  }
});

test("wait comes back when what it waits for has come true", async () => {
  const waiting = run(["wait", "--for=healthy", "--timeout", "20s"]);
  const closing = run(["wait", "--for=incident-closed", incidentId.slice(0, 10), "--timeout", "20s"]);
  await new Promise((later) => setTimeout(later, 1200));
  fleet.putNode({ id: "edge-2" });
  fleet.putIncident({ id: incidentId, state: IncidentState.CLOSED });
  expect(await waiting).toEqual({ code: 0, out: "", err: "" });
  expect(await closing).toEqual({ code: 0, out: "", err: "" });
});

test("the context file of the nearest folder above says where the hub is; a broken one is named", async () => {
  const deep = join(folder, "project", "a", "b");
  await mkdir(join(folder, "project", ".blueflame"), { recursive: true });
  await mkdir(deep, { recursive: true });
  const file = join(folder, "project", ".blueflame", "context.json");
  await writeFile(file, JSON.stringify({ hub: door.url }));
  expect((await run(["nodes"], {}, deep)).code).toBe(0);
  expect((await run(["nodes", "--hub", "http://127.0.0.1:1"], {}, deep)).code).toBe(5);
  await writeFile(file, "{");
  expect(await run(["nodes"], {}, deep)).toMatchObject({
    code: 2,
    err: expect.stringContaining(`[CONFIG_INVALID] '${file}'`),
  });
});

test("a reader that goes away ends a watch quietly", async () => {
  const child = start(["nodes", "--watch"], { BLUEFLAME_HUB: door.url });
  let err = "";
  child.stderr.on("data", (text) => (err += String(text)));
  const [first] = await once(child.stdout, "data");
  // Piped, a watch is JSON lines.
  expect(JSON.parse(String(first).split("\n")[0] ?? "")).toMatchObject({ id: "edge-2", level: "LEVEL_RED" });
  child.stdout.destroy();
  const ended = once(child, "close");
  const talk = setInterval(() => fleet.putNode({ id: "edge-1" }), 50);
  const [code] = await ended;
  clearInterval(talk);
  expect([code, err]).toEqual([0, ""]);
});

test("in a table a watch prints a line when something changed, not when a beat came; Ctrl-C ends it with 130", async () => {
  const child = start(["nodes", "--watch", "-o", "table"], { BLUEFLAME_HUB: door.url });
  let out = "";
  child.stdout.on("data", (text) => (out += String(text)));
  await expect.poll(() => out, patient).toContain("edge-1");
  fleet.putNode({
    id: "edge-2",
    level: Level.RED,
    state: FleetState.FAILED,
    because: "silent for 61 s",
    lastBeatAgo: durationFromMs(99),
  });
  fleet.putNode({ id: "edge-2", level: Level.YELLOW, because: "one beat is missing" });
  await expect.poll(() => out, patient).toContain("one beat is missing");
  expect(out.match(/edge-2/g)).toHaveLength(2);
  child.kill("SIGINT");
  const [code] = await once(child, "close");
  expect(code).toBe(130);
  await expect.poll(() => fleet.watchers, patient).toBe(0);
});

test("a watch whose hub goes away ends with 5", async () => {
  const child = start(["incidents", "--watch"], { BLUEFLAME_HUB: door.url });
  let err = "";
  child.stderr.on("data", (text) => (err += String(text)));
  await once(child.stdout, "data");
  await door.close();
  const [code] = await once(child, "close");
  expect([code, err]).toEqual([5, expect.stringContaining("[HUB_UNREACHABLE]")]);
});

test("over gRPC with mutual TLS an operator is answered, a node is denied, a foreign CA and bad files are named", {
  timeout: 60_000,
}, async () => {
  const authority = await openAuthority(join(folder, "trust"), Date.now);
  const stranger = await openAuthority(join(folder, "strange"), Date.now);
  const hub = await authority.serverCertificate(["localhost"]);
  const server = new grpc.Server(serverOptions);
  addService(server, OperatorService, operatorHandlers(fleet));
  const pair = { private_key: Buffer.from(hub.key), cert_chain: Buffer.from(hub.cert) };
  const credentials = grpc.ServerCredentials.createSsl(Buffer.from(authority.ca), [pair], true);
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", credentials, (error, bound) => (error ? reject(error) : resolve(bound))),
  );
  const flags = (paths: { ca: string; cert: string; key: string }, host = "localhost") => [
    ...["--hub", `https://${host}:${port}`],
    ...["--ca", paths.ca, "--cert", paths.cert, "--key", paths.key],
  ];
  const asha = writeIssued(join(folder, "asha"), "operator", await authority.issue({ role: "operator", name: "asha" }));
  const node = writeIssued(join(folder, "node"), "node", await authority.issue({ role: "node", name: "edge-1" }));
  const foreign = writeIssued(
    join(folder, "foreign"),
    "operator",
    await stranger.issue({ role: "operator", name: "eve" }),
  );
  try {
    expect(await run(["nodes", ...flags(asha)])).toMatchObject({
      code: 0,
      err: "",
      out: expect.stringContaining("edge-2"),
    });
    expect(await run(["nodes", "edge-9", ...flags(asha)])).toMatchObject({ code: 3 });
    expect(await run(["nodes", ...flags(node)])).toMatchObject({
      code: 4,
      err: expect.stringContaining("[DENIED] the node 'edge-1'"),
    });
    expect(await run(["nodes", ...flags(foreign)])).toMatchObject({
      code: 4,
      err: expect.stringContaining("[HUB_UNTRUSTED]"),
    });
    expect(await run(["nodes", ...flags(asha, "127.0.0.1")])).toMatchObject({
      code: 4,
      err: expect.stringContaining("[HUB_MISNAMED]"),
    });
    const mixed = { ...foreign, ca: asha.ca };
    expect(await run(["nodes", ...flags(mixed)])).toMatchObject({
      code: 4,
      err: expect.stringContaining("[CERT_REFUSED]"),
    });
    const missing = { ...asha, key: join(folder, "nothing.key") };
    expect(await run(["nodes", ...flags(missing)])).toMatchObject({
      code: 2,
      err: expect.stringContaining("[CERT_UNUSABLE]"),
    });
    const pasted = await run(["nodes", ...flags({ ...asha, key: "-----BEGIN PRIVATE KEY-----\ncanary" })]);
    expect(pasted.err).toMatch(
      /^\[CERT_UNUSABLE\] a key or certificate itself was given where the path of its file belongs/,
    );
    expect(pasted.err).not.toContain("canary");
    const crossed = { ...asha, key: foreign.key };
    expect(await run(["nodes", ...flags(crossed)])).toMatchObject({
      code: 2,
      err: expect.stringContaining("[CERT_UNUSABLE]"),
    });
  } finally {
    server.forceShutdown();
  }
});
