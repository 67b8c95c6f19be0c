import net from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ClientRig } from "../../test/support/client-rig.ts";
import { connect, connectOptional } from "./client.driver.ts";

let rig: ClientRig;
beforeEach(async () => {
  rig = await ClientRig.open();
});
afterEach(() => rig.close());

function kept(): string {
  return Buffer.from(rig.space.peek("risk")?.value ?? []).toString();
}

test("a program that no agent started is told so, or goes on without", () => {
  const before = { ...process.env };
  delete process.env.BLUEFLAME_SOCKET;
  delete process.env.BLUEFLAME_TOKEN;
  try {
    expect(connectOptional()).toBeUndefined();
    expect(connectOptional({ socket: rig.socket })).toBeUndefined();
    expect(() => connect()).toThrow("[USAGE] BLUEFLAME_SOCKET and BLUEFLAME_TOKEN are not set");
    process.env.BLUEFLAME_SOCKET = rig.socket;
    process.env.BLUEFLAME_TOKEN = "token-of-firewall";
    rig.closes(connect());
  } finally {
    process.env = before;
  }
});

test("a beat arrives with its status and says when the next one is due", async () => {
  const agent = rig.connected();
  expect(await inTime(() => agent.beat("bar 7", false))).toBe(3000);
  expect(rig.node.workloads.get("firewall")?.beats.at(-1)).toEqual({ ready: false, status: "bar 7" });
});

test("a beat with a wrong token is denied, and one without an agent is unreachable at once", async () => {
  const stranger = rig.connected({ token: "guessed" });
  await expect(inTime(() => stranger.beat())).rejects.toMatchObject({ code: "DENIED" });
  await rig.down();
  await expect(rig.connected().beat()).rejects.toMatchObject({ code: "AGENT_UNREACHABLE" });
});

test("startBeating goes on over a restart of the agent and ends with close", async () => {
  const beats = rig.node.workloads.get("firewall")?.beats ?? [];
  const agent = rig.connected();
  agent.startBeating(20, () => "well");
  await until(() => beats.length >= 3);
  await rig.down();
  await pause(100);
  await rig.up();
  const before = beats.length;
  await until(() => beats.length >= before + 3);
  agent.close();
  await pause(50);
  const after = beats.length;
  await pause(100);
  expect(beats.length).toBe(after);
});

test("startBeating that was stopped left its listener behind: a program that begins and stops it leaks nothing", async () => {
  const agent = rig.connected();
  const added = vi.spyOn(AbortSignal.prototype, "addEventListener");
  const removed = vi.spyOn(AbortSignal.prototype, "removeEventListener");
  for (let at = 0; at < 5; at++) agent.startBeating(60_000)();
  expect([added.mock.calls.length, removed.mock.calls.length]).toEqual([5, 5]);
  vi.restoreAllMocks();
});

test("a value is read back with the revision to put the next one on", async () => {
  const agent = rig.connected();
  expect(await agent.get("risk")).toBeUndefined();
  expect(await agent.put("risk", Buffer.from("one"), 0n)).toBe(1n);
  expect(await agent.put("risk", Buffer.from("two"), 1n)).toBe(2n);
  expect(await agent.put("risk", Buffer.from("three"))).toBe(3n);
  expect(await agent.get("risk")).toEqual({ value: new Uint8Array(Buffer.from("three")), revision: 3n });
  await expect(agent.put("risk", Buffer.from("stale"), 1n)).rejects.toMatchObject({ code: "STATE_CONFLICT" });
  await expect(agent.put("no blanks", Buffer.from("x"))).rejects.toMatchObject({ code: "BAD_REQUEST" });
});

test("PHX-9 a put waits for an agent that is being restarted, and is written once", async () => {
  const agent = rig.connected();
  await agent.put("risk", Buffer.from("one"), 0n);
  await rig.down();
  const put = agent.put("risk", Buffer.from("two"), 1n);
  const got = agent.get("other");
  await pause(700);
  await rig.up();
  expect(await put).toBe(2n);
  expect(await got).toBeUndefined();
  expect(kept()).toBe("two");
});

