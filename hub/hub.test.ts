import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { LinkService, RecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { Level, OperatorService } from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import { client, faultFrom } from "@blueflame/shared/rpc/definition.ts";
import { create } from "@bufbuild/protobuf";
import * as grpc from "@grpc/grpc-js";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  agentOf,
  alertsIn,
  certificateOf,
  credentialsOf,
  type HubFolder,
  handMadeAgent,
  hubFolder,
  hubIn,
  hubLog,
  pass,
  until,
} from "../test/support/hub.ts";
import { memoryOutbox } from "../test/support/link-node.ts";
import type { IssuedCertificate } from "./trust/authority.driver.ts";

let folder: HubFolder;
beforeEach(() => {
  folder = hubFolder();
});
afterEach(() => folder.clear());

/** Says exactly what it is told to. */
const handMade = (address: string, issued: IssuedCertificate) => handMadeAgent(folder, address, issued);

test("CARD-3 PHX-1 an agent's heartbeats and readings stream to the hub, which shows it ALIVE", async () => {
  const hub = await hubIn(folder);
  const agent = await agentOf(folder, hub, { nodeId: "edge-1", site: "lab", labels: { rack: "7" } });
  const outbox = memoryOutbox();
  await until(() => hub.fleet.counters().heartbeats >= 4);
  expect(hub.fleet.node("edge-1")).toMatchObject({
    presence: "ALIVE",
    level: Level.GREEN,
    connected: true,
    site: "lab",
    labels: { rack: "7" },
    missed: 0,
    workloads: [{ name: "firewall" }],
  });
  expect(outbox.depth()).toBe(0n);
  await until(() => agent.uplink.view().state === "connected");
});

test("CARD-3 what an agent has in its outbox is acknowledged, and once in the hub's store", async () => {
  const hub = await hubIn(folder);
  const outbox = memoryOutbox();
  outbox.fill(1_500);
  for (let n = 1; n <= 20; n++) {
    await outbox.append(
      create(RecordSchema, {
        kind: { case: "audit", value: { id: `a${n}`, action: "workload.spawn", actor: "agent" } },
      }),
    );
  }
  await agentOf(folder, hub, { nodeId: "edge-1" }, { outbox });
  await until(() => outbox.depth() === 0n);
  const audit = await hub.fleet.audit({ nodeId: "edge-1", limit: 500 });
  const spawned = audit.filter(({ action }) => action === "workload.spawn").map(({ id }) => id);
  expect(spawned.sort()).toEqual(Array.from({ length: 20 }, (_, n) => `a${n + 1}`).sort());
  expect(hub.fleet.counters()).toMatchObject({ recordsStored: 1_520, recordsDuplicate: 0 });
});

test("a client of another CA, and one without a certificate, cannot open a stream", async () => {
  const hub = await hubIn(folder);
  const other = hubFolder();
  folder.closeLater(other.clear);
  const foreign = await certificateOf(other, "edge-1");
  const ours = await certificateOf(folder, "edge-1");
  const stranger = handMade(hub.grpcAddress, { ...foreign, ca: ours.ca });
  stranger.hello("edge-1");
  expect(faultFrom(await stranger.failed).code).not.toBe("NODE_ID_MISMATCH");
  const nobody = client(LinkService, hub.grpcAddress, grpc.credentials.createSsl(Buffer.from(ours.ca)));
  folder.closeLater(() => nobody.close());
  const stream = nobody.link();
  stream.on("data", () => {});
  await new Promise((resolve) => stream.on("error", resolve));
  expect(hub.fleet.nodes()).toEqual([]);
});

test("a node that claims another id, an older life, or says no Hello is refused by its code", async () => {
  const hub = await hubIn(folder);
  const issued = await certificateOf(folder, "edge-1");
  const liar = handMade(hub.grpcAddress, issued);
  liar.hello("edge-2");
  expect(faultFrom(await liar.failed).code).toBe("NODE_ID_MISMATCH");

  const current = handMade(hub.grpcAddress, issued);
  current.hello("edge-1", { incarnation: 5n });
  await until(() => current.heard.includes("welcome"));
  const older = handMade(hub.grpcAddress, issued);
  older.hello("edge-1", { incarnation: 4n });
  expect(faultFrom(await older.failed).code).toBe("INCARNATION_OLD");
  // An older life does not take the session from the newer one.
  current.beat();
  await until(() => hub.fleet.counters().heartbeats === 1);

  const rude = handMade(hub.grpcAddress, issued);
  rude.beat();
  expect(faultFrom(await rude.failed).code).toBe("LINK_PROTOCOL");
  const operator = handMade(hub.grpcAddress, await certificateOf(folder, "asha", "operator"));
  operator.hello("asha");
  expect(faultFrom(await operator.failed).code).toBe("CERT_REFUSED");
});

