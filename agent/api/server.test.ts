import { execFile, spawn } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { BeatService, NodeService, StateService } from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { Health } from "@blueflame/shared/gen/grpc/health/v1/health_pb.ts";
import { client, faultFrom } from "@blueflame/shared/rpc/definition.ts";
import * as grpc from "@grpc/grpc-js";
import { afterEach, beforeEach, expect, test } from "vitest";
import { asPerson, type MemoryNode, memoryNode } from "../../test/support/node.ts";
import type { Peer, Refusal } from "./admission.ts";
import { type LocalApi, type LocalApiOptions, serveLocalApi } from "./server.driver.ts";

const run = promisify(execFile);
const root = resolve(import.meta.dirname, "../..");

let dir: string;
let node: MemoryNode;
let closers: (() => unknown)[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-api-"));
  node = memoryNode(["firewall", "cache"]);
  closers = [];
});

afterEach(async () => {
  for (const close of closers.reverse()) await close();
  rmSync(dir, { recursive: true, force: true });
});

async function serve(
  socketPath = join(dir, "agent.sock"),
  onDown = () => {},
  more: Partial<LocalApiOptions> = { whoCalls: asPerson },
): Promise<LocalApi> {
  const api = await serveLocalApi({ node, socketPath, log: () => {}, onDown, ...more });
  closers.push(() => api.close());
  return api;
}

function open<S extends Parameters<typeof client>[0]>(service: S, socketPath: string) {
  const made = client(service, `unix:${socketPath}`, grpc.credentials.createInsecure());
  closers.push(() => made.close());
  return made;
}

function bearer(token: string): { metadata: grpc.Metadata } {
  const metadata = new grpc.Metadata();
  metadata.set("authorization", `Bearer ${token}`);
  return { metadata };
}

async function codeOf(call: Promise<unknown>): Promise<string> {
  return call.then(
    () => "no fault",
    (error: unknown) => faultFrom(error, "AGENT_UNREACHABLE").code,
  );
}

async function curl(...args: string[]): Promise<string> {
  const [file = "", ...words] = curlCommand(...args);
  return (await run(file, words, { cwd: dir })).stdout;
}

function curlCommand(...args: string[]): string[] {
  const flags = ["curl", "--http2-prior-knowledge", "--protocol", "grpc", "--unix-socket", join(dir, "agent.sock")];
  return [join(root, "node_modules/.bin/buf"), ...flags, ...args];
}

test("CARD-5 `buf curl` finds the services by reflection, beats, keeps state and asks the health service on the unix socket", async () => {
  await serve();
  const services = await curl("--list-services", "http://localhost");
  expect(services.trim().split("\n").sort()).toEqual([
    "blueflame.node.v1.BeatService",
    "blueflame.node.v1.NodeService",
    "blueflame.node.v1.ReportService",
    "blueflame.node.v1.StateService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
  ]);
  const status = await curl("-d", "{}", "http://localhost/blueflame.node.v1.NodeService/GetStatus");
  expect(JSON.parse(status)).toMatchObject({
    nodeId: "node-under-test",
    workloads: [{ name: "firewall" }, { name: "cache" }],
  });
  const token = ["-H", "authorization: Bearer token-of-firewall"];
  await curl(...token, "-d", '{"status":"from a shell"}', "http://localhost/blueflame.node.v1.BeatService/Beat");
  expect(node.workloads.get("firewall")?.beats).toEqual([{ ready: true, status: "from a shell" }]);
  const put = await curl(
    ...token,
    "-d",
    '{"key":"a","value":"AAE="}',
    "http://localhost/blueflame.node.v1.StateService/Put",
  );
  expect(JSON.parse(put)).toEqual({ revision: "1" });
  const health = await curl(
    "-d",
    '{"service":"blueflame.node.v1.BeatService"}',
    "http://localhost/grpc.health.v1.Health/Check",
  );
  expect(JSON.parse(health)).toEqual({ status: "SERVING" });
});

test("the socket is the owner's alone, from its first moment and under any umask", async () => {
  const before = process.umask(0);
  try {
    const path = join(dir, "agent.sock");
    const seen: number[] = [];
    const watch = setInterval(() => existsSync(path) && seen.push(statSync(path).mode & 0o777), 0);
    await serve();
    clearInterval(watch);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(seen.every((mode) => mode === 0o600)).toBe(true);
    expect(process.umask()).toBe(0);
  } finally {
    process.umask(before);
  }
});

