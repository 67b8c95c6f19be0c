import { mkdtempSync, rmSync } from "node:fs";
import {
  createServer,
  get,
  Agent as HttpAgent,
  type RequestListener,
  type Server,
  type ServerResponse,
} from "node:http";
import net, { type AddressInfo, connect as connectTcp, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type MemoryNode, memoryNode } from "../../test/support/node.ts";
import { type LocalApi, serveLocalApi } from "../api/server.driver.ts";
import type { FinishedRequest } from "../node.ts";
import { countRequest, freshMeter, requestFigures } from "../sensors/requests.ts";
import { type Agent, connect } from "./client.driver.ts";
import { type RequestWatch, watchRequests } from "./requests.driver.ts";

let dir: string;
let node: MemoryNode;
let api: LocalApi | undefined;
let agent: Agent;
let watch: RequestWatch | undefined;
let server: Server;
let port: number;
const keepAlive = new HttpAgent({ keepAlive: true });

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "bf-requests-"));
  node = memoryNode(["firewall"]);
  const socketPath = join(dir, "agent.sock");
  api = await serveLocalApi({ node, socketPath, log: () => {} });
  agent = connect({ socket: socketPath, token: "token-of-firewall" });
});
afterEach(async () => {
  await watch?.close();
  agent.close();
  server?.closeAllConnections();
  server?.close();
  await api?.close();
  rmSync(dir, { recursive: true, force: true });
});

async function serve(listener: RequestListener): Promise<void> {
  server = createServer(listener);
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  port = (server.address() as AddressInfo).port;
}

function ask(path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    get({ host: "127.0.0.1", port, path, agent: keepAlive }, (response) => {
      response.resume().on("end", () => resolve(response.statusCode ?? 0));
    }).on("error", reject);
  });
}

const reported = (): FinishedRequest[] => node.workloads.get("firewall")?.requests ?? [];

async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; !holds(); tries += 1) {
    if (tries > 1000) throw new Error("waited 10 s in vain");
    await pause(10);
  }
}

/** Answers as the path says: a status, or a wait in milliseconds; /never does not answer, /stream begins and goes on. */
const answer = (path: string, response: ServerResponse) => {
  if (path === "/never") return;
  if (path === "/stream") {
    response.write("begun");
    return;
  }
  if (path.startsWith("/wait")) setTimeout(() => response.end("late"), Number(path.slice("/wait".length)));
  else {
    response.statusCode = Number(path.slice(1));
    response.end("{}");
  }
};

test("GRC-13 every request of a real server comes to the agent with latency and outcome, and becomes figures", async () => {
  await serve((request, response) => answer(request.url ?? "", response));
  watch = watchRequests(agent);
  watch.watch(server);
  for (let n = 0; n < 90; n += 1) expect(await ask("/200")).toBe(200);
  for (let n = 0; n < 5; n += 1) await ask("/500");
  for (let n = 0; n < 5; n += 1) await ask("/404");
  await ask("/wait300");
  await until(() => reported().length === 101);
  const meter = freshMeter();
  for (const request of reported()) countRequest(meter, request, 0);
  const figures = requestFigures(meter, 0);
  expect(figures.error_rate).toBeCloseTo(5 / 101, 6);
  expect(Math.max(...reported().map(({ latencyMs }) => latencyMs))).toBeGreaterThanOrEqual(295);
  expect(figures.avg_latency_ms).toBeGreaterThan(0);
  expect(watch.untold).toBe(0);
});

test("GRC-13 the same handler serves Express, Fastify and node:http, and calls what is next at once", async () => {
  const order: string[] = [];
  watch = watchRequests(agent);
  const { handle } = watch;
  await serve((request, response) => {
    const path = request.url ?? "";
    const next = () => {
      order.push(`next ${path}`);
      response.end();
    };
    if (path === "/express") handle(request, response, next);
    // Fastify hands out its own objects, with what node:http gave it inside.
    else if (path === "/fastify") handle({ raw: request }, { raw: response }, next);
    else {
      handle(request, response);
      next();
    }
    order.push(`after ${path}`);
  });
  for (const path of ["/express", "/fastify", "/plain"]) await ask(path);
  expect(order).toEqual(["/express", "/fastify", "/plain"].flatMap((path) => [`next ${path}`, `after ${path}`]));
  await watch.close();
  expect(reported()).toHaveLength(3);
  expect(reported().every(({ ok, timedOut }) => ok && !timedOut)).toBe(true);
});

