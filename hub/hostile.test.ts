import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { IncidentState } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import {
  NodeSchema,
  OperatorService,
  type WatchNodesResponse,
} from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import { client, clientOptions, faultFrom } from "@blueflame/shared/rpc/definition.ts";
import { toJson } from "@bufbuild/protobuf";
import * as grpc from "@grpc/grpc-js";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  certificateOf,
  credentialsOf,
  type HubFolder,
  handMadeAgent,
  hubFolder,
  hubIn,
  hubLog,
  until,
} from "../test/support/hub.ts";

/** What a node or an operator with a good certificate and bad intentions, or a bad memory, must not achieve. */
let folder: HubFolder;
beforeEach(() => {
  folder = hubFolder();
});
afterEach(() => folder.clear());

const agentOn = async (address: string, nodeId: string, given: object = {}) => {
  const agent = handMadeAgent(folder, address, await certificateOf(folder, nodeId));
  agent.hello(nodeId, given);
  await until(() => agent.heard.includes("welcome"));
  return agent;
};
const operatorAt = async (address: string) => {
  const credentials = credentialsOf(await certificateOf(folder, "asha", "operator"));
  const options = { ...clientOptions, "grpc.max_receive_message_length": -1 };
  const operator = client(OperatorService, address, credentials, options);
  folder.closeLater(() => operator.close());
  return operator;
};

test("a watch that is open when its operator's certificate is taken back ends with the next change", async () => {
  const hub = await hubIn(folder);
  const agent = await agentOn(hub.grpcAddress, "edge-1");
  agent.beatEvery(50);
  const stream = (await operatorAt(hub.grpcAddress)).watchNodes({});
  const seen: WatchNodesResponse[] = [];
  stream.on("data", (message) => seen.push(message));
  const failed = new Promise((resolve) => stream.on("error", resolve));
  await until(() => seen.length > 1);
  writeFileSync(join(folder.dir, "hub", "trust", "revoked.txt"), "operator/asha\n");
  expect(faultFrom(await failed).code).toBe("CERT_REFUSED");
});

test("a node that has seen the last epoch there is does not keep the others out", async () => {
  const hub = await hubIn(folder);
  await agentOn(hub.grpcAddress, "edge-1", { lastHubEpoch: 2n ** 64n - 1n });
  expect(hub.fleet.hub().epoch).toBe(1n);
  await agentOn(hub.grpcAddress, "edge-2");
});

test("a message that can neither be decoded nor set aside, because the disk takes no file, does not end the hub", async () => {
  const log = hubLog();
  const hub = await hubIn(folder, { log });
  const raw = new grpc.Client(hub.grpcAddress, credentialsOf(await certificateOf(folder, "edge-1")));
  folder.closeLater(() => raw.close());
  const asIs = (bytes: Buffer) => bytes;
  const stream = raw.makeBidiStreamRequest("/blueflame.link.v1.LinkService/Link", asIs, asIs);
  stream.on("data", () => {});
  stream.on("error", () => {});
  rmSync(join(folder.dir, "hub", "quarantine"), { recursive: true });
  stream.write(Buffer.from([0xff, 0xff]));
  await until(() => log.lines.some(({ message }) => message.includes("could not be set aside")));
  expect(hub.fleet.counters().quarantined).toBe(1);
});

test("a node cannot close another node's incident by reporting one under its id", async () => {
  const log = hubLog();
  const hub = await hubIn(folder, { log });
  const report = (agent: Awaited<ReturnType<typeof agentOn>>, revision: bigint, state: IncidentState) => {
    const value = { id: "i1", revision, state, symptom: "crash" };
    const records = [{ seq: 1n, kind: { case: "incident" as const, value } }];
    agent.stream.write({ message: { case: "records", value: { records } } });
    return until(() => agent.acks.length === 1);
  };
  await report(await agentOn(hub.grpcAddress, "edge-1"), 1n, IncidentState.OPEN);
  await report(await agentOn(hub.grpcAddress, "edge-2"), 9n, IncidentState.CLOSED);
  // On a busy machine those who never beat may have been silent for long enough to be noticed, too.
  const incidents = await hub.fleet.incidents({ openOnly: true, limit: 10 });
  expect(incidents.filter(({ symptom }) => symptom !== "node_silent")).toMatchObject([{ id: "i1", nodeId: "edge-1" }]);
  await until(() => log.lines.some(({ fields }) => fields.node === "edge-2" && fields.of === "edge-1"));
});

test("a node with a workload from the year 292 billion is listed, and so are the others", async () => {
  const hub = await hubIn(folder);
  const agent = await agentOn(hub.grpcAddress, "edge-1");
  const workloads = [{ name: "w", startedAt: { seconds: 2n ** 62n, nanos: 0 } }];
  agent.stream.write({ message: { case: "status", value: { workloads } } });
  await until(() => hub.fleet.node("edge-1")?.workloads.length === 1);
  for (const node of hub.fleet.nodes()) expect(() => toJson(NodeSchema, node)).not.toThrow();
});

test("a list of nodes larger than a node's messages may be reaches the operator", { timeout: 20_000 }, async () => {
  const hub = await hubIn(folder);
  for (let n = 0; n < 3; n++) {
    const agent = await agentOn(hub.grpcAddress, `edge-${n}`);
    const workloads = Array.from({ length: 1_000 }, (_, w) => ({ name: `w${w}`, because: "x".repeat(1_800) }));
    agent.stream.write({ message: { case: "status", value: { workloads } } });
    await until(() => hub.fleet.node(`edge-${n}`)?.workloads.length === 1_000);
  }
  const { nodes } = await (await operatorAt(hub.grpcAddress)).listNodes({});
  expect(nodes.map(({ workloads }) => workloads.length)).toEqual([1_000, 1_000, 1_000]);
});
