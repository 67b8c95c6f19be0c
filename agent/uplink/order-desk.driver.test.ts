import { OrderOutcome } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { expect, test } from "vitest";
import { memoryNode, memoryOutbox, testSelf } from "../../test/support/link-node.ts";
import { until, uplinkRig } from "../../test/support/uplink-rig.ts";

const { hubWith, lineTo, uplinkTo } = uplinkRig();

function anOrder(id: string, given: { hubEpoch?: bigint; targetIncarnation?: bigint; seconds?: bigint } = {}) {
  const { hubEpoch = 1n, targetIncarnation = 1n, seconds = 60n } = given;
  const action = { case: "restartAgent" as const, value: {} };
  return { id, hubEpoch, targetIncarnation, validFor: { seconds }, because: "test", action };
}

test("an order is executed once however often and over however many streams it comes, and its result arrives once", async () => {
  const hub = await hubWith();
  const line = await lineTo(hub);
  const { node, outbox } = uplinkTo(line.address);
  for (let streams = 1; streams <= 3; streams += 1) {
    // That there was no stream for a moment may pass unseen: the next one comes within 20 ms.
    await until(() => hub.arrived.hellos.length >= streams && hub.sessions() === 1);
    hub.order(anOrder("o1"));
    hub.order(anOrder("o1"));
    await until(() => node.executed.length > 0 && outbox.depth() === 0n);
    line.cut();
  }
  expect(node.executed.map(({ id }) => id)).toEqual(["o1"]);
  expect(outbox.results()).toMatchObject([{ orderId: "o1", outcome: OrderOutcome.DONE, because: "done as told" }]);
  const results = hub.arrived.records.filter(({ kind }) => kind.case === "orderResult");
  expect(results).toHaveLength(1);
});

test("the process dies between remembering an order and executing it: it is never executed, and the hub is told so", async () => {
  const hub = await hubWith();
  const outbox = memoryOutbox();
  const first = memoryNode();
  let remembered = false;
  const remember = first.rememberOrder;
  // The id is durable, and nothing of this process runs any further.
  first.rememberOrder = async (id) => {
    await remember(id);
    remembered = true;
    await new Promise(() => {});
  };
  uplinkTo(`127.0.0.1:${hub.port}`, {}, { node: first, outbox });
  await until(() => hub.sessions() === 1);
  hub.order(anOrder("o1"));
  await until(() => remembered);

  const second = memoryNode(first.memory);
  uplinkTo(`127.0.0.1:${hub.port}`, { self: testSelf({ session: 2n }) }, { node: second, outbox });
  await until(() => hub.arrived.hellos.some(({ session }) => session === 2n) && hub.sessions() === 2);
  hub.order(anOrder("o1"));
  hub.order(anOrder("o2"));
  await until(() => outbox.results().length === 2);
  expect(first.executed).toEqual([]);
  expect(second.executed.map(({ id }) => id)).toEqual(["o2"]);
  expect(outbox.results()[0]).toMatchObject({ orderId: "o1", outcome: OrderOutcome.UNSPECIFIED });
  expect(outbox.results()[0]?.because).toContain("not executed twice");
});

test("orders of an older hub, for another life, or out of time are refused with a result that says why", async () => {
  const hub = await hubWith({ epoch: 7n });
  const { node, outbox } = uplinkTo(`127.0.0.1:${hub.port}`);
  await until(() => hub.sessions() === 1 && node.memory.hubEpoch === 7n);
  hub.order(anOrder("o1", { hubEpoch: 6n }));
  hub.order(anOrder("o2", { hubEpoch: 7n, targetIncarnation: 2n }));
  hub.order(anOrder("o3", { hubEpoch: 7n, seconds: 0n }));
  hub.order({ ...anOrder("o4", { hubEpoch: 7n }), action: { case: undefined } });
  hub.order(anOrder("o5", { hubEpoch: 8n }));
  await until(() => outbox.results().length === 5);
  expect(outbox.results().map(({ because }) => because)).toEqual([
    "old_epoch",
    "wrong_incarnation",
    "expired",
    "unknown_action",
    "done as told",
  ]);
  expect(node.memory.hubEpoch).toBe(8n);
  expect(node.executed.map(({ id }) => id)).toEqual(["o5"]);
});

test("an order that ran out of time while it waited behind another one is refused when its turn comes", async () => {
  const hub = await hubWith();
  const { node, outbox } = uplinkTo(`127.0.0.1:${hub.port}`);
  await until(() => hub.sessions() === 1);
  node.doing = async () => {
    await new Promise((resolve) => setTimeout(resolve, 1_300));
    return { outcome: OrderOutcome.DONE, because: "slow" };
  };
  hub.order(anOrder("slow"));
  hub.order(anOrder("late", { seconds: 1n }));
  await until(() => outbox.results().length === 2);
  expect(outbox.results().map(({ because }) => because)).toEqual(["slow", "expired"]);
});

test("while the store refuses, no order is executed; when it takes writes again, the same order is", async () => {
  const hub = await hubWith();
  const { node, outbox, log } = uplinkTo(`127.0.0.1:${hub.port}`);
  await until(() => hub.sessions() === 1);
  const remember = node.rememberOrder;
  node.rememberOrder = () => Promise.reject(new Error("disk full"));
  hub.order(anOrder("o1"));
  await until(() => log.lines.some(({ text }) => text === "an order was not executed"));
  expect(node.executed).toEqual([]);
  node.rememberOrder = remember;
  hub.order(anOrder("o1"));
  await until(() => outbox.results().length === 1);
  expect(node.executed).toHaveLength(1);
});

test("more orders than may wait are refused, not queued without bound", async () => {
  const hub = await hubWith();
  const { node, outbox } = uplinkTo(`127.0.0.1:${hub.port}`);
  await until(() => hub.sessions() === 1);
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  node.doing = async () => {
    await held;
    return { outcome: OrderOutcome.DONE, because: "held" };
  };
  for (let n = 0; n < 120; n += 1) hub.order(anOrder(`o${n}`));
  await until(() => node.executed.length === 1);
  await new Promise((resolve) => setTimeout(resolve, 200));
  release();
  await until(() => outbox.results().length === 120);
  expect(outbox.results().filter(({ because }) => because === "too_many_orders").length).toBeGreaterThanOrEqual(19);
});

test("the agent that is told to restart itself still writes the result and says goodbye", async () => {
  const hub = await hubWith();
  const { node, outbox, uplink } = uplinkTo(`127.0.0.1:${hub.port}`);
  await until(() => hub.sessions() === 1);
  let left: Promise<void> | undefined;
  node.doing = async () => {
    left = uplink.close("agent_restart", true);
    return { outcome: OrderOutcome.DONE, because: "restarting" };
  };
  hub.order(anOrder("o1"));
  await until(() => left !== undefined);
  await left;
  expect(outbox.results()).toMatchObject([{ orderId: "o1", outcome: OrderOutcome.DONE }]);
  await until(() => hub.arrived.farewells.length === 1);
  expect(hub.arrived.farewells[0]?.because).toBe("agent_restart");
});
