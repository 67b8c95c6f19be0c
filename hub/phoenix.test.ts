import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { IncidentState } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { OrderOutcome } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { FleetState, Level } from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { bundled } from "../test/support/bundle.ts";
import {
  agentOf,
  alertsIn,
  certificateOf,
  type HubFolder,
  handMadeAgent,
  hubFolder,
  hubIn,
  hubLog,
  pass,
  quickConfig,
  until,
} from "../test/support/hub.ts";
import type { Fleet } from "./fleet.ts";
import { replay } from "./judge/replay.ts";
import { writeIssued } from "./trust/authority.driver.ts";

let agentProgram: string;
beforeAll(async () => {
  agentProgram = await bundled("test/support/hub-agent.main.ts");
});

let folder: HubFolder;
beforeEach(() => {
  folder = hubFolder();
});
afterEach(() => folder.clear());

const levelOf = (fleet: Fleet, id: string) => Level[fleet.node(id)?.level ?? Level.UNSPECIFIED];

/** An agent in a process of its own; ended with the folder. */
async function agentProcess(address: string, nodeId: string, incarnation = 1): Promise<ChildProcess> {
  const certificates = join(folder.dir, nodeId);
  writeIssued(certificates, "node", await certificateOf(folder, nodeId));
  const child = spawn(process.execPath, [agentProgram, address, certificates, nodeId, `${incarnation}`], {
    stdio: "ignore",
  });
  folder.closeLater(() => child.kill("SIGKILL"));
  return child;
}

async function everyDecisionReplays(fleet: Fleet): Promise<void> {
  const decisions = await fleet.decisions({ limit: 10_000 });
  expect(decisions.length).toBeGreaterThan(0);
  for (const record of decisions) {
    expect({ machine: record.machine, output: replay(record).output }).toEqual({
      machine: record.machine,
      output: record.outputJson,
    });
  }
}

test("PHX-2 PHX-11 PRA-11 a killed agent goes YELLOW, ORANGE, RED; it is resurrected as a real process and verified", async () => {
  const pidFile = join(folder.dir, "respawned.pid");
  const launcher = join(folder.dir, "launcher.mjs");
  const config = quickConfig({
    respawns: new Map([
      [
        "edge-1",
        {
          node: "edge-1",
          probe: { command: [process.execPath, "-e", "process.exit(1)"], cwd: folder.dir, timeoutMs: 5_000 },
          exec: { command: [process.execPath, launcher], cwd: folder.dir, timeoutMs: 5_000 },
        },
      ],
    ]),
  });
  const log = hubLog();
  const hub = await hubIn(folder, { config, log });
  const first = await agentProcess(hub.grpcAddress, "edge-1");
  const args = [agentProgram, hub.grpcAddress, join(folder.dir, "edge-1"), "edge-1", "2"];
  writeFileSync(
    launcher,
    `import { spawn } from "node:child_process"; import { writeFileSync } from "node:fs";
     const child = spawn(process.execPath, ${JSON.stringify(args)}, { detached: true, stdio: "ignore" });
     writeFileSync(${JSON.stringify(pidFile)}, String(child.pid)); child.unref();`,
  );
  folder.closeLater(() => {
    if (existsSync(pidFile)) process.kill(Number(readFileSync(pidFile, "utf8")), "SIGKILL");
  });
  await until(() => levelOf(hub.fleet, "edge-1") === "GREEN" && hub.fleet.counters().heartbeats >= 3);
  expect(hub.fleet.node("edge-1")?.state).toBe(FleetState.HEALTHY);

  const states = new Set<string>();
  const stop = hub.fleet.onNode(() => states.add(FleetState[hub.fleet.node("edge-1")?.state ?? 0] ?? ""));
  first.kill("SIGKILL");
  await until(() => hub.fleet.node("edge-1")?.incarnation === 2n && levelOf(hub.fleet, "edge-1") === "GREEN");
  await until(async () => {
    const [incident] = await hub.fleet.incidents({ openOnly: false, limit: 1 });
    return incident?.state === IncidentState.PROBATION;
  });
  stop();
  const levels = () => log.lines.filter(({ message }) => message === "level").map(({ fields }) => fields.to);
  const audit = async () => (await hub.fleet.audit({ nodeId: "edge-1", limit: 100 })).map(({ action }) => action);
  // What is decided is logged at once, and stands in the audit when it is committed.
  await until(async () => (await audit()).filter((action) => action === "node.level").length === levels().length);
  await until(async () => (await audit()).includes("node.respawned"));
  // A starved machine may have shown a YELLOW before.
  expect(levels().slice(-4)).toEqual(["YELLOW", "ORANGE", "RED", "GREEN"]);
  expect([...states]).toEqual(expect.arrayContaining(["DEGRADED", "FAILED", "HEALTHY"]));
  expect(alertsIn(folder.dir)).toMatchObject([{ kind: "red", node: "edge-1" }]);
  expect(hub.fleet.counters()).toMatchObject({ alerts: 1, respawns: { started: 1, failed: 0 } });

  for (const action of ["node.level", "incident.open", "alert.red", "node.probe", "node.respawn", "node.respawned"]) {
    expect(await audit()).toContain(action);
  }
  await everyDecisionReplays(hub.fleet);
});

