import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { OperatorService } from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import { Health } from "@blueflame/shared/gen/grpc/health/v1/health_pb.ts";
import {
  addService,
  type Client,
  client,
  clientOptions,
  faultFrom,
  serverOptions,
} from "@blueflame/shared/rpc/definition.ts";
import { addHealth } from "@blueflame/shared/rpc/health.ts";
import { addReflection } from "@blueflame/shared/rpc/reflection.ts";
import * as grpc from "@grpc/grpc-js";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { type MemoryFleet, memoryFleet } from "../../test/support/fleet.ts";
import { type Authority, type IssuedCertificate, openAuthority } from "../trust/authority.driver.ts";
import { operatorHandlers } from "./grpc.driver.ts";

/** The machine may be busy: how long is not what is tested. */
const patient = { timeout: 10_000 };

const run = promisify(execFile);
const buf = fileURLToPath(new URL("../../node_modules/.bin/buf", import.meta.url));
const service = "blueflame.operator.v1.OperatorService";

let folder: string;
let authority: Authority;
let hub: IssuedCertificate;
let operator: IssuedCertificate;
let node: IssuedCertificate;
let fleet: MemoryFleet;
let server: grpc.Server;
let address: string;
const clients: { close(): void }[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "bf-grpc-"));
  authority = await openAuthority(join(folder, "trust"), Date.now);
  hub = await authority.serverCertificate(["localhost", "127.0.0.1"]);
  operator = await authority.issue({ role: "operator", name: "asha" });
  node = await authority.issue({ role: "node", name: "edge-1" });
  await writeFile(join(folder, "ca.crt"), authority.ca);
  await writeFile(join(folder, "operator.crt"), operator.cert);
  await writeFile(join(folder, "operator.key"), operator.key, { mode: 0o600 });
});
afterAll(() => rm(folder, { recursive: true }));

beforeEach(async () => {
  fleet = memoryFleet();
  fleet.putNode({ id: "edge-1" });
  fleet.putNode({ id: "edge-2" });
  server = new grpc.Server(serverOptions);
  addService(server, OperatorService, operatorHandlers(fleet));
  addHealth(server);
  addReflection(server, [OperatorService, Health]);
  const pair = { private_key: Buffer.from(hub.key), cert_chain: Buffer.from(hub.cert) };
  const credentials = grpc.ServerCredentials.createSsl(Buffer.from(authority.ca), [pair], true);
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", credentials, (error, bound) => (error ? reject(error) : resolve(bound))),
  );
  address = `localhost:${port}`;
});
afterEach(() => {
  for (const one of clients.splice(0)) one.close();
  server.forceShutdown();
});

function as(who: IssuedCertificate): Client<typeof OperatorService> {
  const { ca, cert, key } = who;
  const made = client(
    OperatorService,
    address,
    grpc.credentials.createSsl(Buffer.from(ca), Buffer.from(key), Buffer.from(cert)),
    clientOptions,
  );
  clients.push(made);
  return made;
}

test("an operator is answered over mutual TLS", async () => {
  const { nodes } = await as(operator).listNodes({});
  expect(nodes.map(({ id }) => id)).toEqual(["edge-1", "edge-2"]);
  expect((await as(operator).getNode({ id: "edge-2" })).node?.id).toBe("edge-2");
  const missing = await as(operator)
    .getNode({ id: "edge-9" })
    .catch((error) => faultFrom(error));
  expect(missing).toMatchObject({ code: "NOT_FOUND", saw: "no node 'edge-9' is known to this hub" });
});

test("a node's certificate is refused by every method of the operator service, streams too", async () => {
  const asked = as(node);
  const answers = [
    asked.listNodes({}),
    asked.getNode({ id: "edge-1" }),
    asked.listIncidents({}),
    asked.getIncident({ id: "x" }),
    asked.listAudit({}),
    asked.listDecisions({}),
    asked.getHub({}),
  ];
  const codes = await Promise.all(
    answers.map((answer) => answer.then(() => "answered").catch((error) => faultFrom(error).code)),
  );
  for (const stream of [asked.watchNodes({}), asked.watchIncidents({})]) {
    codes.push(
      await new Promise((resolve) => {
        stream.on("error", (error) => resolve(faultFrom(error).code));
        stream.on("data", () => resolve("answered"));
      }),
    );
  }
  expect(codes).toEqual(Array(9).fill("DENIED"));
});

