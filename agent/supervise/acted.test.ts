/** When what was decided is really done: after the disk had its time, and not when it was decided. */
import { seeded } from "@blueflame/shared/random/random.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { expect, test } from "vitest";
import { FakeMachine } from "../../test/support/fake-process.ts";
import { FakeRemedies } from "../../test/support/fake-remedies.ts";
import { MemoryAgentStore, MemoryDisk } from "../../test/support/memory-agent-store.ts";
import { specOf } from "../../test/support/spec.ts";
import type { PlayRequest, RemedyResult } from "../remedies/ports.ts";
import type { StepWrite } from "../store/ports.ts";
import type { WorkloadSpec } from "./spec.ts";
import type { IncidentFacts } from "./state.ts";
import { superviseAll } from "./supervisor.driver.ts";

/** A disk that answers after `answerMs`. */
class SlowStore extends MemoryAgentStore {
  answerMs = 0;
  readonly #time: VirtualClock;

  constructor(time: VirtualClock) {
    super(new MemoryDisk(), () => undefined);
    this.#time = time;
  }
  override async saveStep(write: StepWrite): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (this.answerMs > 0) this.#time.wakeAt(this.#time.monotonicMs() + this.answerMs, resolve);
    else resolve();
    await promise;
    await super.saveStep(write);
  }
}

async function agentOf(
  specs: readonly WorkloadSpec[],
  pools: Readonly<Record<string, number>> = {},
  remedies = new FakeRemedies(specs),
) {
  const time = new VirtualClock(1_000_000);
  const machine = new FakeMachine();
  const store = new SlowStore(time);
  const port = machine.attach();
  const incidents = new Map<string, IncidentFacts>();
  const supervisor = await superviseAll({
    ...{
      nodeId: "n1",
      site: "s",
      bootId: "boot-1",
      specs,
      store,
      processes: port,
      clock: time,
      random: seeded(1),
      pools,
    },
    signs: { watch: () => undefined, unwatch: () => undefined },
    remedies,
    incident: (name, facts) => incidents.set(name, facts),
    ...{ envFor: () => ({}), changed: () => undefined, log: () => undefined },
  });
  await supervisor.boot();
  const settle = async () => {
    for (let n = 0; n < 3; n++) await new Promise(setImmediate);
  };
  const pass = async (ms: number) => {
    for (let passed = 0; passed < ms; passed += 10) {
      time.advance(10);
      await settle();
    }
  };
  await pass(2000);
  const crash = async (...names: string[]) => {
    for (const one of names.flatMap((name) => machine.alive(name))) port.end(one, 1, null);
    await settle();
  };
  const toActMs = (name: string) => {
    const { actedWallMs = Number.NaN, detectedWallMs = 0 } = incidents.get(name) ?? {};
    return Math.round(actedWallMs - detectedWallMs);
  };
  return { store, machine, crash, pass, toActMs, incidents, supervisor };
}

test.each([
  { disk: "a sound one", answerMs: 0, actsMs: 0 },
  { disk: "a slow one, which is waited for", answerMs: 120, actsMs: 120 },
  { disk: "a silent one, which holds no healing up", answerMs: 60_000, actsMs: 500 },
])("DOL-7 from a crash to the deed: on $disk, $actsMs ms", async ({ answerMs, actsMs }) => {
  const { store, crash, pass, toActMs, supervisor } = await agentOf([specOf({ name: "engine" })]);
  store.answerMs = answerMs;
  await crash("engine");
  await pass(2500);
  expect(toActMs("engine")).toBe(actsMs);
  supervisor.close();
});

test("SYN-7 an action that is five seconds late was said to have taken no time: what was decided twice is acted upon when its wait is over", async () => {
  const backoff = { baseMs: 5000, capMs: 5000, resetAfterMs: 60_000, delayMs: 5000 };
  const { crash, pass, incidents, supervisor } = await agentOf([specOf({ name: "engine", backoff })]);
  const phases = () => {
    const { detectedWallMs = 0, decidedWallMs = 0, actedWallMs = 0 } = incidents.get("engine") ?? {};
    return { decided: Math.round(decidedWallMs - detectedWallMs), acted: Math.round(actedWallMs - detectedWallMs) };
  };
  await pass(60_000);
  await crash("engine");
  await pass(8000);
  // What is left of it is cleaned up at once, and that is the first deed; its start waits.
  expect(phases()).toEqual({ decided: 0, acted: 0 });
  // On probation, well for a while: a relapse is a failure of its own, and the ladder has to be asked.
  await pass(2000);
  await crash("engine");
  await pass(8000);
  expect(phases()).toEqual({ decided: 0, acted: 5000 });
  supervisor.close();
});

test("DOL-6 SYN-7 a start that waits for a place in its pool is no deed yet", async () => {
  const specs = ["a", "b"].map((name) => specOf({ name, pool: "one" }));
  const { crash, pass, toActMs, incidents, supervisor } = await agentOf(specs, { one: 1 });
  await pass(60_000);
  await crash("a", "b");
  await pass(10_000);
  // Both are cleaned up at once.
  expect([toActMs("a"), toActMs("b")]).toEqual([0, 0]);
  // The ladder has to be asked for the second time, so that cleaning up comes before the decision.
  await crash("a", "b");
  await pass(10_000);
  expect(["a", "b"].map((name) => incidents.get(name)?.failures)).toEqual([2, 2]);
  const [first = 0, second = 0] = [toActMs("a"), toActMs("b")].sort((a, b) => a - b);
  expect(second - first).toBeGreaterThanOrEqual(1000);
  supervisor.close();
});

/** Whose playbooks get no place before it is free. */
class FullPool extends FakeRemedies {
  free = false;
  override play(request: PlayRequest): Promise<RemedyResult> {
    if (this.free) return super.play(request);
    this.asked.push(`${request.workload} is turned away`);
    return Promise.resolve({ ok: false, because: "the pool recovery holds 4 and 16 wait", turnedAway: true });
  }
}

test("DOL-6 one slow dependency stopped thirty workloads at once: whose playbook had got no place was restarted as if it had failed", async () => {
  const specs = Array.from({ length: 30 }, (_, at) => specOf({ name: `w${at}` }));
  const remedies = new FullPool(specs);
  const { machine, pass, incidents, supervisor } = await agentOf(specs, {}, remedies);
  const about = { trigger: "high-latency", severity: "medium", playbook: "performance-optimization" } as const;
  const fire = (workload: string) =>
    supervisor.post(workload, {
      is: "symptom",
      symptom: { ...about, workload, because: "p95_latency_ms is 1500ms", sinceMs: 1_060_000 },
    });
  await pass(60_000);
  for (const { name } of specs) fire(name);
  // Longer than a playbook may take: none has begun.
  await pass(700_000);
  const pids = machine.alive().map(({ pid }) => pid);
  expect(pids).toHaveLength(30);
  expect(machine.all).toHaveLength(30);
  for (const facts of incidents.values()) {
    expect(facts).toMatchObject({ at: "recovering", needsPerson: false });
    expect(facts.actedWallMs).toBeUndefined();
  }
  remedies.free = true;
  await pass(1500);
  expect(remedies.asked.filter((one) => one.endsWith(" performance-optimization"))).toHaveLength(30);
  for (const { name } of specs) supervisor.post(name, { is: "cleared", trigger: about.trigger });
  await pass(100);
  expect([...incidents.values()].every(({ at, failures }) => at === "probation" && failures === 1)).toBe(true);
  expect(machine.all).toHaveLength(30);
  supervisor.close();
});