test("GRC-13 a request that gets no answer is told as timed out while it still hangs; a stream is not", async () => {
  await serve((request, response) => answer(request.url ?? "", response));
  watch = watchRequests(agent, { timeoutMs: 400 });
  watch.watch(server);
  const asked = ["/never", "/stream"].map((path) =>
    get({ host: "127.0.0.1", port, path, agent: false }).on("error", () => {}),
  );
  await until(() => reported().length > 0);
  await pause(1200);
  expect(reported()).toEqual([{ latencyMs: expect.any(Number), ok: false, timedOut: true }]);
  expect(reported()[0]?.latencyMs).toBeGreaterThanOrEqual(400);
  // Their ends add nothing: one was counted, the other is no request with an answer.
  for (const request of asked) request.destroy();
  await pause(100);
  await watch.close();
  expect(reported()).toHaveLength(1);
});

test("GRC-13 a client that leaves early is no fault of the server; an answer that comes too late is one", async () => {
  let early: Socket | undefined;
  await serve((request, response) => {
    answer(request.url ?? "", response);
    if (request.url === "/never") early?.destroy(); // long before its time is over
  });
  watch = watchRequests(agent, { timeoutMs: 200 });
  watch.watch(server);
  await ask("/wait300");
  early = connectTcp(port, "127.0.0.1", () => early?.write("GET /never HTTP/1.1\r\nhost: x\r\n\r\n"));
  await until(() => reported().length === 2);
  expect(reported().map(({ ok, timedOut }) => [ok, timedOut])).toEqual([
    [false, true],
    [true, false],
  ]);
});

test("GRC-13 an agent that is away costs the server nothing, and what was not told is counted", async () => {
  await serve((request, response) => answer(request.url ?? "", response));
  await api?.close();
  watch = watchRequests(agent);
  watch.watch(server);
  for (let n = 0; n < 20; n += 1) expect(await ask("/200")).toBe(200);
  await watch.close();
  expect([watch.untold, reported().length]).toEqual([20, 0]);
});

test("GRC-13 a burst goes out in reports that the agent takes, and what is more than can wait is dropped and counted", async () => {
  const sizes: number[] = [];
  const listeners: (() => void)[] = [];
  watch = watchRequests({
    async reportRequests(requests) {
      sizes.push(requests.length);
    },
  });
  for (let n = 0; n < 25_000; n += 1) {
    const response = {
      statusCode: 200,
      writableFinished: true,
      once: (_: string, end: () => void) => listeners.push(end),
    };
    watch.handle(undefined, response as unknown as ServerResponse);
  }
  for (const end of listeners) end();
  await watch.close();
  expect(sizes).toEqual(Array(20).fill(1000));
  expect(watch.untold).toBe(5000);
});

test("a report is denied with a wrong token, and refused when it is too long", async () => {
  const one: FinishedRequest = { latencyMs: 1500, ok: true, timedOut: false };
  await agent.reportRequests([one]);
  expect(reported()).toEqual([one]);
  await expect(agent.reportRequests(Array(1001).fill(one))).rejects.toMatchObject({ code: "BAD_REQUEST" });
  const stranger = connect({ socket: join(dir, "agent.sock"), token: "guessed" });
  await expect(stranger.reportRequests([one])).rejects.toMatchObject({ code: "DENIED" });
  stranger.close();
});

test("GRC-13 an agent that was busy for two seconds lost all requests of that moment: the report was given up after one", async () => {
  // Between the two: it takes the line at once, and nothing comes through for a while.
  const waiting: NodeJS.Timeout[] = [];
  const busy = net.createServer((socket) => {
    const agentSide = net.connect(join(dir, "agent.sock"));
    for (const side of [socket, agentSide]) side.on("error", () => [socket, agentSide].map((one) => one.destroy()));
    agentSide.pipe(socket);
    waiting.push(setTimeout(() => socket.pipe(agentSide), 2000));
  });
  await new Promise<void>((listening) => busy.listen(join(dir, "busy.sock"), listening));
  const late = connect({ socket: join(dir, "busy.sock"), token: "token-of-firewall" });
  const one: FinishedRequest = { latencyMs: 600, ok: false, timedOut: true };
  await late.reportRequests([one]);
  expect(reported()).toEqual([one]);
  late.close();
  for (const timer of waiting) clearTimeout(timer);
  busy.close();
});
