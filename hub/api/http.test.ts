import { execFile } from "node:child_process";
import { once } from "node:events";
import { request } from "node:http";
import { connect } from "node:net";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { Level } from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type MemoryFleet, memoryFleet } from "../../test/support/fleet.ts";
import { type HttpDoor, serveHttp } from "./http.driver.ts";

/** The machine may be busy: how long is not what is tested. */
const patient = { timeout: 10_000 };

const buf = fileURLToPath(new URL("../../node_modules/.bin/buf", import.meta.url));
const root = fileURLToPath(new URL("../..", import.meta.url));
const service = "blueflame.operator.v1.OperatorService";

let fleet: MemoryFleet;
let door: HttpDoor;
let warnings: string[];
const log = { warn: (_facts: object, message: string) => void warnings.push(message) };

beforeEach(async () => {
  warnings = [];
  fleet = memoryFleet();
  fleet.putNode({ id: "edge-1" });
  fleet.putNode({ id: "edge-2", level: Level.RED, site: "pune" });
  door = await serveHttp({ fleet, host: "127.0.0.1", port: 0, log });
});
afterEach(() => door.close());

async function post(method: string, body: object): Promise<{ status: number; body: unknown }> {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(`${door.url}/${service}/${method}`, {
    method: "POST",
    headers,
    body: JSON.stringify(body),
  });
  return { status: answer.status, body: await answer.json() };
}

/** A request that fetch would not make: with any Host and method. */
async function raw(options: { method?: string; path?: string; headers?: Record<string, string> }): Promise<number> {
  const { hostname, port } = new URL(door.url);
  const asked = request({ hostname, port, path: "/", ...options }).end();
  const [answer] = await once(asked, "response");
  answer.resume();
  return answer.statusCode;
}

test("curl asks in JSON and is answered in JSON, worst node first", async () => {
  const { status, body } = await post("ListNodes", {});
  expect(status).toBe(200);
  expect(body).toMatchObject({ nodes: [{ id: "edge-2", level: "LEVEL_RED", missed: 0 }, { id: "edge-1" }] });
  expect((await post("ListNodes", { levels: ["LEVEL_GREEN"] })).body).toMatchObject({ nodes: [{ id: "edge-1" }] });
  expect((await post("ListNodes", { site: "pune" })).body).toMatchObject({ nodes: [{ id: "edge-2" }] });
});

test("errors carry the code of the catalogue and the right status", async () => {
  const missing = await post("GetNode", { id: "nope" });
  expect(missing).toMatchObject({ status: 404, body: { code: "not_found" } });
  expect(JSON.stringify(missing.body)).toContain("[NOT_FOUND] no node 'nope' is known");
  expect(await post("GetNode", {})).toMatchObject({ status: 400, body: { code: "invalid_argument" } });
  expect(await post("GetNode", { id: "x".repeat(201) })).toMatchObject({ status: 400 });
  fleet.breakWith(new Fault("STORE_WRITE_FAILED", "the disk is full"));
  expect(await post("ListAudit", {})).toMatchObject({ status: 503, body: { code: "unavailable" } });
});

test("lists are bounded: nothing said means 50, and no more than 500 whatever is said", async () => {
  for (let at = 0; at < 600; at++) fleet.putAudit({ id: String(at), nodeId: "edge-1", action: "node.level" });
  const count = async (limit: number) =>
    ((await post("ListAudit", { limit })).body as { records: unknown[] }).records.length;
  expect([await count(0), await count(7), await count(9999)]).toEqual([50, 7, 500]);
});

test.each(["connect", "grpcweb"])("CARD-5 buf curl speaks %s to the same address", async (protocol) => {
  const args = ["curl", "--protocol", protocol, "--schema", `${root}/proto`, "-d", '{"id":"edge-2"}'];
  const { stdout } = await promisify(execFile)(buf, [...args, `${door.url}/${service}/GetNode`]);
  expect(JSON.parse(stdout)).toMatchObject({ node: { id: "edge-2", level: "LEVEL_RED" } });
});