test("PHX-2 a node that is silent on an open stream is ordered once to restart its agent, and its result is heard", async () => {
  const hub = await hubIn(folder, { config: quickConfig() });
  const agent = handMadeAgent(folder, hub.grpcAddress, await certificateOf(folder, "edge-1"));
  agent.hello("edge-1");
  const stop = agent.beatEvery(200);
  await until(() => hub.fleet.counters().heartbeats >= 3);
  stop(); // its event loop stands still; the kernel keeps the connection
  await until(() => agent.orders.length > 0);
  expect(agent.orders).toMatchObject([{ action: { case: "restartAgent" }, hubEpoch: 1n, targetIncarnation: 1n }]);
  const orderResult = { orderId: agent.orders[0]?.id ?? "", outcome: OrderOutcome.DONE, because: "restarted" };
  const records = [{ seq: 1n, kind: { case: "orderResult" as const, value: orderResult } }];
  agent.stream.write({ message: { case: "records", value: { records } } });
  agent.beatEvery(200);
  const audit = async () => (await hub.fleet.audit({ nodeId: "edge-1", limit: 100 })).map(({ action }) => action);
  await until(async () => (await audit()).includes("order.done"));
  await until(() => levelOf(hub.fleet, "edge-1") === "GREEN");
  expect(hub.fleet.counters().ordersSent).toBe(1);
  expect(agent.orders).toHaveLength(1);
  await everyDecisionReplays(hub.fleet);
});

test("PHX-2 a restarted hub keeps a RED node RED, without a second alert, and blames nobody for its own absence", async () => {
  const first = await hubIn(folder);
  const dead = await agentProcess(first.grpcAddress, "edge-dead");
  const port = Number(first.grpcAddress.split(":").at(-1));
  await agentOf(folder, first, { nodeId: "edge-alive", site: "elsewhere" });
  await until(() => levelOf(first.fleet, "edge-dead") === "GREEN" && levelOf(first.fleet, "edge-alive") === "GREEN");
  await until(() => first.fleet.counters().heartbeats >= 4);
  dead.kill("SIGKILL");
  await until(() => levelOf(first.fleet, "edge-dead") === "RED" && alertsIn(folder.dir).length > 0);
  await first.end();
  await pass(2_500); // longer than RED

  const log = hubLog();
  const second = await hubIn(folder, { grpc: { host: "127.0.0.1", port }, log });
  expect(levelOf(second.fleet, "edge-dead")).toBe("RED");
  expect(levelOf(second.fleet, "edge-alive")).toBe("GREEN");
  await until(() => second.fleet.node("edge-alive")?.presence === "ALIVE");
  await pass(2_500);
  expect(levelOf(second.fleet, "edge-dead")).toBe("RED");
  expect(alertsIn(folder.dir).map(({ kind }) => kind)).toEqual(["red"]);
  expect(second.fleet.counters()).toMatchObject({ alerts: 0, levelChanges: { orange: 0, red: 0 } });
  expect((await second.fleet.incidents({ nodeId: "edge-dead", openOnly: true, limit: 5 })).length).toBe(1);
});

test("PHX-2 a node that leaves on purpose is GONE and is not escalated", async () => {
  const hub = await hubIn(folder);
  const agent = await agentOf(folder, hub, { nodeId: "edge-1" });
  await until(() => hub.fleet.counters().heartbeats >= 2);
  await agent.close();
  await until(() => hub.fleet.node("edge-1")?.presence === "GONE");
  await pass(2_500);
  expect(levelOf(hub.fleet, "edge-1")).toBe("GREEN");
  expect(hub.fleet.counters()).toMatchObject({ alerts: 0, levelChanges: { yellow: 0 } });
});

test("when a whole site falls silent together, escalation freezes there: one incident, nobody is restarted, and it thaws", async () => {
  const massSilence = { minNodes: 3, minShare: 0.5, thawAfterMs: 500 };
  const hub = await hubIn(folder, { config: quickConfig({ massSilence }) });
  const ids = ["edge-1", "edge-2", "edge-3", "edge-4"];
  const agents = await Promise.all(
    ids.map(async (id) => handMadeAgent(folder, hub.grpcAddress, await certificateOf(folder, id))),
  );
  const stops = agents.map((agent, n) => {
    agent.hello(ids[n] ?? "");
    return agent.beatEvery(200);
  });
  await until(() => ids.every((id) => hub.fleet.node(id)?.presence === "ALIVE"));
  for (const stop of stops) stop();
  await until(() => hub.fleet.hub().frozen.includes("here"));
  await pass(2_500); // longer than RED
  expect(ids.map((id) => levelOf(hub.fleet, id))).not.toContain("ORANGE");
  expect(ids.map((id) => levelOf(hub.fleet, id))).not.toContain("RED");
  expect(await hub.fleet.incidents({ openOnly: true, limit: 5 })).toMatchObject([
    { symptom: "site_silent", site: "here" },
  ]);
  expect(alertsIn(folder.dir)).toMatchObject([{ kind: "mass_silence", site: "here" }]);
  for (const agent of agents) agent.beatEvery(200);
  await until(() => hub.fleet.hub().frozen.length === 0);
  await until(() => ids.every((id) => levelOf(hub.fleet, id) === "GREEN"));
  expect(await hub.fleet.incidents({ openOnly: true, limit: 5 })).toEqual([]);
  expect(agents.flatMap(({ orders }) => orders)).toEqual([]);
  await everyDecisionReplays(hub.fleet);
});