test("the agent listens on no network port", async () => {
  const before = networkSockets();
  await serve();
  // Only what has come since: tests of before share this process, and what they had open may still be closing.
  expect([...networkSockets()].filter((socket) => !before.has(socket))).toEqual([]);
});

/** TCP sockets on which this process listens, and all its UDP sockets: the kernel's numbers for them. */
function networkSockets(): Set<string> {
  const inodeAt = 9;
  const found = ["tcp", "tcp6", "udp", "udp6"].flatMap((kind) =>
    linesOf(`/proc/self/net/${kind}`)
      .map((line) => line.trim().split(/\s+/))
      .filter(([, , , state]) => kind.startsWith("udp") || state === "0A")
      .map((fields) => fields[inodeAt] ?? ""),
  );
  const held = new Set(readdirSync("/proc/self/fd").map((fd) => linkOf(`/proc/self/fd/${fd}`)));
  return new Set(found.filter((inode) => held.has(`socket:[${inode}]`)));
}
const linesOf = (path: string) => (existsSync(path) ? readFileSync(path, "utf8").split("\n").slice(1) : []);
function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ""; // closed meanwhile
  }
}

test("a socket that a killed agent left behind is taken over", async () => {
  const path = join(dir, "agent.sock");
  const script = `require("net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`;
  const child = spawn(process.execPath, ["-e", script]);
  await new Promise((ended) => child.once("exit", ended));
  expect(existsSync(path)).toBe(true);
  const api = await serve();
  const status = await open(NodeService, api.socketPath).getStatus({});
  expect(status.nodeId).toBe("node-under-test");
});

test("a second agent on the same socket is refused, and the first one's socket survives", async () => {
  const api = await serve();
  await expect(serve()).rejects.toMatchObject({ code: "PORT_IN_USE" });
  expect((await open(NodeService, api.socketPath).getStatus({})).nodeId).toBe("node-under-test");
});

test("an agent that leaves does not remove the socket of the one that came after it", async () => {
  const first = await serve();
  rmSync(first.socketPath);
  const second = await serve();
  await first.close();
  expect((await open(NodeService, second.socketPath).getStatus({})).nodeId).toBe("node-under-test");
});

test("a path of more than 107 bytes, a file in the way, and a missing folder are named", async () => {
  const longest = join(dir, "x".repeat(107 - dir.length - 1));
  await serve(longest);
  await expect(serve(`${longest}x`)).rejects.toMatchObject({ code: "SOCKET_PATH_TOO_LONG" });
  writeFileSync(join(dir, "file"), "precious");
  await expect(serve(join(dir, "file"))).rejects.toMatchObject({ code: "DATA_DIR_UNUSABLE" });
  expect(existsSync(join(dir, "file"))).toBe(true);
  await expect(serve(join(dir, "no", "agent.sock"))).rejects.toMatchObject({ code: "DATA_DIR_UNUSABLE" });
});

test.skipIf(process.getuid?.() === 0)(
  "a folder that cannot be written is named (not as root, who may write everywhere)",
  async () => {
    mkdirSync(join(dir, "ro"));
    chmodSync(join(dir, "ro"), 0o500);
    await expect(serve(join(dir, "ro", "agent.sock"))).rejects.toMatchObject({ code: "DATA_DIR_UNUSABLE" });
  },
);

test("a beat without a token, with a wrong one, or under another scheme is denied", async () => {
  const api = await serve();
  const beats = open(BeatService, api.socketPath);
  expect(await codeOf(beats.beat({}))).toBe("DENIED");
  expect(await codeOf(beats.beat({}, bearer("guessed")))).toBe("DENIED");
  const metadata = new grpc.Metadata();
  metadata.set("authorization", "Basic token-of-cache");
  expect(await codeOf(beats.beat({}, { metadata }))).toBe("DENIED");
  expect(await beats.beat({}, bearer("token-of-cache"))).toMatchObject({ nextWithin: { seconds: 3n, nanos: 0 } });
});

test("a beat with a long status is taken and cut: a beat must not fail over its words", async () => {
  const api = await serve();
  await open(BeatService, api.socketPath).beat({ status: "x".repeat(5000), ready: false }, bearer("token-of-cache"));
  expect(node.workloads.get("cache")?.beats).toEqual([{ ready: false, status: "x".repeat(200) }]);
});

