// A hub and an agent as they are shipped, each in a process of its own, over mutual TLS.
import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { procStat } from "@blueflame/agent/supervise/proc.driver.ts";
import { IncidentState } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { FleetState, Level, type Node } from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { afterEach, beforeAll, expect, test } from "vitest";
import { inRoot } from "../../deploy/root.ts";
import { run } from "../../deploy/running.ts";
import { findTool } from "../tools.ts";
import { built } from "./built.ts";
import { type Fleet, type FleetOptions, idle, nodeId, openFleet, quick } from "./fleet-rig.ts";

beforeAll(() => built("blueflame-agent", "blueflame-hub", "blueflame"));

let fleet: Fleet;
afterEach(() => fleet.close());

/** Waits until the hub shows the node GREEN with all its workloads running; returns their PIDs. */
async function well(options: FleetOptions): Promise<Record<string, number>> {
  fleet = await openFleet(options);
  const { hub, agent } = fleet;
  for (const { name } of await agent.status()) await agent.well(name);
  await hub.until("the node is GREEN", async () => (await hub.node(nodeId))?.level === Level.GREEN);
  return pids();
}

const pids = async () =>
  Object.fromEntries((await fleet.agent.status()).map((one): [string, number] => [one.name, one.pid]));
/** A bound for what hangs: nothing here promises how long a machine that many share takes to start a program, and to start it again. */
const hangsMs = 240_000;
/** Waits until the hub shows the node at the level, and gives what it showed. */
async function isAt(level: Level): Promise<Node | undefined> {
  let shown: Node | undefined;
  const holds = async () => {
    shown = await fleet.hub.node(nodeId);
    return shown?.level === level;
  };
  await fleet.hub.until(`the node is ${Level[level]}`, holds, hangsMs);
  return shown;
}
const actions = async () => (await fleet.hub.audit(nodeId)).map(({ action }) => action);

/** The incident of the node itself, once it is verified: what stands in its timeline; each line gives a reason. */
async function explained(): Promise<string[]> {
  const verified = async () => (await fleet.hub.incidents(nodeId))[0]?.state === IncidentState.PROBATION;
  await fleet.hub.until("the incident is on probation", verified, hangsMs);
  const [incident, ...others] = await fleet.hub.incidents(nodeId);
  expect(others).toEqual([]);
  expect(incident?.workload).toBe("");
  expect(incident?.timeline.filter(({ because }) => because === "")).toEqual([]);
  return incident?.timeline.map(({ what }) => what) ?? [];
}

/** What `blueflame top` paints on a terminal of 120 columns within a few seconds. */
async function topOnATerminal(url: string): Promise<string> {
  const tmux = (...args: string[]) =>
    run([findTool("tmux") ?? "", "-L", `bf-fleet-${process.pid}`, ...args], 10_000, "/");
  const top = [process.execPath, inRoot("dist", "blueflame.mjs"), "top", "--hub", url];
  await tmux("new-session", "-d", "-s", "top", "-x", "120", "-y", "30", ...top);
  try {
    let screen = "";
    for (let look = 0; look < 50 && !screen.includes(nodeId); look++) {
      await pause(100);
      screen = (await tmux("capture-pane", "-p", "-t", "top")).stdout;
    }
    return screen;
  } finally {
    await tmux("kill-server");
  }
}