test("a caller without a certificate does not even reach the service", async () => {
  const bare = client(OperatorService, address, grpc.credentials.createSsl(Buffer.from(authority.ca)), clientOptions);
  clients.push(bare);
  await expect(bare.getHub({}, { timeoutMs: 5000 })).rejects.toMatchObject({ code: grpc.status.UNAVAILABLE });
});

test("a watch sends every node once, then changes, and ends when the caller leaves", async () => {
  const stream = as(operator).watchNodes({});
  const seen: string[] = [];
  stream.on("data", ({ node: one }) => seen.push(one?.id ?? "?"));
  stream.on("error", () => {});
  await expect.poll(() => seen, patient).toEqual(["edge-1", "edge-2"]);
  fleet.putNode({ id: "edge-3" });
  await expect.poll(() => seen, patient).toEqual(["edge-1", "edge-2", "edge-3"]);
  expect(fleet.watchers).toBe(1);
  stream.cancel();
  await expect.poll(() => fleet.watchers, patient).toBe(0);
});

test("a watch of one node hears of no other; of an unknown one it is NOT_FOUND", async () => {
  const stream = as(operator).watchNodes({ id: "edge-2" });
  const seen: string[] = [];
  stream.on("data", ({ node: one }) => seen.push(one?.because ?? "?"));
  stream.on("error", () => {});
  await expect.poll(() => seen, patient).toHaveLength(1);
  fleet.putNode({ id: "edge-1", because: "other" });
  fleet.putNode({ id: "edge-2", because: "mine" });
  await expect.poll(() => seen, patient).toEqual(["beats arrive", "mine"]);
  stream.cancel();
  const unknown = as(operator).watchNodes({ id: "edge-9" });
  unknown.on("data", () => {});
  const code = await new Promise((resolve) => unknown.on("error", (error) => resolve(faultFrom(error).code)));
  expect(code).toBe("NOT_FOUND");
});

test("a watcher that does not read gets the latest only when it reads again, whatever happened meanwhile", {
  timeout: 30_000,
}, async () => {
  const stream = as(operator).watchNodes({ id: "edge-1" });
  stream.on("error", () => {});
  let messages = 0;
  let last = "";
  const read = ({ node: one }: { node?: { because: string } | undefined }) => {
    messages += 1;
    last = one?.because.split(" ").at(-1) ?? "";
    if (messages === 1) stream.pause();
  };
  stream.on("data", read);
  await expect.poll(() => messages, patient).toBe(1);
  for (let round = 0; round < 3000; round++) {
    fleet.putNode({ id: "edge-1", because: `${"x".repeat(10_000)} ${round}` });
    if (round % 20 === 0) await new Promise((next) => setImmediate(next));
  }
  stream.resume();
  await expect.poll(() => last, { timeout: 20_000 }).toBe("2999");
  expect(messages).toBeLessThan(1500);
  stream.cancel();
  await expect.poll(() => fleet.watchers, patient).toBe(0);
});

test("CARD-5 buf curl with an operator's certificate lists, describes and calls through reflection, and health answers", async () => {
  const files = ["ca.crt", "operator.crt", "operator.key"].map((name) => join(folder, name));
  const [ca = "", cert = "", key = ""] = files;
  const curl = ["curl", "--protocol", "grpc", "--cacert", ca, "--cert", cert, "--key", key];
  const listed = await run(buf, [...curl, "--list-methods", `https://${address}`]);
  expect(listed.stdout).toContain(`${service}/WatchNodes`);
  const called = await run(buf, [...curl, "-d", '{"id":"edge-2"}', `https://${address}/${service}/GetNode`]);
  expect(JSON.parse(called.stdout)).toMatchObject({ node: { id: "edge-2", level: "LEVEL_GREEN" } });
  const health = await run(buf, [...curl, "-d", "{}", `https://${address}/grpc.health.v1.Health/Check`]);
  expect(JSON.parse(health.stdout)).toEqual({ status: "SERVING" });
});