test("PHX-9 a workload's state is seen by its own token only, and a put on an old revision is refused", async () => {
  const api = await serve();
  const states = open(StateService, api.socketPath);
  const mine = bearer("token-of-firewall");
  expect(await codeOf(states.get({ key: "risk" }, mine))).toBe("NOT_FOUND");
  expect((await states.put({ key: "risk", value: Buffer.from("1"), expectedRevision: 0n }, mine)).revision).toBe(1n);
  expect(await codeOf(states.put({ key: "risk", value: Buffer.from("2"), expectedRevision: 0n }, mine))).toBe(
    "STATE_CONFLICT",
  );
  expect((await states.put({ key: "risk", value: Buffer.from("2"), expectedRevision: 1n }, mine)).revision).toBe(2n);
  expect(Buffer.from((await states.get({ key: "risk" }, mine)).value).toString()).toBe("2");
  expect(await codeOf(states.get({ key: "risk" }, bearer("token-of-cache")))).toBe("NOT_FOUND");
});

test("keys and values beyond their bounds are refused by name, at the bound they are taken", async () => {
  const api = await serve();
  const states = open(StateService, api.socketPath);
  const mine = bearer("token-of-firewall");
  for (const key of ["", "a b", "ä", "a\u0000", "x".repeat(129)]) {
    expect(await codeOf(states.put({ key, value: Buffer.from("1") }, mine))).toBe("BAD_REQUEST");
    expect(await codeOf(states.get({ key }, mine))).toBe("BAD_REQUEST");
  }
  await states.put({ key: "x".repeat(128), value: Buffer.alloc(256 * 1024) }, mine);
  expect(await codeOf(states.put({ key: "big", value: Buffer.alloc(256 * 1024 + 1) }, mine))).toBe("BAD_REQUEST");
  expect(await codeOf(states.put({ key: "huge", value: Buffer.alloc(2 * 1024 * 1024) }, mine))).toBe("LIMIT_REACHED");
});

test("GRC-9 start, stop and restart reach the node with the person's name, and its refusals come back by code", async () => {
  const api = await serve();
  const nodes = open(NodeService, api.socketPath);
  await nodes.stopWorkload({ name: "cache", person: "asha" });
  expect(await codeOf(nodes.restartWorkload({ name: "cache", person: "asha" }))).toBe("WORKLOAD_STOPPED");
  await nodes.startWorkload({ name: "cache", person: "asha\n\u001b[31m" });
  await nodes.restartWorkload({ name: "cache", person: "" });
  expect(await codeOf(nodes.stopWorkload({ name: "cachee", person: "asha" }))).toBe("WORKLOAD_UNKNOWN");
  const { records } = await nodes.listAudit({ limit: 2 });
  expect(records.map(({ actor, action }) => `${actor} ${action}`)).toEqual([
    "person:unnamed workload.restart",
    "person:asha[31m intent.start",
  ]);
});

test("a workload that runs as the same user read the others' state and could stop the agent: it is refused, once a minute in the audit", async () => {
  const told: Refusal[] = [];
  const peer: Peer = { is: "workload", pid: 42, workload: "cache" };
  const holderOf = (token: string) => /^token-of-(.*)$/.exec(token)?.[1];
  const api = await serve(undefined, undefined, {
    whoCalls: () => peer,
    holderOf,
    refused: (one) => told.push(one),
  });
  const nodes = open(NodeService, api.socketPath);
  for (const asked of [
    () => nodes.getState({ workload: "firewall", key: "risk" }),
    () => nodes.readStateLog({ workload: "firewall", log: "" }),
    () => nodes.listState({}),
    () => nodes.stopWorkload({ name: "firewall", person: "asha" }),
    () => nodes.unlockRisk({ workload: "cache", person: "asha", reason: "let me" }),
    () => nodes.down({ person: "asha" }),
    () => nodes.down({ person: "asha" }, bearer("token-of-cache")),
  ]) {
    expect(await codeOf(asked())).toBe("DENIED");
  }
  expect(told).toHaveLength(6);
  expect(told[5]).toMatchObject({ actor: "workload:cache", action: "api.down", target: "workload/cache" });
  expect(node.actions).toEqual([]);
  // Its own services are open to it, with its own token; another's, read from that one's environment, is none of its own.
  const states = open(StateService, api.socketPath);
  await states.put({ key: "mine", value: Buffer.from("1") }, bearer("token-of-cache"));
  expect(await codeOf(states.get({ key: "risk" }, bearer("token-of-firewall")))).toBe("DENIED");
  expect(told[6]?.because).toBe("the token of 'firewall' was sent by process 42 of workload 'cache'");
});

