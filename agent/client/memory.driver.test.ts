import { setTimeout as pause } from "node:timers/promises";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import { StateService } from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import type { WatchResponse } from "@blueflame/shared/gen/blueflame/node/v1/state_pb.ts";
import { client } from "@blueflame/shared/rpc/definition.ts";
import * as grpc from "@grpc/grpc-js";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ClientRig } from "../../test/support/client-rig.ts";
import { stateMax } from "../state/bounds.ts";
import type { Change } from "./memory.driver.ts";

let rig: ClientRig;
beforeEach(async () => {
  rig = await ClientRig.open();
});
afterEach(() => rig.close());

function bare() {
  const states = client(StateService, `unix:${rig.socket}`, grpc.credentials.createInsecure());
  const metadata = new grpc.Metadata();
  metadata.set("authorization", "Bearer token-of-firewall");
  rig.closes(states);
  return { states, metadata };
}
const code = (error: unknown) => (isFault(error) ? error.code : String(error));
const bytes = (text: string) => Buffer.from(text);
async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; !holds(); tries += 1) {
    if (tries > 1000) throw new Error("waited 10 s in vain");
    await pause(10);
  }
}

test("PHX-9 a trade is booked with streak, session, exposure and lock in one answer, and is found again with all that was told of it", async () => {
  const agent = rig.connected();
  await agent.commit([{ limits: { lossStreak: 2 } }, { beginSession: "2026-11-26" }]);
  await agent.recordTrade({ id: "a", exposure: 500, openExposure: 500, data: bytes("buy") });
  await agent.recordTrade({ id: "b", profit: -40, openExposure: 0 });
  const risk = await agent.recordTrade({ id: "c", profit: -60, sessionProfit: -50 });
  expect(risk).toMatchObject({
    mayTrade: false,
    lossStreak: 2,
    session: { name: "2026-11-26", trades: 3, losses: 2, profit: -90, totalExposure: 500, firstTrade: 1 },
    lock: { cause: "limit", because: "2 losses in a row, the limit is 2" },
    limits: { lossStreak: 2, sessionLoss: 0 },
    openExposure: 0,
  });
  expect(await agent.risk()).toEqual(risk);
  const trades = [];
  for await (const { at: _, data, ...trade } of agent.trades())
    trades.push({ ...trade, data: Buffer.from(data ?? []).toString() });
  expect(trades).toEqual([
    { index: 1, session: "2026-11-26", id: "a", exposure: 500, openExposure: 500, data: "buy" },
    { index: 2, session: "2026-11-26", id: "b", exposure: 0, openExposure: 0, profit: -40, data: "" },
    { index: 3, session: "2026-11-26", id: "c", exposure: 0, profit: -60, sessionProfit: -50, data: "" },
  ]);
  const order = agent.commit([{ put: { key: "order", value: bytes("1") } }], { onlyWhileOpen: true });
  expect(await order.catch(code)).toBe("RISK_LOCKED");
  expect(await agent.get("order")).toBeUndefined();
});

test("PHX-9 a trade whose answer was lost with the agent is booked once, and so is one that the program repeats under its name", async () => {
  const agent = rig.connected();
  let lose = true;
  rig.space.onCommit = async (moment) => {
    if (moment !== "after" || !lose) return;
    lose = false;
    await rig.down();
    await rig.up();
  };
  await agent.recordTrade({ profit: -1 }, "trade-1");
  await agent.recordTrade({ profit: -1 }, "trade-1");
  expect((await agent.risk()).trades).toBe(1);
  expect(await agent.recordTrade({ profit: -2 }, "trade-1").catch(code)).toBe("BAD_REQUEST");
});

test("a log is read page by page from any index, keys are listed by prefix, and what was deleted is gone", async () => {
  const agent = rig.connected();
  for (let at = 0; at < 3; at++) {
    await agent.append("steps", ...Array.from({ length: 100 }, (_, n) => bytes(`${at * 100 + n + 1}`)));
  }
  const read: number[] = [];
  for await (const { index, data } of agent.readLog("steps", 5)) {
    expect(Buffer.from(data).toString()).toBe(String(index));
    read.push(index);
  }
  expect(read).toEqual(Array.from({ length: 295 }, (_, at) => at + 6));
  for (const key of ["a/2", "b", "a/1"]) await agent.put(key, bytes("v"));
  expect(await agent.keys("a/")).toEqual(["a/1", "a/2"]);
  await agent.delete("a/1");
  expect(await agent.keys()).toEqual(["a/2", "b"]);
  expect(await agent.put("a/1", bytes("w"), 0n)).toBe(2n);
});

test("a watch tells what is there and then each change, goes on over a restart of the agent, and ends with the line", async () => {
  const agent = rig.connected();
  await agent.put("before", bytes("1"));
  const seen: string[] = [];
  const words = (change: Change) => {
    if (change.is === "put") return `${change.key}=${Buffer.from(change.kept.value)}`;
    if (change.is === "deleted") return `${change.key} gone`;
    return change.is === "log" ? `${change.log} to ${change.last}` : change.is;
  };
  const watching = (async () => {
    for await (const change of agent.watch()) seen.push(words(change));
  })();
  await until(() => seen.length === 2);
  await agent.put("after", bytes("2"));
  await until(() => seen.includes("after=2"));
  await rig.down();
  // Changes while nobody listens: told when the next agent is there, each thing as it is then.
  await rig.space.commit({
    id: "",
    digest: "",
    onlyWhileOpen: false,
    operations: [{ is: "delete", key: "before", expected: undefined }],
  });
  await rig.space.commit({ id: "", digest: "", onlyWhileOpen: false, operations: [{ is: "lock", because: "asked" }] });
  await rig.up();
  await until(() => seen.includes("risk"));
  expect(seen.filter((word) => word !== "caughtUp")).toEqual(["before=1", "after=2", "before gone", "risk"]);
  agent.close();
  await watching;
});

test("a watcher that asks from what is not known any more is told to list again; the ninth is refused", async () => {
  const { states, metadata } = bare();
  await rig.connected().put("k", bytes("v"));
  const first = (afterRevision: bigint) =>
    new Promise<WatchResponse | string>((resolve) => {
      const stream = states.watch({ afterRevision }, { metadata });
      stream.once("data", resolve);
      stream.once("error", (error) => resolve(error.message));
    });
  expect(await first(99n)).toMatchObject({ change: { case: "listAgain" } });
  for (let at = 0; at < stateMax.watchers; at++) expect(await first(1n)).toMatchObject({ revision: 1n });
  expect(await first(1n)).toContain("[LIMIT_REACHED]");
});