test("PHX-1 CARD-3 with the default figures beats come 15 s apart; the hub shows the node ALIVE and answers every command", async () => {
  await well({});
  const { hub, cli } = fleet;
  const first = await hub.node(nodeId);
  expect(first).toMatchObject({ presence: "ALIVE", state: FleetState.HEALTHY, connected: true, missed: 0 });
  expect(first?.workloads).toMatchObject([{ name: "engine", because: expect.stringMatching(/\S/) }]);
  expect(first?.readings.length).toBeGreaterThan(3);

  const blueflame = (...args: string[]) => cli("blueflame.mjs", ...args, "--hub", hub.url);
  const listed = await blueflame("nodes");
  expect(listed).toMatchObject({ code: 0, stderr: "" });
  expect(listed.stdout).toMatch(/edge-1 +GREEN/);
  expect(JSON.parse((await blueflame("nodes", nodeId, "-o", "json")).stdout)).toMatchObject({ id: nodeId });
  expect(await blueflame("wait", nodeId, "--for", "healthy", "--timeout", "5s")).toMatchObject({ code: 0 });
  expect(await blueflame("wait", "edge-9", "--for", "green", "--timeout", "0s")).toMatchObject({ code: 6 });
  expect((await blueflame("audit", "-o", "jsonl")).stdout).toContain("workload.spawn");
  expect(await blueflame("incidents")).toMatchObject({ code: 0 });
  expect(await blueflame("nodes", "edge-9")).toMatchObject({ code: 3 });
  expect(await blueflame("top")).toMatchObject({ code: 2, stderr: expect.stringContaining("needs a terminal") });
  if (findTool("tmux")) expect(await topOnATerminal(hub.url)).toMatch(/edge-1 +GREEN/);

  const at = (beat = first) => (beat?.lastBeatAt ? timestampMs(beat.lastBeatAt) : 0);
  let next = first;
  await hub.until("the next beat is there", async () => {
    next = await hub.node(nodeId);
    return at(next) > at() + 1_000; // the hub computes it from its own clocks, to a few milliseconds
  });
  const gapMs = at(next) - at();
  expect(gapMs).toBeGreaterThan(13_000);
  expect(gapMs).toBeLessThan(18_000); // later would be missed
  expect(hub.levels(nodeId).filter((level) => level !== "GREEN")).toEqual([]);
});

test("PHX-2 a frozen agent goes YELLOW and ORANGE; the order restarts its process when it thaws, and the workloads keep their PIDs", async () => {
  const before = await well({ escalation: { ...quick, red_silent: "60s" } });
  const { agent, hub } = fleet;
  const { pid, session } = await agent.node();
  process.kill(pid, "SIGSTOP");
  await isAt(Level.ORANGE);
  expect(hub.levels(nodeId).slice(-2)).toEqual(["YELLOW", "ORANGE"]);
  process.kill(pid, "SIGCONT");
  await isAt(Level.GREEN);
  await hub.until("another agent process answers", async () => {
    const now = await agent.node().catch(() => undefined);
    return now !== undefined && now.session > session && now.pid !== pid;
  });
  await isAt(Level.GREEN);
  await hub.until("the result of the order is heard", async () => (await actions()).includes("order.done"));
  expect(await pids()).toEqual(before);
  expect(procStat(pid)?.state ?? "Z").toBe("Z"); // the old one is gone
  expect(await explained()).toEqual(expect.arrayContaining(["symptom", "remedy", "decision", "verification"]));
  expect(hub.alerts()).toEqual([]);
});

test("PHX-2 PHX-11 PRA-11 a frozen agent that stays frozen goes RED, is asked by a second path, and resurrected with an alert", async () => {
  const before = await well({ escalation: { ...quick, red_silent: "3s" }, respawns: true });
  const { agent, hub } = fleet;
  const { pid } = await agent.node();
  process.kill(pid, "SIGSTOP");
  expect((await isAt(Level.RED))?.state).toBe(FleetState.FAILED);
  await isAt(Level.GREEN);
  await wentRed();
  expect(await explained()).toEqual(expect.arrayContaining(["symptom", "decision", "remedy", "verification"]));
  const another = async () => (await agent.node().catch(() => ({ pid }))).pid !== pid;
  await agent.until("another agent process answers", another, hangsMs);
  expect(await pids()).toEqual(before);
  await hub.until("the respawn has ended", async () => (await actions()).includes("node.respawned"), hangsMs);
  const done = await actions();
  for (const action of ["node.level", "incident.open", "alert.red", "node.probe", "node.respawn"])
    expect(done).toContain(action);
});