test("a script in a loop wrote a refusal into the audit for each of its processes: of one workload, or of helpers, it is one a minute", async () => {
  const told: Refusal[] = [];
  let pid = 100;
  let next: Pick<Peer, "is"> & { workload?: string } = { is: "helper" };
  const api = await serve(undefined, undefined, {
    whoCalls: () => ({ ...next, pid: pid++ }) as Peer,
    refused: (one) => told.push(one),
  });
  const down = async () => {
    const one = open(NodeService, api.socketPath);
    expect(await codeOf(one.down({ person: "asha" }))).toBe("DENIED");
    one.close();
  };
  for (let n = 0; n < 3; n++) await down();
  next = { is: "workload", workload: "" };
  for (let n = 0; n < 3; n++) await down();
  next = { is: "workload", workload: "cache" };
  for (let n = 0; n < 3; n++) await down();
  expect(told.map(({ actor }) => actor.split(":")[0])).toEqual(["helper", "workload", "workload"]);
});

test("a command that the agent has started looks at the node, and gives no orders; inside a workload it does not even look", async () => {
  await serve(undefined, undefined, {}); // this process serves, so whatever it starts is started by the agent
  const status = ["-d", "{}", "http://localhost/blueflame.node.v1.NodeService/GetStatus"];
  expect(JSON.parse(await curl(...status))).toMatchObject({ nodeId: "node-under-test" });
  const down = ["-d", "{}", "http://localhost/blueflame.node.v1.NodeService/Down"];
  await expect(curl(...down)).rejects.toThrow("may only look at how the node is");
  const env = { ...process.env, BLUEFLAME_TOKEN: "token-of-cache" };
  await expect(run("/bin/sh", ["-c", `exec "$@"`, "sh", ...curlCommand(...status)], { env })).rejects.toThrow(
    /a workload \(BLUEFLAME_TOKEN is in its environment.*asks what only people may/,
  );
  expect(node.actions).toEqual([]);
});

test("an agent that cannot see who calls took everybody for a person: it opens no risk lock, and says what to do", async () => {
  const unseen: Peer = { is: "unseen", pid: 0, because: "process 9 cannot be seen", instead: "ask from a root shell" };
  const api = await serve(undefined, undefined, { whoCalls: () => unseen });
  const nodes = open(NodeService, api.socketPath);
  expect((await nodes.getStatus({})).nodeId).toBe("node-under-test");
  await expect(nodes.unlockRisk({ workload: "cache", person: "asha", reason: "checked" })).rejects.toThrow(
    /process 9 cannot be seen, and a risk lock is opened by a person only: ask from a root shell/,
  );
});

test("the newest entries of a log are the newest also where they are more than an answer holds", async () => {
  const api = await serve();
  const states = open(StateService, api.socketPath);
  for (let at = 0; at < 20; at++) {
    await states.append({ log: "big", entries: [Buffer.alloc(60 * 1024)] }, bearer("token-of-cache"));
  }
  const { entries } = await open(NodeService, api.socketPath).readStateLog({
    workload: "cache",
    log: "big",
    limit: 20,
  });
  expect(entries.map(({ index }) => Number(index))).toEqual([13, 14, 15, 16, 17, 18, 19, 20]);
});

test("Down is answered before the process is told that it may end", async () => {
  const ended = Promise.withResolvers<void>();
  const api = await serve(join(dir, "agent.sock"), ended.resolve);
  const answer = await open(NodeService, api.socketPath).down({ person: "asha" });
  expect(answer.stopped).toBe(2);
  await ended.promise;
});

test("garbage on the socket ends that connection and nothing else", async () => {
  const api = await serve();
  const socket = net.connect({ path: api.socketPath });
  socket.on("error", () => {});
  socket.write("GET / HTTP/1.1\r\n\r\n\u0000\u0001\u0002");
  await new Promise((closed) => socket.once("close", closed).resume());
  expect((await open(NodeService, api.socketPath).getStatus({})).nodeId).toBe("node-under-test");
  expect((await open(Health, api.socketPath).check({ service: "" })).status).toBe(1);
});

test("closing removes the socket, and may be asked twice", async () => {
  const api = await serve();
  await Promise.all([api.close(), api.close()]);
  expect(existsSync(api.socketPath)).toBe(false);
});
