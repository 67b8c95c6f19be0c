import { RecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { create, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { HubMemory } from "../../test/support/link-hub.ts";
import { memoryNode, testSelf } from "../../test/support/link-node.ts";
import { until, uplinkRig } from "../../test/support/uplink-rig.ts";

const { hubWith, lineTo, uplinkTo, papers } = uplinkRig();

test("CARD-3 heartbeats, status and records stream to a hub over mutual TLS, live first", async () => {
  const hub = await hubWith();
  const { uplink, outbox } = uplinkTo(`127.0.0.1:${hub.port}`);
  outbox.fill(250);
  await until(() => outbox.depth() === 0n && hub.arrived.heartbeats.length >= 3);
  expect(hub.arrived.kinds.slice(0, 4)).toEqual(["hello", "heartbeat", "status", "records"]);
  expect(hub.arrived.hellos[0]).toMatchObject({ nodeId: "n1", because: "first", lastSeq: 250n, lastHubEpoch: 0n });
  expect(hub.arrived.heartbeats.map((beat) => beat.count).slice(0, 3)).toEqual([1n, 2n, 3n]);
  expect(hub.memory.kept.get("g1")).toEqual(Array.from({ length: 250 }, (_, n) => BigInt(n + 1)));
  expect(uplink.view()).toMatchObject({ state: "connected", hub: `127.0.0.1:${hub.port}` });
  expect(uplink.view().because).toMatch(/^session open for \d+ s$/);
});

test("PHX-1 a line that is cut again and again costs no record and brings none twice", async () => {
  const hub = await hubWith({ window: 20 });
  const line = await lineTo(hub);
  const { outbox, uplink } = uplinkTo(line.address);
  for (let cuts = 0; cuts < 8; cuts += 1) {
    outbox.fill(150);
    const before = hub.arrived.records.length;
    await until(() => hub.arrived.records.length > before + 20);
    line.cut();
  }
  await until(() => outbox.depth() === 0n);
  expect(hub.memory.kept.get("g1")).toEqual(Array.from({ length: 1200 }, (_, n) => BigInt(n + 1)));
  await until(() => uplink.view().state === "connected");
  expect(hub.arrived.hellos.at(-1)).toMatchObject({ because: "lost", lastHubEpoch: 1n });
});

test("what a start had written hid that an older copy was put back: the first Hello tells the epoch of the opening, later ones that of now", async () => {
  const hub = await hubWith();
  const line = await lineTo(hub);
  uplinkTo(line.address);
  await until(() => hub.arrived.heartbeats.length > 0);
  line.cut();
  await until(() => hub.arrived.hellos.length > 1);
  expect(hub.arrived.hellos.map(({ storeEpoch }) => storeEpoch).slice(0, 2)).toEqual([3n, 9n]);
});

test("a store that opened late was told as it was by then, and an older copy stayed unseen: the session begins anew with the epoch of the opening, once", async () => {
  const hub = await hubWith();
  const line = await lineTo(hub);
  let open = false;
  const node = memoryNode();
  node.storeEpoch = (when) => (open ? (when === "opened" ? 3n : 9n) : 0n);
  const { uplink } = uplinkTo(line.address, {}, { node });
  await until(() => hub.arrived.kinds.includes("status"));
  open = true;
  const at = hub.arrived.kinds.length;
  uplink.storeOpened();
  await until(() => hub.arrived.hellos.length > 1 && uplink.view().state === "connected");
  expect(hub.arrived.kinds[at]).toBe("hello");
  line.cut();
  await until(() => hub.arrived.hellos.length > 2);
  expect(hub.arrived.hellos.map(({ storeEpoch }) => storeEpoch).slice(0, 3)).toEqual([0n, 3n, 9n]);
});

test("a half-open line is noticed by keepalive, and the node is back as soon as it heals", async () => {
  const hub = await hubWith();
  const line = await lineTo(hub);
  const { uplink, log, code } = uplinkTo(line.address, { policy: { openWithinMs: 300 } });
  await until(() => hub.arrived.heartbeats.length > 1);
  line.blackhole();
  await until(() => code() === "HUB_UNREACHABLE");
  // Tries into the dark are given up one by one, and leave no connection behind.
  const tries = line.accepted();
  await until(() => line.accepted() > tries + 4);
  expect(line.open()).toBeLessThanOrEqual(2);
  await line.heal();
  const beats = hub.arrived.heartbeats.length;
  await until(() => hub.arrived.heartbeats.length > beats && uplink.view().state === "connected");
  expect(line.open()).toBe(1);
  const losses = log.lines.filter(({ facts }) => facts.code === "HUB_UNREACHABLE");
  expect(losses).toHaveLength(1);
});

test("a slow line delays, and nothing else", async () => {
  const hub = await hubWith();
  const line = await lineTo(hub);
  line.delay(50);
  const { outbox, uplink } = uplinkTo(line.address);
  outbox.fill(300);
  await until(() => outbox.depth() === 0n);
  expect(hub.memory.duplicates).toBe(0);
  expect(uplink.view().state).toBe("connected");
});

test.each(["up", "down"] as const)("bytes torn off in the middle (%s) end the session, not the agent", async (way) => {
  const hub = await hubWith();
  const line = await lineTo(hub);
  const { outbox } = uplinkTo(line.address);
  for (const bytes of [1, 300, 1_500, 2_500, 4_000]) {
    line.truncate(way, bytes);
    const tries = line.accepted();
    outbox.fill(100);
    await until(() => line.accepted() > tries + 1);
    await line.heal();
  }
  await until(() => outbox.depth() === 0n);
  expect(hub.memory.kept.get("g1")).toEqual(Array.from({ length: 500 }, (_, n) => BigInt(n + 1)));
});

test("PHX-13 a hub that restarts finds the node again, with everything that it recorded meanwhile, once", async () => {
  const memory = new HubMemory();
  const first = await hubWith({}, memory);
  const { outbox, code } = uplinkTo(`127.0.0.1:${first.port}`);
  outbox.fill(100);
  await until(() => outbox.depth() === 0n);
  first.stop();
  await until(() => code() === "HUB_UNREACHABLE");
  outbox.fill(400);
  const second = await hubWith({ epoch: 2n }, memory, first.port);
  await until(() => outbox.depth() === 0n);
  expect(memory.kept.get("g1")).toEqual(Array.from({ length: 500 }, (_, n) => BigInt(n + 1)));
  expect(memory.duplicates).toBe(0);
  expect(second.arrived.hellos[0]).toMatchObject({ because: "lost", lastHubEpoch: 1n, lastSeq: 500n });
});

test("Move is obeyed: the node leaves, comes back in the given time and says why", async () => {
  const hub = await hubWith();
  const { uplink } = uplinkTo(`127.0.0.1:${hub.port}`);
  await until(() => hub.sessions() === 1);
  hub.move(300, "hub_stop");
  await until(() => hub.arrived.hellos.length === 2);
  expect(hub.arrived.hellos[1]?.because).toBe("moved");
  await until(() => uplink.view().state === "connected");
});

test("the second address is taken when nobody is at the first", async () => {
  const hub = await hubWith();
  const nobody = await lineTo(hub);
  await nobody.refuse();
  const addresses = [nobody.address, `127.0.0.1:${hub.port}`];
  const { uplink } = uplinkTo("", { target: { addresses, ...papers().node } });
  await until(() => uplink.view().state === "connected");
  expect(uplink.view().hub).toBe(addresses[1]);
});

test("messages of the hub that cannot be decoded, or are of a newer kind, are skipped and the stream lives on", async () => {
  const hub = await hubWith();
  const { node, log } = uplinkTo(`127.0.0.1:${hub.port}`);
  await until(() => hub.sessions() === 1);
  hub.raw(Uint8Array.of(0xff, 0xff, 0xff));
  hub.raw(new Uint8Array(0));
  hub.raw(Uint8Array.of(0x1a, 0x05, 0x01));
  hub.order(anOrder("o1"));
  await until(() => node.executed.length === 1);
  expect(hub.arrived.hellos).toHaveLength(1);
  expect(log.lines.filter(({ text }) => text === "a message of the hub was skipped")).toHaveLength(1);
});

test("a record that cannot be sent does not block what is behind it, and the hub is told", async () => {
  const hub = await hubWith();
  const { outbox } = uplinkTo(`127.0.0.1:${hub.port}`);
  outbox.fill(2);
  outbox.fillRaw(Uint8Array.of(0xff, 0xff));
  outbox.fillRaw(new Uint8Array(6_000_000));
  outbox.fill(2);
  await until(() => outbox.depth() === 0n);
  const kinds = hub.arrived.records.map(({ kind }) => (kind.case === "dropped" ? kind.value.kind : kind.case));
  expect(kinds).toEqual(["readings", "readings", "undecodable", "oversize", "readings", "readings"]);
});

test("while the line takes nothing, heartbeats and status wait as one each, and nothing piles up", async () => {
  const intervalMs = 50;
  const hub = await hubWith({ intervalMs, window: 1_000 });
  const clock = new VirtualClock(1_000); // only the network is real: what falls due is counted, however slow the machine is
  const { outbox, node, uplink } = uplinkTo(`127.0.0.1:${hub.port}`, {
    clock,
    keepalive: { timeMs: 60_000, timeoutMs: 60_000 },
    policy: { recordsPerSecond: 1e9 },
  });
  const taken = { beats: 0, statuses: 0 };
  const { heartbeat, status } = node;
  node.heartbeat = () => {
    taken.beats += 1;
    return heartbeat();
  };
  node.status = () => {
    taken.statuses += 1;
    return status();
  };
  await until(() => {
    const open = uplink.view().state === "connected";
    if (!open) clock.advance(10);
    return open;
  });
  hub.pause();
  for (let n = 0; n < 150; n += 1) outbox.fillRaw(bigRecord());
  // The libraries take 16 messages at each end, and what lies between is full of records: then, beat after beat, nothing is taken.
  let due = 1;
  let full = { ...taken };
  for (let waiting = 0; waiting < 60 && due < 500; due += 1) {
    node.changeStatus();
    clock.advance(intervalMs);
    await new Promise((resolve) => setTimeout(resolve, 5));
    waiting = taken.beats + taken.statuses === full.beats + full.statuses ? waiting + 1 : 0;
    full = { ...taken };
  }
  hub.resume();
  await until(() => {
    clock.advance(1e-4); // for the next chunk, and for no beat
    return outbox.depth() === 0n;
  });
  const ofOldBeats = Array.from({ length: full.beats }, (_, n) => BigInt(n + 1));
  expect(hub.arrived.heartbeats.map(({ count }) => count)).toEqual([...ofOldBeats, BigInt(due)]);
  expect(hub.arrived.statuses).toHaveLength(full.statuses + 1);
  expect(due - full.beats).toBeGreaterThanOrEqual(60);
});

test("close says goodbye, leaves no connection behind, and nothing is sent after it", async () => {
  const hub = await hubWith();
  const line = await lineTo(hub);
  const { uplink } = uplinkTo(line.address);
  await until(() => hub.arrived.heartbeats.length > 0);
  await uplink.close("upgrade", true);
  await until(() => line.open() === 0 && hub.arrived.farewells.length === 1);
  expect(hub.arrived.farewells[0]).toMatchObject({ because: "upgrade", workloadsContinue: true });
  expect(hub.arrived.kinds.at(-1)).toBe("goingAway");
  expect(uplink.view().state).toBe("none");
});

test("a process that is not the first of its store says that the agent was restarted", async () => {
  const hub = await hubWith();
  uplinkTo(`127.0.0.1:${hub.port}`, { self: testSelf({ session: 5n }) });
  await until(() => hub.arrived.hellos.length === 1);
  expect(hub.arrived.hellos[0]).toMatchObject({ because: "agent_restart", session: 5n });
});

test("a listener of the view hears each change, and status changes reach the hub", async () => {
  const hub = await hubWith();
  const { uplink, node } = uplinkTo(`127.0.0.1:${hub.port}`);
  const states: string[] = [];
  uplink.onView((view) => states.push(view.state));
  await until(() => hub.arrived.statuses.length === 1);
  node.changeStatus();
  await until(() => hub.arrived.statuses.length === 2);
  expect(states).toEqual(["connected"]);
});

function anOrder(id: string, hubEpoch = 1n) {
  const action = { case: "restartAgent" as const, value: {} };
  return { id, hubEpoch, targetIncarnation: 1n, validFor: { seconds: 60n }, because: "test", action };
}
function bigRecord(): Uint8Array {
  const because = "x".repeat(50_000);
  return toBinary(RecordSchema, create(RecordSchema, { kind: { case: "audit", value: { because } } }));
}