/**
 * The steps from the first silence to RED and back are in their order, and each time that it was RED, one alert told it. A second of silence
 * is YELLOW with these figures, and a machine with much to do is silent for a second now and then: what came after is no matter.
 */
async function wentRed(): Promise<void> {
  const { hub } = fleet;
  const red = hub.levels(nodeId).indexOf("RED");
  expect(hub.levels(nodeId).slice(red - 2, red + 2)).toEqual(["YELLOW", "ORANGE", "RED", "GREEN"]);
  const alerts = () => hub.alerts().filter(({ kind, node }) => kind === "red" && node === nodeId).length;
  const reds = () => hub.levels(nodeId).filter((level) => level === "RED").length;
  await hub.until("there is one alert for each time that it was RED", async () => alerts() === reds());
}

test("PHX-2 PHX-13 an agent killed with SIGKILL is resurrected by the hub; its workloads keep their PIDs all the while", async () => {
  const before = await well({
    escalation: { ...quick, red_silent: "3s" },
    respawns: true,
    workloads: [idle("a"), idle("b")],
  });
  const { agent } = fleet;
  await agent.kill();
  await isAt(Level.RED);
  const alive = agent.leads().map(({ workload, pid }) => [workload, pid]);
  expect(alive.sort()).toEqual(Object.entries(before).sort());
  await isAt(Level.GREEN);
  await wentRed();
  expect(await pids()).toEqual(before);
  expect((await agent.status()).map(({ adopted }) => adopted)).toEqual([true, true]);
  expect(await explained()).toContain("verification");
});

test("PHX-11 PHX-13 a hub killed with SIGKILL and started again blames nobody, and hears once what the node healed meanwhile", async () => {
  await well({ escalation: { ...quick, red_silent: "3s" } });
  const { agent, hub } = fleet;
  await hub.kill();
  const { pid } = await agent.workload("engine");
  process.kill(pid, "SIGKILL");
  await agent.until("it is healed without a hub", async () => {
    const now = await agent.workload("engine");
    return now.pid !== pid && (await agent.incidents("engine"))[0]?.state === IncidentState.CLOSED;
  });
  await pause(2_000); // with the time of the heal longer than RED
  await hub.start();
  const watch = hub.watchLevels();
  const [own] = await agent.incidents("engine");
  await hub.until("the incident is at the hub, closed", async () => {
    return (await hub.incidents(nodeId))[0]?.state === IncidentState.CLOSED;
  });
  await pause(4_000); // longer than RED again
  expect(await watch.stop()).toEqual([]);
  expect(hub.levels(nodeId).filter((level) => level === "ORANGE" || level === "RED")).toEqual([]);
  const known = await hub.incidents(nodeId);
  expect(known).toMatchObject([{ id: own?.id, workload: "engine", symptom: "crash", revision: own?.revision }]);
  expect(known[0]?.timeline).toEqual(own?.timeline);
  const ids = (await hub.audit(nodeId)).map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
  expect(await actions()).toContain("workload.crash");
  expect((await agent.node()).outboxDepth).toBe(0n);
});

test("PHX-2 an agent that is told to leave says goodbye: GONE, no symptom, and its workloads go on", async () => {
  const before = await well({ escalation: { ...quick, red_silent: "3s" }, respawns: true });
  const { agent, hub } = fleet;
  process.kill(agent.pid, "SIGTERM");
  await hub.until("the node is GONE", async () => (await hub.node(nodeId))?.presence === "GONE");
  await pause(4_000); // longer than RED
  expect(hub.levels(nodeId).filter((level) => level !== "GREEN")).toEqual([]);
  expect(await hub.incidents(nodeId)).toEqual([]);
  expect(hub.alerts()).toEqual([]);
  expect(agent.leads().map(({ pid }) => pid)).toEqual(Object.values(before));
  expect(readFileSync(`/proc/${before.engine}/comm`, "utf8").trim()).toBe("sh");
});
