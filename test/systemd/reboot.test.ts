// After a reboot, on virtual time: any node of up to 50 workloads, any dependencies among them, any moment before it.

import type { WorkloadSpec } from "@blueflame/agent/supervise/spec.ts";
import { type Supervisor, superviseAll } from "@blueflame/agent/supervise/supervisor.driver.ts";
import { type Random, seeded } from "@blueflame/shared/random/random.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { expect, test } from "vitest";
import { FakeMachine } from "../support/fake-process.ts";
import { FakeRemedies } from "../support/fake-remedies.ts";
import { MemoryAgentStore, MemoryDisk } from "../support/memory-agent-store.ts";
import { specOf } from "../support/spec.ts";

/** GRC-10: all is back within it. */
const backMs = 60_000;
/** How long systemd and the start of the agent may take before the agent's first step: measured 2 s in an image, 20 s is a slow disk. */
const bootMs = 20_000;
const seeds = Number(process.env.SEEDS ?? 100);

/** A machine that can be rebooted; its disk stays. */
class Node {
  clock = new VirtualClock(5_000_000);
  readonly #disk = new MemoryDisk();
  readonly #random: Random;
  readonly specs: readonly WorkloadSpec[];
  machine = new FakeMachine();
  agent: Supervisor | undefined;

  constructor(random: Random) {
    this.#random = random;
    const names = Array.from({ length: 1 + Math.floor(random() * 50) }, (_, n) => `w${n}`);
    this.specs = names.map((name, n) =>
      specOf({ name, dependsOn: names.slice(0, n).filter(() => random() < 2 / (n + 1)), notify: random() < 0.3 }),
    );
  }

  async boot(bootId: string): Promise<void> {
    const agent = await superviseAll({
      ...{ nodeId: "n1", site: "s", bootId, specs: this.specs, random: this.#random, clock: this.clock },
      ...{ store: new MemoryAgentStore(this.#disk, () => undefined), processes: this.machine.attach() },
      signs: { watch: () => undefined, unwatch: () => undefined },
      remedies: new FakeRemedies(this.specs),
      envFor: () => ({}),
      changed: () => undefined,
      log: () => undefined,
    });
    this.agent = agent;
    await agent.boot();
  }

  /** Lets time pass; those that speak the notify protocol say READY=1 half a second after their start. */
  async pass(ms: number): Promise<void> {
    for (const endMs = this.clock.monotonicMs() + ms; this.clock.monotonicMs() < endMs; ) {
      this.clock.advance(Math.min(250, endMs - this.clock.monotonicMs()));
      for (const { name, notify } of this.specs) {
        const { phase } = this.agent?.state(name) ?? {};
        const startedMs = phase?.at === "starting" ? phase.instance.sinceMs : Number.POSITIVE_INFINITY;
        if (notify && this.clock.monotonicMs() >= startedMs + 500)
          this.agent?.post(name, { is: "beat", ready: true, status: "" });
      }
      for (let n = 0; n < 30; n++) await Promise.resolve();
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Everything dies in one moment, and the machine's own clock starts anew; the wall clock goes on. */
  reboot(): void {
    this.agent?.close();
    this.agent = undefined;
    this.machine = new FakeMachine();
    this.clock = new VirtualClock(0, this.clock.wallMs());
  }

  notBack(stopped: ReadonlySet<string>): string[] {
    return this.specs
      .map(({ name }) => name)
      .filter((name) => this.agent?.state(name).phase.at !== (stopped.has(name) ? "stopped" : "running"));
  }
}

test(`GRC-10 GRC-7 after a reboot at any moment all is back within 60 s in the order of its dependencies, but for what a person stopped; ${seeds} seeds`, async () => {
  const first = process.env.SEED === undefined ? 1 : Number(process.env.SEED);
  const last = process.env.SEED === undefined ? seeds : first;
  let worstMs = 0;
  for (let seed = first; seed <= last; seed++) {
    const random = seeded(seed);
    const node = new Node(random);
    await node.boot("boot-1");
    const stopped = new Set(node.specs.filter(() => random() < 0.1).map(({ name }) => name));
    await node.pass(random() * 70_000);
    for (const name of stopped) await node.agent?.tell(name, { is: "stop", who: "person:asha" });
    await node.pass(random() * 3000);
    node.reboot();
    node.clock.advance(random() * bootMs);
    await node.boot("boot-2");
    while (node.notBack(stopped).length > 0 && node.clock.monotonicMs() < backMs) await node.pass(250);
    expect(node.notBack(stopped), `SEED=${seed}`).toEqual([]);
    worstMs = Math.max(worstMs, node.clock.monotonicMs());
    checkOrder(node, stopped, seed);
    node.agent?.close();
  }
  console.log(`all back after at most ${Math.round(worstMs)} ms`);
});

/** Nothing is there twice, and nothing ran before what it needs. */
function checkOrder(node: Node, stopped: ReadonlySet<string>, seed: number): void {
  const startOf = (name: string) => node.machine.alive(name).map(({ pid }) => pid);
  for (const { name, dependsOn } of node.specs) {
    expect(startOf(name).length, `SEED=${seed} ${name}`).toBe(stopped.has(name) ? 0 : 1);
    for (const need of dependsOn.filter(() => !stopped.has(name)))
      if (!stopped.has(need))
        expect(startOf(need)[0], `SEED=${seed} ${name} needs ${need}`).toBeLessThan(startOf(name)[0] ?? 0);
  }
}
