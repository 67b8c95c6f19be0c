import { seeded } from "@blueflame/shared/random/random.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { afterEach, beforeAll, expect, test } from "vitest";
import { type ChaosProxy, chaosProxy } from "../../test/support/chaos-proxy.ts";
import { type Papers, type TestAuthority, testAuthority } from "../../test/support/link-certificates.ts";
import { type HubManners, type HubMemory, type LinkHub, startLinkHub } from "../../test/support/link-hub.ts";
import { memoryLog, memoryNode, memoryOutbox, testSelf } from "../../test/support/link-node.ts";
import { openUplink, type UplinkOptions } from "./link.driver.ts";
import type { Uplink } from "./ports.ts";

const clock = realClock();
let authority: TestAuthority;
let hubPapers: Papers;
let nodePapers: Papers;
beforeAll(async () => {
  authority = await testAuthority();
  hubPapers = await authority.hub();
  nodePapers = await authority.node("n1");
});

const open: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

/** Waits for real; the test's own time limit is the bound. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 10));
}

async function hubWith(manners: Partial<HubManners> = {}, memory?: HubMemory, port?: number): Promise<LinkHub> {
  const hub = await startLinkHub(hubPapers, memory, manners, port);
  open.push(() => hub.stop());
  return hub;
}
async function lineTo(hub: { readonly port: number }): Promise<ChaosProxy> {
  const proxy = await chaosProxy(hub.port);
  open.push(() => proxy.close());
  return proxy;
}

/** An uplink with short waits over the real network. */
function uplinkTo(address: string, given: Partial<UplinkOptions> = {}) {
  const outbox = memoryOutbox();
  const node = memoryNode();
  const log = memoryLog();
  const uplink = openUplink({
    target: { addresses: [address], ...nodePapers },
    self: testSelf(),
    node,
    outbox,
    clock,
    random: seeded(7),
    log,
    keepalive: { timeMs: 400, timeoutMs: 400 },
    ...given,
    policy: { baseMs: 20, capMs: 100, slowCapMs: 200, openWithinMs: 2_000, welcomeWithinMs: 1_000, ...given.policy },
  });
  open.push(() => uplink.close("stop", true));
  return { uplink, outbox, node, log };
}
const code = (uplink: Uplink) => /^\[(\w+)\]/.exec(uplink.view().because)?.[1];

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
