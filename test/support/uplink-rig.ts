import { openUplink, type UplinkOptions } from "@blueflame/agent/uplink/link.driver.ts";
import { seeded } from "@blueflame/shared/random/random.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { afterEach, beforeAll } from "vitest";
import { type ChaosProxy, chaosProxy } from "./chaos-proxy.ts";
import { type Papers, type TestAuthority, testAuthority } from "./link-certificates.ts";
import { type HubManners, type HubMemory, type LinkHub, startLinkHub } from "./link-hub.ts";
import { memoryLog, memoryNode, memoryOutbox, testSelf } from "./link-node.ts";

const clock = realClock();

/** Waits for real; the test's own time limit is the bound. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 10));
}

/** Opens hubs, lines and uplinks for the tests of a file, and closes them after each test, newest first. */
export function uplinkRig() {
  const open: (() => unknown)[] = [];
  let made: { authority: TestAuthority; hub: Papers; node: Papers } | undefined;
  const papers = () => {
    if (!made) throw new Error("certificates are made before the first test");
    return made;
  };
  beforeAll(async () => {
    const authority = await testAuthority();
    made = { authority, hub: await authority.hub(), node: await authority.node("n1") };
  });
  afterEach(async () => {
    for (const close of open.splice(0).reverse()) await close();
  });
  return {
    papers,
    /** Closed after the test, with the rest. */
    closing: (close: () => unknown) => void open.push(close),
    async hubWith(manners: Partial<HubManners> = {}, memory?: HubMemory, port?: number): Promise<LinkHub> {
      const hub = await startLinkHub(papers().hub, memory, manners, port);
      open.push(() => hub.stop());
      return hub;
    },
    async lineTo(hub: { readonly port: number }): Promise<ChaosProxy> {
      const proxy = await chaosProxy(hub.port);
      open.push(() => proxy.close());
      return proxy;
    },
    /** An uplink with short waits over the real network. */
    uplinkTo(address: string, given: Partial<UplinkOptions> = {}, parts: Parts = {}) {
      const { outbox = memoryOutbox(), node = memoryNode(), log = memoryLog() } = parts;
      const uplink = openUplink({
        target: { addresses: [address], ...papers().node },
        self: testSelf(),
        node,
        outbox,
        clock,
        random: seeded(7),
        log,
        keepalive: { timeMs: 400, timeoutMs: 400 },
        ...given,
        policy: {
          baseMs: 20,
          capMs: 100,
          slowCapMs: 200,
          openWithinMs: 2_000,
          welcomeWithinMs: 1_000,
          ...given.policy,
        },
      });
      open.push(() => uplink.close("stop", true));
      return { uplink, outbox, node, log, code: () => /^\[(\w+)\]/.exec(uplink.view().because)?.[1] };
    },
  };
}

/** What an uplink may share with one before it. */
export interface Parts {
  readonly outbox?: ReturnType<typeof memoryOutbox>;
  readonly node?: ReturnType<typeof memoryNode>;
  readonly log?: ReturnType<typeof memoryLog>;
}