test("the newest session of a node wins; the older one is told to move and its stream ends", async () => {
  const hub = await hubIn(folder);
  const issued = await certificateOf(folder, "edge-1");
  const first = handMade(hub.grpcAddress, issued);
  first.hello("edge-1");
  await until(() => first.heard.includes("welcome"));
  const ended = new Promise((resolve) => first.stream.on("status", resolve));
  const second = handMade(hub.grpcAddress, issued);
  second.hello("edge-1", { session: 2n });
  await until(() => second.heard.includes("welcome"));
  await ended;
  expect(first.moves).toEqual(["newer_session"]);
  second.beat();
  await until(() => hub.fleet.counters().heartbeats === 1);
  expect(hub.fleet.node("edge-1")).toMatchObject({ connected: true, session: 2n });
  expect(hub.fleet.counters()).toMatchObject({ sessionsOpen: 1, sessionsReplaced: 1 });
});

test("two agents with one identity that alternate are reported as a clone, with an incident and one alert", async () => {
  const hub = await hubIn(folder);
  const issued = await certificateOf(folder, "edge-1");
  for (let session = 1n; session <= 7n; session++) {
    const one = handMade(hub.grpcAddress, issued);
    one.hello("edge-1", { session });
    await until(() => one.heard.includes("welcome"));
    one.stream.on("data", (message) => {
      if (!("undecodable" in message) && message.message.case === "move") one.stream.end(); // alive: it answers
    });
  }
  // A machine so busy that one was noticed for its silence may have called it RED meanwhile, with an alert of its own.
  const clones = () => alertsIn(folder.dir).filter(({ kind }) => kind === "clone");
  await until(() => clones().length > 0);
  // On a busy machine those who gave their session away may have been silent for long enough to be noticed, too.
  const incidents = await hub.fleet.incidents({ openOnly: true, limit: 10 });
  expect(incidents.filter(({ symptom }) => symptom !== "node_silent")).toMatchObject([
    { symptom: "clone", nodeId: "edge-1", needsPerson: true },
  ]);
  expect(clones()).toMatchObject([{ node: "edge-1" }]);
});

test("a message that cannot be decoded is set aside and counted, and the stream lives on", async () => {
  const hub = await hubIn(folder);
  const raw = new grpc.Client(hub.grpcAddress, credentialsOf(await certificateOf(folder, "edge-1")));
  folder.closeLater(() => raw.close());
  const asIs = (bytes: Buffer) => bytes;
  const stream = raw.makeBidiStreamRequest("/blueflame.link.v1.LinkService/Link", asIs, asIs);
  stream.on("data", () => {});
  stream.on("error", () => {});
  const hello = Buffer.from([
    0x0a,
    16,
    0x0a,
    6,
    ...Buffer.from("edge-1"),
    0x10,
    1,
    0x3a,
    2,
    ...Buffer.from("g1"),
    0x18,
    1,
  ]);
  for (const bytes of [hello, Buffer.from([0xff, 0xff]), Buffer.from([0x12, 0])]) stream.write(bytes);
  await until(() => hub.fleet.counters().heartbeats === 1);
  expect(hub.fleet.counters()).toMatchObject({ quarantined: 1, sessionsOpen: 1 });
  const [kept] = readdirSync(join(folder.dir, "hub", "quarantine"));
  expect(readFileSync(join(folder.dir, "hub", "quarantine", `${kept}`))).toEqual(Buffer.from([0xff, 0xff]));
});

test("a duplicate is acknowledged again and not stored again; records out of order end the stream", async () => {
  const hub = await hubIn(folder);
  const agent = handMade(hub.grpcAddress, await certificateOf(folder, "edge-1"));
  agent.hello("edge-1");
  const record = (seq: bigint) => ({ seq, kind: { case: "readings" as const, value: {} } });
  const send = (...seqs: bigint[]) =>
    agent.stream.write({ message: { case: "records", value: { records: seqs.map(record) } } });
  send(1n, 2n, 5n);
  await until(() => agent.acks.at(-1) === 5n);
  send(2n, 5n);
  await until(() => agent.acks.length === 2);
  expect(hub.fleet.counters()).toMatchObject({ recordsStored: 3, recordsDuplicate: 2 });
  send(7n, 6n);
  expect(faultFrom(await agent.failed).code).toBe("LINK_PROTOCOL");
});

