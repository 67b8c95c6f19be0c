// One agent process with its production bundle: no hub, and everything a person can type.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { IncidentState } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { WorkloadPhase } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import { LinkState } from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { afterEach, beforeAll, expect, test } from "vitest";
import { run } from "../../deploy/running.ts";
import { HubRig } from "../prove/hub-rig.ts";
import { AgentRig } from "../prove/rig.ts";
import { built } from "./built.ts";
import { idle } from "./fleet-rig.ts";

beforeAll(() => built("blueflame-agent", "blueflame-hub"));

let agent: AgentRig;
afterEach(() => agent.close());

const cli = (...args: string[]) => run(agent.command(...args), 60_000, agent.dir);

test("CARD-4 PHX-12 SYN-7 an agent whose hub is nowhere guards and heals, keeps what it did over its own death, and says that it is offline", async () => {
  const dir = mkdtempSync(join(tmpdir(), "bf-nowhere-"));
  try {
    const hub = await HubRig.open(dir, {}); // its address is real, and nobody will ever listen there
    agent = new AgentRig({ node: { id: "edge-1" }, hub: await hub.section("edge-1"), workloads: [idle("engine")] });
    await agent.start();
    const { pid } = await agent.well("engine");
    process.kill(pid, "SIGKILL");
    await agent.until("it is healed", async () => (await agent.incidents("engine"))[0]?.state === IncidentState.CLOSED);
    const healed = await agent.workload("engine");
    expect(healed.pid).not.toBe(pid);
    const offline = await agent.node();
    expect(offline.link).toBe(LinkState.CONNECTING);
    expect(offline.linkBecause).toMatch(/HUB_UNREACHABLE|ECONNREFUSED/);
    expect(offline.outboxDepth).toBeGreaterThan(3n);
    const [incident] = await agent.incidents("engine");
    await agent.kill();
    await agent.start();
    expect((await agent.workload("engine")).pid).toBe(healed.pid);
    expect((await agent.incidents("engine"))[0]).toEqual(incident);
    expect((await agent.node()).outboxDepth).toBeGreaterThanOrEqual(offline.outboxDepth);
    // Both are dead for three seconds: that time is in no recovery, and so it has to be in its detection.
    await agent.kill();
    const diedMs = Date.now();
    process.kill(healed.pid, "SIGKILL");
    await pause(3000);
    await agent.start();
    await agent.until(
      "it is healed again",
      // Another one: the one before has long recovered, and is the newest until the agent has looked.
      async () => {
        const [newest] = await agent.incidents("engine");
        return newest?.id !== incident?.id && newest?.recoveredAt !== undefined;
      },
    );
    const [later] = await agent.incidents("engine");
    const [faultMs, foundMs] = [later?.faultAt, later?.detectedAt].map((one) => (one ? timestampMs(one) : Number.NaN));
    expect(later?.summary).toContain("while no agent was there");
    expect(foundMs).toBeGreaterThanOrEqual(diedMs + 3000);
    expect(faultMs).toBeLessThanOrEqual(diedMs);
    // What is known of the last agent is written every five seconds.
    expect(faultMs).toBeGreaterThan(diedMs - 30_000);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

test("GRC-7 a stop by a person outlives kill -9 of the agent, and neither a crash of its neighbour nor a restart takes it back", async () => {
  agent = new AgentRig({ workloads: [idle("engine"), idle("feed")] });
  await agent.start();
  const feed = await agent.well("feed");
  await agent.well("engine");
  expect(await cli("stop", "engine")).toMatchObject({ code: 0 });
  for (let life = 0; life < 3; life++) {
    await agent.kill();
    await agent.start();
    expect(await cli("restart", "engine")).toMatchObject({
      code: 6,
      stderr: expect.stringContaining("[WORKLOAD_STOPPED]"),
    });
    expect((await agent.workload("engine")).phase).toBe(WorkloadPhase.STOPPED);
    expect(agent.leads().map(({ workload }) => workload)).toEqual(["feed"]);
  }
  process.kill(feed.pid, "SIGKILL");
  await agent.until("feed is healed", async () => (await agent.workload("feed")).pid !== feed.pid);
  expect((await agent.workload("engine")).phase).toBe(WorkloadPhase.STOPPED);
  expect(await cli("start", "engine")).toMatchObject({ code: 0 });
  await agent.well("engine");
});

test("GRC-9 every command that a person can type at the node works on a real agent", async () => {
  agent = new AgentRig({ workloads: [idle("engine"), idle("feed")] });
  await agent.start();
  const first = await agent.well("engine");
  await agent.well("feed");

  expect((await cli("status")).stdout).toMatch(/engine +running +healthy +\d+/i);
  expect(JSON.parse((await cli("status", "-o", "json")).stdout)).toMatchObject({ nodeId: "prove" });
  expect(await cli("status", "--exit-code")).toMatchObject({ code: 0 });
  expect(await cli("stop", "engine")).toMatchObject({ code: 0, stdout: expect.stringMatching(/engine +stopped/i) });
  expect((await agent.workload("engine")).pid).toBe(0);
  expect(await cli("start", "engine")).toMatchObject({ code: 0 });
  const second = await agent.well("engine");
  expect(await cli("restart", "engine")).toMatchObject({ code: 0 });
  const third = await agent.well("engine");
  expect(new Set([first.pid, second.pid, third.pid]).size).toBe(3);
  expect((await cli("logs", "engine")).stdout.match(/^\d+ engine$/gm)?.length).toBe(3);

  const [node = "", ...words] = agent.command("logs", "feed", "-f");
  const following = spawn(node, words, { stdio: ["ignore", "pipe", "ignore"] });
  let followed = "";
  following.stdout.on("data", (chunk: Buffer) => {
    followed += chunk.toString();
  });
  const left = new Promise<number | null>((resolve) => following.once("exit", resolve));
  process.kill((await agent.workload("feed")).pid, "SIGKILL");
  await agent.until("logs -f shows both lives", async () => (followed.match(/^\d+ feed$/gm)?.length ?? 0) >= 2);
  following.kill("SIGINT");
  expect(await left).toBe(130);

  expect((await cli("incidents")).stdout).toMatch(/feed .*ended by SIGKILL/);
  await agent.well("feed");
  expect((await cli("incidents", "last")).stdout).toMatch(/symptom[\s\S]*verif/i);
  expect((await cli("audit")).stdout).toMatch(/intent\.stop|workload\.stop/);
  expect((await cli("decisions")).stdout).toContain("agent/supervise");
  const doctor = await cli("doctor");
  expect(doctor).toMatchObject({ code: 0, stdout: expect.stringContaining("store") });
  expect(await cli("start", "enigne")).toMatchObject({
    code: 3,
    stderr: expect.stringContaining("did you mean 'engine'"),
  });

  expect(await cli("down")).toMatchObject({ code: 0, stdout: expect.stringContaining("2 workloads stopped") });
  expect(agent.leads()).toEqual([]);
  expect(await cli("status")).toMatchObject({ code: 5, stderr: expect.stringContaining("[AGENT_UNREACHABLE]") });
  expect(readFileSync(join(agent.dir, "agent.log"), "utf8")).toContain("everything is stopped");
});
