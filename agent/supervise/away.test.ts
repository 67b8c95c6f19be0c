import { existsSync } from "node:fs";
import { seeded } from "@blueflame/shared/random/random.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { expect, test } from "vitest";
import { FakeMachine } from "../../test/support/fake-process.ts";
import { FakeRemedies } from "../../test/support/fake-remedies.ts";
import { MemoryAgentStore, MemoryDisk } from "../../test/support/memory-agent-store.ts";
import { specOf } from "../../test/support/spec.ts";
import { OwnTime, wantedCoreMs } from "./own-time.driver.ts";
import type { SupervisorParts } from "./parts.ts";
import type { WorkloadSpec } from "./spec.ts";
import { superviseAll } from "./supervisor.driver.ts";

interface World {
  readonly time: VirtualClock;
  readonly machine: FakeMachine;
  readonly disk: MemoryDisk;
}

/** An agent on virtual time that has guarded for five seconds; whole seconds have a tick. */
async function agentOf(
  spec: WorkloadSpec,
  bend: (time: VirtualClock) => Clock = (time) => time,
  world?: World,
  more: Partial<SupervisorParts> = {},
) {
  const { time, machine, disk } = world ?? {
    time: new VirtualClock(995_000),
    machine: new FakeMachine(),
    disk: new MemoryDisk(),
  };
  const port = machine.attach();
  const store = new MemoryAgentStore(disk, () => port.die());
  const supervisor = await superviseAll({
    nodeId: "n1",
    site: "s",
    bootId: "boot-1",
    specs: [spec],
    store,
    processes: port,
    signs: { watch: () => undefined, unwatch: () => undefined },
    remedies: new FakeRemedies([spec]),
    clock: bend(time),
    random: seeded(1),
    envFor: () => ({}),
    changed: () => undefined,
    log: () => undefined,
    ...more,
  });
  await supervisor.boot();
  const pass = async (ms: number) => {
    for (let passed = 0; passed < ms; passed += 10) {
      time.advance(10);
      for (let n = 0; n < 3; n++) await new Promise(setImmediate);
    }
  };
  await pass(5000);
  return { time, machine, disk, port, store, supervisor, pass };
}

test("a workload that beats on time was called frozen: of the time in which the agent itself was stopped half a second was not forgiven", async () => {
  const spec = specOf({ name: "engine", beat: { timeoutMs: 1400 } });
  const { time, supervisor, pass } = await agentOf(spec);
  const beat = () => supervisor.post("engine", { is: "beat", ready: true, status: "" });
  for (const afterTickMs of [10, 240, 260, 490]) {
    await pass(afterTickMs + 10);
    for (let n = 0; n < 8; n++, await pass(1000)) beat();
    beat();
    await pass(990);
    expect(time.monotonicMs() % 500).toBe(afterTickMs);
    time.stall(5000);
    // What it said meanwhile is read after everything that was due has been done.
    await pass(10);
    for (let n = 0; n < 5; n++, await pass(1000)) beat();
    expect(supervisor.state("engine")).toMatchObject({ phase: { at: "running" }, starts: 1 });
    beat();
    await pass(990 - afterTickMs);
  }
});

test("a stop was looked for only after 1.5 s now and then: a wake may come half a millisecond early", async () => {
  const early = (time: VirtualClock): Clock => ({
    monotonicMs: () => time.monotonicMs(),
    bootMs: () => time.bootMs(),
    wallMs: () => time.wallMs(),
    wakeAt: (atMs, wake) => time.wakeAt(atMs % 3000 === 0 ? atMs - 0.5 : atMs, wake),
  });
  const { time, port, pass } = await agentOf(specOf({ name: "engine" }), early);
  const looksMs: number[] = [];
  port.mayBeStopped = () => {
    looksMs.push(time.monotonicMs());
    return false;
  };
  await pass(10_000);
  for (const [n, atMs] of looksMs.entries()) expect(atMs - (looksMs[n - 1] ?? atMs)).toBeLessThan(1001);
  expect(looksMs).toHaveLength(10);
});

test("the end of one that an earlier agent has started is seen within 250 ms, also right after a look at everybody", async () => {
  for (const afterTickMs of [10, 240, 260, 490, 510, 990]) {
    const spec = specOf({ name: "engine" });
    const first = await agentOf(spec);
    first.store.die();
    first.supervisor.close();
    const { machine, supervisor, pass } = await agentOf(spec, undefined, first);
    const [adopted] = machine.alive("engine");
    expect([adopted?.pid, supervisor.status("engine").adopted]).toEqual([100, true]);
    await pass(afterTickMs);
    if (adopted) adopted.sight = "gone";
    await pass(250);
    expect(supervisor.status("engine").pid, `ended ${afterTickMs} ms after a second`).not.toBe(100);
  }
});

test("an agent that is late tells how much of it was no work of its own: less than a second is noise", async () => {
  const told: (readonly [byMs: number, pausedMs: number])[] = [];
  let wantedMs: number | undefined = 100;
  const more = {
    wantedCoreMs: () => wantedMs,
    late: (byMs: number, pausedMs: number) => void told.push([byMs, pausedMs]),
  };
  const { time, pass } = await agentOf(specOf({ name: "engine" }), undefined, undefined, more);
  const stall = async (ms: number, wanted: number | undefined) => {
    time.stall(ms);
    wantedMs = wanted;
    await pass(1000);
  };
  await stall(5000, 100);
  await stall(5000, 5000);
  await stall(5000, 6500);
  await stall(5000, 11_000);
  await stall(5000, undefined);
  await stall(5000, undefined);
  expect(told.map(([by]) => by > 4000 && by <= 5500)).toEqual(told.map(() => true));
  const [all, busy, partly, hardly, unknown, still] = told.map(([by, paused]) => by - paused);
  expect([all, partly, unknown, still]).toEqual([0, 1500, 0, 0]);
  expect([busy, hardly]).toEqual([told[1]?.[0], told[3]?.[0]]);
});

test("what the kernel counts of this process is read, and nothing is made of what is no such count", () => {
  expect(wantedCoreMs("1500000 500000 3\n")).toBe(2);
  for (const wrong of [undefined, "", "0 0 0", "a b c", "12"]) expect(wantedCoreMs(wrong)).toBeUndefined();
});

test.skipIf(!existsSync("/proc/self/schedstat"))(
  "a process that works wants a core, and one that sleeps does not [needs a kernel that counts it]",
  () => {
    const own = new OwnTime(undefined);
    const busy = performance.now() + 500;
    while (performance.now() < busy);
    expect(own.pausedOf(1400)).toBe(0);
    // It sleeps in the middle of a turn: nothing else runs meanwhile.
    own.mark();
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1500);
    expect(own.pausedOf(1500)).toBeGreaterThan(0);
  },
);