test("a page that was rebound to this address, another origin, another method or a large body is turned away", async () => {
  expect(await raw({ headers: { host: "evil.example" } })).toBe(403);
  expect(await raw({ headers: { host: `localhost:${new URL(door.url).port}` } })).toBe(200);
  expect(
    await raw({ headers: { origin: "https://evil.example" }, path: `/${service}/ListNodes`, method: "POST" }),
  ).toBe(403);
  expect(await raw({ method: "DELETE" })).toBe(405);
  expect(await raw({ method: "OPTIONS", path: `/${service}/ListNodes` })).toBe(405);
  expect(await raw({ method: "POST", path: "/metrics" })).toBe(405);
  expect(await raw({ method: "POST", path: `/${service}/ListNodes`, headers: { "content-length": "70000" } })).toBe(
    413,
  );
  expect(warnings.length).toBeGreaterThanOrEqual(4);
});

test("a body without a length is bounded too", async () => {
  const { hostname, port } = new URL(door.url);
  const headers = { "content-type": "application/json", "transfer-encoding": "chunked" };
  const asked = request({ hostname, port, method: "POST", path: `/${service}/GetNode`, headers });
  asked.on("error", () => {}); // the hub may hang up before all of it is sent
  asked.end(`{"id":"${"x".repeat(200_000)}"}`);
  const [answer] = await once(asked, "response");
  answer.resume();
  expect(answer.statusCode).toBeGreaterThanOrEqual(400);
});

test("every answer forbids frames and foreign scripts, and allows nobody to read across origins", async () => {
  for (const path of ["/", "/metrics", "/nothing", "/health/live"]) {
    const { headers } = await fetch(door.url + path);
    expect(headers.get("content-security-policy")).toMatch(
      /default-src 'none'; script-src 'self';.*frame-ancestors 'none'/,
    );
    expect(headers.get("content-security-policy")).not.toContain("unsafe");
    expect(headers.get("x-content-type-options")).toBe("nosniff");
    expect(headers.get("access-control-allow-origin")).toBeNull();
  }
});

test("PRA-5 live, ready and performance answer with their fields; a failed check is named and is 503", async () => {
  const checked = await serveHttp({
    fleet,
    host: "127.0.0.1",
    port: 0,
    log,
    checks: {
      store: () => {
        throw new Error("the disk is full");
      },
    },
  });
  try {
    const live = await fetch(`${checked.url}/health/live`);
    expect([live.status, await live.json()]).toEqual([200, { status: "alive", time: expect.any(String) }]);
    const ready = await fetch(`${checked.url}/health/ready`);
    expect([ready.status, await ready.json()]).toEqual([
      503,
      { status: "not_ready", checks: { fleet: { ok: true }, store: { ok: false, because: "the disk is full" } } },
    ]);
    expect((await fetch(`${door.url}/health/ready`)).status).toBe(200);
    const performance = await fetch(`${checked.url}/health/performance`);
    expect(performance.status).toBe(200);
    expect(Object.keys((await performance.json()) as object)).toEqual([
      "avg_latency_ms",
      "p95_latency_ms",
      "p99_latency_ms",
      "error_rate",
      "requests_per_second",
      "cpu_usage",
      "memory_usage_mb",
    ]);
  } finally {
    await checked.close();
  }
});

test("a check that does not answer fails after 2 s instead of hanging", { timeout: 20_000 }, async () => {
  const stuck = await serveHttp({
    fleet,
    host: "127.0.0.1",
    port: 0,
    log,
    checks: { store: () => new Promise(() => {}) },
  });
  try {
    const ready = await fetch(`${stuck.url}/health/ready`);
    expect(await ready.json()).toMatchObject({ checks: { store: { ok: false, because: "no answer within 2000 ms" } } });
  } finally {
    await stuck.close();
  }
});

