import { seeded } from "@blueflame/shared/random/random.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { expect, test } from "vitest";
import { FakeMachine } from "../../test/support/fake-process.ts";
import { FakeRemedies } from "../../test/support/fake-remedies.ts";
import { MemoryAgentStore, MemoryDisk } from "../../test/support/memory-agent-store.ts";
import { specOf } from "../../test/support/spec.ts";
import { superviseAll } from "./supervisor.driver.ts";

test("DOL-6 of a pool never more than its bound are on their way up at once, at the start and after a storm, and in the end all run", async () => {
  const clock = new VirtualClock(1_000_000);
  const machine = new FakeMachine();
  const names = Array.from({ length: 8 }, (_, at) => `worker-${at}`);
  const specs = [...names.map((name) => specOf({ name, pool: "workers" })), specOf({ name: "free" })];
  const supervisor = await superviseAll({
    ...{ nodeId: "n1", site: "s", bootId: "boot-1", specs, processes: machine.attach(), clock, random: seeded(3) },
    store: new MemoryAgentStore(new MemoryDisk(), () => undefined),
    signs: { watch: () => undefined, unwatch: () => undefined },
    remedies: new FakeRemedies(specs),
    pools: { workers: 2 },
    ...{ envFor: () => ({}), changed: () => undefined, log: () => undefined },
  });
  const climbing = () =>
    names.filter((name) => {
      const { phase } = supervisor.state(name);
      return phase.at === "starting" || (phase.at === "spawning" && machine.alive(name).length > 0);
    }).length;
  let most = 0;
  const pass = async (ms: number) => {
    for (let passed = 0; passed < ms; passed += 50) {
      clock.advance(50);
      for (let n = 0; n < 6; n++) await new Promise((resolve) => setImmediate(resolve));
      most = Math.max(most, climbing());
    }
  };
  const allRun = () => specs.every(({ name }) => supervisor.state(name).phase.at === "running");
  await supervisor.boot();
  await pass(10_000);
  expect(allRun()).toBe(true);
  expect(most).toBe(2);
  for (const one of machine.alive()) one.sight = "gone";
  for (const name of names) supervisor.post(name, { is: "restart", who: "person:asha" });
  await pass(30_000);
  expect(allRun()).toBe(true);
  expect(most).toBe(2);
  supervisor.close();
});