test("a certificate that is taken back ends the open stream, and lets no new one in", async () => {
  const log = hubLog();
  const hub = await hubIn(folder, { log });
  const issued = await certificateOf(folder, "edge-1");
  const agent = handMade(hub.grpcAddress, issued);
  agent.hello("edge-1");
  await until(() => agent.heard.includes("welcome"));
  writeFileSync(join(folder.dir, "hub", "trust", "revoked.txt"), "node/edge-1\n");
  expect(faultFrom(await agent.failed).code).toBe("CERT_REFUSED");
  const again = handMade(hub.grpcAddress, issued);
  again.hello("edge-1");
  expect(faultFrom(await again.failed).code).toBe("CERT_REFUSED");
});

test("the operator service answers operators, and neither nodes nor strangers", async () => {
  const hub = await hubIn(folder);
  const ask = async (name: string, role: "node" | "operator") => {
    const made = client(OperatorService, hub.grpcAddress, credentialsOf(await certificateOf(folder, name, role)));
    folder.closeLater(() => made.close());
    return made.getHub({});
  };
  expect((await ask("asha", "operator")).epoch).toBe(1n);
  expect(faultFrom(await ask("edge-1", "node").catch((error: unknown) => error)).code).toBe("DENIED");
  writeFileSync(join(folder.dir, "hub", "trust", "revoked.txt"), "operator/asha\n");
  await until(
    async () => faultFrom(await ask("asha", "operator").catch((error: unknown) => error)).code === "CERT_REFUSED",
  );
});

test("a hub takes an epoch above its own last one and above every one that an agent has seen", async () => {
  const first = await hubIn(folder);
  expect(first.fleet.hub().epoch).toBe(1n);
  await first.end();
  const second = await hubIn(folder);
  expect(second.fleet.hub().epoch).toBe(2n);
  const agent = handMade(second.grpcAddress, await certificateOf(folder, "edge-1"));
  agent.hello("edge-1", { lastHubEpoch: 40n });
  await until(() => agent.heard.includes("welcome"));
  expect(second.fleet.hub().epoch).toBe(41n);
});

test("a hub that stops tells its agents to move, stores what has arrived, and frees its port", async () => {
  const hub = await hubIn(folder);
  const agent = handMade(hub.grpcAddress, await certificateOf(folder, "edge-1"));
  agent.hello("edge-1");
  await until(() => agent.heard.includes("welcome"));
  const records = [{ seq: 1n, kind: { case: "audit" as const, value: { id: "last", action: "x" } } }];
  agent.stream.write({ message: { case: "records", value: { records } } });
  await until(() => agent.acks.length === 1);
  const port = Number(hub.grpcAddress.split(":").at(-1));
  await hub.end();
  expect(agent.moves).toEqual(["hub_stop"]);
  const next = await hubIn(folder, { grpc: { host: "127.0.0.1", port } });
  expect((await next.fleet.audit({ nodeId: "edge-1", limit: 10 })).map(({ id }) => id)).toContain("last");
});

test("more agents than the admission rate are told when to come back, and all get in", async () => {
  const hub = await hubIn(folder, { admission: { perSecond: 20, burst: 5 } });
  const agents = await Promise.all(
    Array.from({ length: 12 }, (_, n) => agentOf(folder, hub, { nodeId: `edge-${n}`, site: `site-${n}` })),
  );
  await until(() => hub.fleet.counters().sessionsOpen === agents.length);
  await pass(700);
  expect(hub.fleet.nodes().map(({ level }) => level)).toEqual(agents.map(() => Level.GREEN));
});

test("a port that is taken is PORT_IN_USE and leaves nothing behind", async () => {
  const hub = await hubIn(folder);
  const other = hubFolder();
  folder.closeLater(other.clear);
  const port = Number(hub.grpcAddress.split(":").at(-1));
  const taken = hubIn(other, { grpc: { host: "127.0.0.1", port } });
  await expect(taken).rejects.toMatchObject({ code: "PORT_IN_USE" });
  await hubIn(other); // its store and its lock are free again
});
