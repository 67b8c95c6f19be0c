import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { seeded } from "@blueflame/shared/random/random.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { expect, onTestFinished, test } from "vitest";
import { FakeMachine } from "../../test/support/fake-process.ts";
import { FakeRemedies } from "../../test/support/fake-remedies.ts";
import { MemoryAgentStore, MemoryDisk } from "../../test/support/memory-agent-store.ts";
import { specOf } from "../../test/support/spec.ts";
import { Signs } from "../sensors/signs.driver.ts";
import { openAgentStore } from "../store/agent-store.ts";
import { realProcesses } from "./process.driver.ts";
import type { WorkloadSpec } from "./spec.ts";
import { type Event, instanceOf, type State } from "./state.ts";
import { type Supervisor, superviseAll } from "./supervisor.driver.ts";

const beat: Event = { is: "beat", ready: true, status: "" };
const probe = { name: "alive", use: "liveness", everyMs: 1000, timeoutMs: 500, failures: 1 } as const;

/** An agent on virtual time. Until `let` is called, what it asked for since `hold` is under way: a clean-up, or the examination. */
async function agentOf(spec: WorkloadSpec, slow: "clean" | "examine") {
  const time = new VirtualClock();
  const machine = new FakeMachine();
  const port = machine.attach();
  const remedies = new FakeRemedies([spec]);
  let held: Promise<void> | undefined;
  const late =
    <T extends readonly unknown[], R>(real: (...args: T) => Promise<R>) =>
    async (...args: T) => {
      await held;
      return real(...args);
    };
  if (slow === "clean") port.clean = late(port.clean.bind(port));
  else remedies.examine = late(remedies.examine.bind(remedies));
  const store = new MemoryAgentStore(new MemoryDisk(), () => port.die());
  const nobody = { watch: () => undefined, unwatch: () => undefined };
  const supervisor = await superviseAll({
    ...{ nodeId: "n1", site: "s", bootId: "b", specs: [spec], store, processes: port, signs: nobody, remedies },
    ...{ clock: time, random: seeded(1), envFor: () => ({}), changed: () => undefined, log: () => undefined },
  });
  onTestFinished(() => supervisor.close());
  await supervisor.boot();
  const pass = async (ms: number) => {
    for (let passed = 0; passed < ms; passed += 10) {
      time.advance(10);
      for (let n = 0; n < 3; n++) await new Promise(setImmediate);
    }
  };
  const post = (event: Event) => supervisor.post(spec.name, event);
  const crash = () => {
    for (const one of machine.alive(spec.name)) port.end(one, 1, null);
  };
  const phase = () => supervisor.state(spec.name).phase;
  const hold = () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    held = promise;
    return resolve;
  };
  return { supervisor, port, pass, post, crash, phase, hold };
}

for (const slow of ["clean", "examine"] as const)
  test(`a broken start was told as verified: the last beat of the process before it was read during a slow ${slow} and counted for it`, async () => {
    // Without a wait before the next start nothing that was queued is heard before it.
    const backoff = { baseMs: 0, capMs: 0, resetAfterMs: 10_000 };
    const { supervisor, pass, post, crash, phase, hold } = await agentOf(
      specOf({ beat: { timeoutMs: 4000 }, backoff }),
      slow,
    );
    await pass(100);
    post(beat);
    await pass(100);
    expect(phase().at).toBe("running");
    if (slow === "examine") crash(); // only a second failure within an incident is examined
    await pass(2000);
    if (slow === "examine") post(beat);
    await pass(100);
    expect(phase().at).toBe("running");
    const dead = instanceOf(phase())?.pid;

    const letGo = hold();
    crash();
    await pass(1000);
    post(beat);
    letGo();
    await pass(3000);
    const next = instanceOf(phase())?.pid;
    expect(next).toBeGreaterThan(dead ?? Number.NaN);
    expect(phase().at).toBe("starting");
    expect(supervisor.state("engine").incident?.recoveredWallMs).toBeUndefined();
    post(beat);
    await pass(10);
    expect(phase()).toMatchObject({ at: "running", instance: { pid: next } });
  });