test("a fleet that fails makes pages fail with 5xx and the door stays open", async () => {
  fleet.breakWith(new Error("secret path /srv/x"));
  const page = await fetch(door.url);
  expect([page.status, await page.text()]).toEqual([500, expect.not.stringContaining("secret")]);
  expect((await fetch(`${door.url}/health/ready`)).status).toBe(503);
  fleet.breakWith(undefined);
  expect((await fetch(door.url)).status).toBe(200);
});

test("a taken port and an address that others can reach are named", async () => {
  const { port } = new URL(door.url);
  const again = serveHttp({ fleet, host: "127.0.0.1", port: Number(port), log });
  await expect(again).rejects.toMatchObject({ code: "PORT_IN_USE" });
  await expect(serveHttp({ fleet, host: "0.0.0.0", port: 0, log })).rejects.toMatchObject({
    code: "LISTEN_NOT_LOOPBACK",
  });
});

/** The events of a stream as they come. */
async function* events(
  path: string,
  signal: AbortSignal,
): AsyncGenerator<{ id: string; event: string; value: Record<string, unknown> }> {
  const answer = await fetch(door.url + path, { signal });
  let text = "";
  for await (const chunk of answer.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += chunk;
    const parts = text.split("\n\n");
    text = parts.pop() ?? "";
    for (const part of parts) {
      const [, id, event, data] = /^id: (\d+)\nevent: (\w+)\ndata: (.*)$/.exec(part) ?? [];
      if (id !== undefined && event !== undefined) yield { id, event, value: JSON.parse(data ?? "") };
    }
  }
}

test("/events tells everything once, then changes, with ids that grow, and beats when nothing changes", {
  timeout: 20_000,
}, async () => {
  fleet.putIncident({ id: "i-1", nodeId: "edge-2", summary: "silent" });
  const left = new AbortController();
  const seen: string[] = [];
  let lastId = 0;
  for await (const { id, event, value } of events("/events", left.signal)) {
    expect(Number(id)).toBeGreaterThan(lastId);
    lastId = Number(id);
    seen.push(event === "fleet" || event === "begin" ? event : `${event} ${String(value.id ?? "")}`.trim());
    if (event === "complete") fleet.putNode({ id: "edge-3" });
    if (seen.at(-1) === "node edge-3") fleet.putIncident({ id: "i-1", nodeId: "edge-2", state: 5 });
    if (seen.filter((one) => one === "fleet").length === 4) break;
  }
  left.abort();
  expect(seen.slice(0, 8)).toEqual([
    "begin",
    "fleet",
    "node edge-2",
    "node edge-1",
    "incident i-1",
    "complete",
    "node edge-3",
    "fleet",
  ]);
  expect(seen.slice(8)).toEqual(["incident i-1", "fleet", "fleet"]);
  await expect.poll(() => fleet.watchers, patient).toBe(0);
});

test("a reader of /events that does not read costs a bounded amount of memory and then gets the state of now", {
  timeout: 30_000,
}, async () => {
  const { hostname, port } = new URL(door.url);
  const socket = connect(Number(port), hostname);
  socket.write("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await once(socket, "readable");
  socket.pause();
  const because = "x".repeat(10_000);
  for (let round = 0; round < 2000; round++) {
    fleet.putNode({ id: "edge-1", because: `${because} ${round}` });
    if (round % 50 === 0) await new Promise((next) => setImmediate(next));
  }
  let text = "";
  socket.on("data", (chunk) => (text = (text + String(chunk)).slice(-60_000)));
  socket.resume();
  await expect.poll(() => text.includes("x 1999"), { timeout: 10_000 }).toBe(true);
  // 20 MB were changed; without coalescing all of it would have come.
  expect(socket.bytesRead).toBeLessThan(10_000_000);
  socket.destroy();
  await expect.poll(() => fleet.watchers, patient).toBe(0);
});

test("closing ends open streams at once and frees the port", async () => {
  const stream = events("/events", new AbortController().signal);
  await stream.next();
  await door.close();
  await expect(
    (async () => {
      for await (const _ of stream);
    })(),
  ).rejects.toThrow();
  const again = await serveHttp({ fleet, host: "127.0.0.1", port: Number(new URL(door.url).port), log });
  await again.close();
});