test("PHX-9 a put whose answer was lost with the agent is recognised as written, not written again", async () => {
  const agent = rig.connected();
  let lose = true;
  rig.space.onCommit = async (moment) => {
    if (moment !== "after" || !lose) return;
    lose = false;
    // The agent dies between its write and its answer; the next one comes up at the same place.
    const dying = rig.down();
    await dying;
    await rig.up();
  };
  expect(await agent.put("risk", Buffer.from("one"), 0n)).toBe(1n);
  expect(rig.space.peek("risk")?.revision).toBe(1);
});

test("a conflict with somebody else is reported even after a try of unknown outcome", async () => {
  const agent = rig.connected();
  let first = true;
  rig.space.onCommit = (moment) => {
    if (moment !== "before" || !first) return;
    first = false;
    rig.space.plant("risk", Buffer.from("theirs"), 1);
    throw new Fault("STORE_WRITE_FAILED", "the disk refused");
  };
  await expect(agent.put("risk", Buffer.from("mine"), 0n)).rejects.toMatchObject({ code: "STATE_CONFLICT" });
  expect(kept()).toBe("theirs");
});

test("a disk that refuses for a while delays a put and loses nothing", async () => {
  let refusals = 3;
  rig.space.onCommit = (moment) => {
    if (moment === "before" && refusals-- > 0) throw new Fault("STORE_WRITE_FAILED", "no space left");
  };
  expect(await rig.connected().put("risk", Buffer.from("one"), 0n)).toBe(1n);
  expect(kept()).toBe("one");
});

test("patience ends with the code for an agent that is away, also when it is frozen rather than gone", async () => {
  await rig.down();
  const agent = rig.connected({ patienceMs: 300 });
  await expect(agent.put("risk", Buffer.from("x"), 0n)).rejects.toMatchObject({ code: "AGENT_UNREACHABLE" });
  await expect(agent.get("risk")).rejects.toMatchObject({ code: "AGENT_UNREACHABLE" });
  const frozen = net.createServer(() => {});
  await new Promise<void>((listening) => frozen.listen(rig.socket, listening));
  const started = performance.now();
  await expect(agent.get("risk")).rejects.toMatchObject({ code: "AGENT_UNREACHABLE" });
  expect(performance.now() - started).toBeGreaterThanOrEqual(250);
  agent.close();
  frozen.close();
});

test("a full disk reached the program as an agent that is away, and the advice was to start it", async () => {
  let tries = 0;
  rig.space.onCommit = async (moment) => {
    // The last try, which has only what is left of the patience, gets no answer at all.
    if (moment === "before" && tries++ > 0) await pause(2_000);
    else if (moment === "before") throw new Fault("STORE_WRITE_FAILED", "no space left");
  };
  const putting = rig.connected({ patienceMs: 600 }).put("risk", Buffer.from("x"), 0n);
  const fault: unknown = await putting.catch((error: unknown) => error);
  expect(fault).toMatchObject({ code: "STORE_WRITE_FAILED" });
  expect(String(fault)).toContain("last: no space left");
});

test("a number that is no whole one was a bare error of JavaScript, or blamed the agent's version", async () => {
  const agent = rig.connected();
  const refused = { code: "BAD_REQUEST" };
  for (const profit of [1.5, Number.NaN, 2 ** 60])
    await expect(agent.recordTrade({ profit })).rejects.toMatchObject(refused);
  await expect(agent.commit([{ limits: { lossStreak: -5 } }])).rejects.toMatchObject(refused);
  await expect(agent.commit([{ trim: { log: "l", through: -1 } }])).rejects.toMatchObject(refused);
  await expect(agent.commit([{ raise: 1 } as never])).rejects.toMatchObject(refused);
  await expect(agent.readLog("l", 1.5).next()).rejects.toMatchObject(refused);
  await expect(agent.trades(-1).next()).rejects.toMatchObject(refused);
});

test("close ends what waits", async () => {
  await rig.down();
  const agent = rig.connected();
  const waiting = agent.put("risk", Buffer.from("x"), 0n);
  setTimeout(() => agent.close(), 100);
  await expect(waiting).rejects.toMatchObject({ code: "AGENT_UNREACHABLE" });
});

/** A beat has one second, and a machine with much else to do needs more for the first one: then the next one counts. */
async function inTime<T>(beat: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries += 1) {
    try {
      return await beat();
    } catch (error) {
      if (!isFault(error, "TIMED_OUT") || tries > 20) throw error;
    }
  }
}

async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; !holds(); tries += 1) {
    if (tries > 500) throw new Error("waited 5 s in vain");
    await pause(10);
  }
}