test("a new process was ended for what was seen of the one before it: a probe's answer, a stop by a signal, a limit", async () => {
  const spec = specOf({
    beat: { timeoutMs: 60_000 },
    probes: [{ ...probe, ask: { by: "exec", command: ["x"], cwd: "/" } }],
  });
  const { supervisor, pass, post, crash, phase, hold } = await agentOf(spec, "clean");
  const well: Event = { is: "probed", probe: "alive", ok: true, because: "" };
  await pass(100);
  post(beat);
  post(well);
  await pass(100);
  expect(phase().at).toBe("running");

  const letGo = hold();
  crash();
  await pass(1000);
  post({ ...well, ok: false, because: "connection refused" });
  post(well);
  post({ is: "seen", stopped: true });
  post({ is: "unwell", symptom: "over_limit", because: "its memory" });
  letGo();
  await pass(1000);
  expect(supervisor.state("engine")).toMatchObject({ phase: { at: "starting" }, starts: 2, evidence: { probes: {} } });
  expect(supervisor.state("engine").evidence.stoppedSinceMs).toBeUndefined();
  post(beat);
  await pass(10);
  expect(phase().at).toBe("starting"); // its probe has not answered yet
  post(well);
  await pass(10);
  expect(phase().at).toBe("running");
});

test("a first beat that comes before its machine has heard of the start counts", async () => {
  const { port, pass, post, crash, phase } = await agentOf(specOf({ beat: { timeoutMs: 4000 } }), "clean");
  const spawn = port.spawn.bind(port);
  port.spawn = (request) => {
    const spawned = spawn(request);
    post(beat);
    return spawned;
  };
  await pass(100);
  post(beat);
  await pass(100);
  crash();
  await pass(500);
  expect(phase()).toMatchObject({ at: "running", instance: { pid: 101 } });
});

test("the last touch of a real process's beat file, seen while it is cleaned up after, says nothing of the next one", async () => {
  const clock = realClock();
  const dir = mkdtempSync(join(tmpdir(), "blueflame-last-beat-"));
  const file = join(dir, "beat");
  const beats = `while :; do touch ${file}; sleep 0.05; done`;
  const script = `if [ -e ran ]; then while [ ! -e go ]; do sleep 0.1; done; fi; touch ran; ${beats}`;
  const specs = [
    specOf({ cwd: dir, command: ["/bin/sh", "-c", script], beat: { timeoutMs: 4000, file }, startGraceMs: 60_000 }),
  ];
  const store = await openAgentStore(dir, { clock, random: Math.random, nodeId: "n1", bootId: "b" });
  const processes = realProcesses({ owner: store.identity.generation, logDir: join(dir, "logs"), clock });
  let supervisor: Supervisor | undefined;
  let looks = 0;
  const signs = new Signs({
    clock,
    random: Math.random,
    beat: (workload) => {
      looks += 1;
      supervisor?.post(workload, beat);
    },
    probed: () => undefined,
  });
  // A busy disk: the clean-up takes until the file has been looked at once more.
  const clean = processes.clean.bind(processes);
  let lastTouchSeen = false;
  processes.clean = async (spec, last) => {
    const before = looks;
    for (let tries = 0; last && looks === before && tries < 100; tries++) await pause(50);
    lastTouchSeen ||= last !== undefined && looks > before;
    return clean(spec, last);
  };
  supervisor = await superviseAll({
    ...{ nodeId: "n1", site: "s", bootId: "b", specs, store, processes, signs, remedies: new FakeRemedies(specs) },
    ...{ clock, random: Math.random, envFor: () => ({}), changed: () => undefined, log: () => undefined },
  });
  try {
    await supervisor.boot();
    const isUp = ({ phase }: State) => phase.at === "running";
    expect(await supervisor.until("engine", isUp, 60_000)).toBe(true);
    const first = instanceOf(supervisor.state("engine").phase)?.pid ?? 0;
    // Right after a look it still touches the file for a while, so that its last touch was not seen when it dies.
    for (const before = looks; looks === before; ) await pause(10);
    await pause(400);
    process.kill(first, "SIGKILL");
    await supervisor.until("engine", ({ phase }) => phase.at === "starting", 60_000);
    expect(lastTouchSeen).toBe(true);
    expect(await supervisor.until("engine", isUp, 2500)).toBe(false);
    expect(supervisor.state("engine")).toMatchObject({ phase: { at: "starting" }, starts: 2 });
    writeFileSync(join(dir, "go"), "");
    expect(await supervisor.until("engine", isUp, 60_000)).toBe(true);
    expect(supervisor.state("engine").starts).toBe(2);
  } finally {
    supervisor.close();
    signs.close();
    for (const name of (await processes.find()).keys()) await clean(specOf({ name }), undefined);
    await store.close();
    rmSync(dir, { recursive: true, force: true });
  }
});
