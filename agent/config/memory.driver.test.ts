import { setImmediate as turn } from "node:timers/promises";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import { NodeHealth } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { beforeEach, expect, test } from "vitest";
import { ConfigKeeper, type GivenConfigs } from "./memory.driver.ts";

/** A store that outlives its keepers, and may refuse. */
class Store {
  refuses = false;
  history: unknown;
  readonly contents = new Map<string, Uint8Array>();
  async configVersions(): Promise<unknown> {
    if (this.refuses) throw new Error("the disk is full");
    return this.history;
  }
  async configContents(_workload: string, sums: readonly string[]) {
    return new Map([...this.contents].filter(([sum]) => sums.includes(sum)));
  }
  async saveConfigVersions(
    _workload: string,
    write: { history: unknown; add: ReadonlyMap<string, Uint8Array>; drop: readonly string[] },
  ) {
    if (this.refuses) throw new Error("the disk is full");
    this.history = structuredClone(write.history);
    for (const [sum, bytes] of write.add) this.contents.set(sum, bytes);
    for (const sum of write.drop) this.contents.delete(sum);
  }
}

let store: Store;
let clock: VirtualClock;
let health: NodeHealth;
beforeEach(() => {
  store = new Store();
  clock = new VirtualClock();
  health = NodeHealth.HEALTHY;
});
const file = (text: string) => ({ text, origin: "file", from: "/etc/agent.yaml" }) as const;
const keeper = (given: GivenConfigs) =>
  new ConfigKeeper({ store, clock, given, health: () => health, trouble: () => "'engine' could not be brought back" });
async function pass(ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 5000) {
    clock.advance(5000);
    for (let n = 0; n < 20; n++) await turn();
  }
}
const seen = (keeping: ConfigKeeper) =>
  keeping
    .list()
    .map(({ verdict, inUse, lastHealthy }) =>
      [verdict, inUse && "in use", lastHealthy && "last healthy"].filter(Boolean).join(", "),
    );

test("PHX-5 a config is healthy once the node was well with it for a minute without a break, and that outlives the agent", async () => {
  let keeping = keeper({ inUse: file("one") });
  await pass(40_000);
  health = NodeHealth.DEGRADED;
  await pass(5000);
  health = NodeHealth.HEALTHY;
  await pass(50_000);
  expect(seen(keeping)).toEqual(["untried, in use"]);
  await pass(20_000);
  expect(seen(keeping)).toEqual(["healthy, in use, last healthy"]);
  await keeping.close();

  health = NodeHealth.FAILED;
  keeping = keeper({ inUse: file("two") });
  await pass(10_000);
  expect(seen(keeping)).toEqual(["unhealthy, in use", "healthy, last healthy"]);
  expect(keeping.list()[0]?.because).toBe("'engine' could not be brought back");
  expect(await keeping.text(keeping.list()[1]?.sum.slice(0, 8) ?? "")).toBe("one");
  await keeping.close();
});

test("PHX-5 what was refused is kept with its reason, and what runs in its place stays in use", async () => {
  const first = keeper({ inUse: file("one") });
  await pass(5000);
  await first.close();
  const keeping = keeper({ inUse: file("one"), refused: { ...file("on"), because: "it is not whole" } });
  await pass(5000);
  expect(seen(keeping)).toEqual(["refused", "untried, in use"]);
  expect(keeping.list()[0]).toMatchObject({ because: "it is not whole", origin: "file", from: "/etc/agent.yaml" });
  await keeping.close();
});

test("a store that takes nothing is tried again, and nothing that came meanwhile is lost", async () => {
  store.refuses = true;
  const keeping = keeper({ inUse: file("one") });
  await pass(20_000);
  expect(store.history).toBeUndefined();
  store.refuses = false;
  await pass(10_000);
  expect(store.history).toMatchObject({ versions: [{ verdict: "untried", origin: "file" }] });
  expect(store.contents.size).toBe(1);
  await keeping.close();
});

test("what a disk has bent is not handed out as a config, and what is not kept is NOT_FOUND", async () => {
  const keeping = keeper({ inUse: file("one") });
  await pass(5000);
  const sum = keeping.list()[0]?.sum ?? "";
  store.contents.set(sum, new TextEncoder().encode("ohne"));
  const code = (error: unknown) => (isFault(error) ? error.code : String(error));
  expect(await keeping.text(sum).catch(code)).toBe("STORE_DAMAGED");
  expect(await keeping.text("ffffffff").catch(code)).toBe("NOT_FOUND");
  expect(await keeping.text("").catch(code)).toBe("NOT_FOUND");
  await keeping.close();
});
