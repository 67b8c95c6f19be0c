import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import * as grpc from "@grpc/grpc-js";
import { afterEach, beforeEach, expect, test } from "vitest";
import { BeatService, StateService } from "../gen/blueflame/node/v1/node_service_pb.ts";
import { Health, HealthCheckResponse_ServingStatus as Status } from "../gen/grpc/health/v1/health_pb.ts";
import { addService, client } from "./definition.ts";
import { addHealth, type HealthBoard } from "./health.ts";
import { serverOptions } from "./options.ts";
import { addReflection, reflectionOf } from "./reflection.ts";

const run = promisify(execFile);
const buf = fileURLToPath(new URL("../../node_modules/.bin/buf", import.meta.url));

let folder: string;
let server: grpc.Server;
let board: HealthBoard;
let socket: string;
let tcp: string;
const clients: { close(): void }[] = [];

/** This test needs two of the methods only. */
const unserved = Object.fromEntries(
  StateService.methods.map(({ localName }) => [localName, () => Promise.reject(new Error("not served"))]),
) as unknown as Parameters<typeof addService<typeof StateService>>[2];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "rpc-"));
  socket = join(folder, "agent.sock");
  server = new grpc.Server(serverOptions);
  addService(server, StateService, {
    ...unserved,
    get: ({ key }) => ({ value: new TextEncoder().encode(key), revision: 1n }),
    put: () => ({ revision: 2n }),
  });
  board = addHealth(server);
  addReflection(server, [StateService, Health]);
  const bind = (address: string) =>
    new Promise<number>((resolve, reject) =>
      server.bindAsync(address, grpc.ServerCredentials.createInsecure(), (error, port) =>
        error ? reject(error) : resolve(port),
      ),
    );
  await bind(`unix:${socket}`);
  tcp = `127.0.0.1:${await bind("127.0.0.1:0")}`;
});

afterEach(async () => {
  for (const open of clients.splice(0)) open.close();
  server.forceShutdown();
  await rm(folder, { recursive: true, force: true });
});

function health() {
  const made = client(Health, tcp, grpc.credentials.createInsecure());
  clients.push(made);
  return made;
}

const curl = ["curl", "--http2-prior-knowledge", "--protocol", "grpc"];

test.each(["grpc-v1", "grpc-v1alpha"])(
  "GRC-9 buf curl finds the services by reflection (%s) over TCP",
  async (protocol) => {
    const { stdout } = await run(buf, [...curl, "--reflect-protocol", protocol, "--list-methods", `http://${tcp}`]);
    expect(stdout.trim().split("\n").sort()).toEqual([
      ...StateService.methods.map(({ name }) => `blueflame.node.v1.StateService/${name}`).sort(),
      "grpc.health.v1.Health/Check",
      "grpc.health.v1.Health/Watch",
      "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
      "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ]);
  },
);

test("GRC-9 buf curl calls a method by reflection alone over a unix socket", async () => {
  const url = "http://localhost/blueflame.node.v1.StateService/Get";
  const { stdout } = await run(buf, [...curl, "--unix-socket", socket, "-d", '{"key":"abc"}', url]);
  expect(JSON.parse(stdout)).toEqual({ value: "YWJj", revision: "1" });
});

test("reflection answers for nested names and says what it does not know", () => {
  const ask = reflectionOf([StateService, BeatService]);
  const find = (value: string) => ask({ case: "fileContainingSymbol", value }).case;
  for (const known of [
    "blueflame.link.v1.Record.kind",
    "blueflame.node.v1.BeatService.Beat",
    "google.protobuf.Duration",
  ]) {
    expect([known, find(known)]).toEqual([known, "fileDescriptorResponse"]);
  }
  expect(find("blueflame.none.v1.Nothing")).toBe("errorResponse");
  expect(ask({ case: "fileByFilename", value: "none.proto" }).case).toBe("errorResponse");
  expect(ask({ case: undefined }).case).toBe("errorResponse");
});

test("the server serves until it is told otherwise, and an unknown service is NOT_FOUND", async () => {
  await expect(health().check({})).resolves.toMatchObject({ status: Status.SERVING });
  await expect(health().check({ service: "none" })).rejects.toMatchObject({ code: grpc.status.NOT_FOUND });
  board.setServing("", false);
  await expect(health().check({})).resolves.toMatchObject({ status: Status.NOT_SERVING });
});

test("a watcher is told the status now and each change of it, and nothing about others", async () => {
  const watch = health().watch({ service: StateService.typeName });
  const seen: Status[] = [];
  watch.on("error", () => {});
  const until = (count: number) =>
    new Promise<void>((resolve) => {
      const look = () => {
        if (seen.length < count) return;
        watch.off("data", look);
        resolve();
      };
      watch.on("data", look);
      look();
    });
  watch.on("data", ({ status }) => seen.push(status));
  await until(1);
  board.setServing("another", false);
  board.setServing(StateService.typeName, true);
  board.setServing(StateService.typeName, true);
  board.setServing(StateService.typeName, false);
  await until(3);
  expect(seen).toEqual([Status.SERVICE_UNKNOWN, Status.SERVING, Status.NOT_SERVING]);
  watch.cancel();
});
