// A disk that hangs, refuses or fills up while workloads crash, on virtual time.
import { seeded } from "@blueflame/shared/random/random.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { afterEach, expect, test } from "vitest";
import { FakeMachine } from "../../test/support/fake-process.ts";
import { FakeRemedies } from "../../test/support/fake-remedies.ts";
import { RefusingDisk } from "../../test/support/refusing-disk.ts";
import { specOf } from "../../test/support/spec.ts";
import { noFacts } from "../diagnosis/facts.ts";
import type { StepWrite } from "../store/ports.ts";
import type { WorkloadSpec } from "./spec.ts";
import { type Supervisor, superviseAll } from "./supervisor.driver.ts";

const clock = new VirtualClock(1_000_000);
let supervisor: Supervisor;
afterEach(() => supervisor.close());

async function guard(disk: RefusingDisk, spec: WorkloadSpec): Promise<FakeMachine> {
  const machine = new FakeMachine();
  await life(disk, spec, machine);
  await supervisor.boot();
  await pass(2000);
  expect(supervisor.state(spec.name).phase.at).toBe("running");
  return machine;
}

/** One agent, which has not booted yet. */
async function life(disk: RefusingDisk, spec: WorkloadSpec, machine: FakeMachine): Promise<void> {
  supervisor = await superviseAll({
    nodeId: "n1",
    site: "s",
    bootId: "boot-1",
    specs: [spec],
    store: disk,
    processes: machine.attach(),
    signs: { watch: () => undefined, unwatch: () => undefined },
    remedies: restartsOnly(spec),
    clock,
    random: seeded(1),
    envFor: () => ({}),
    changed: () => undefined,
    log: () => undefined,
  });
}

async function pass(ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 50) {
    clock.advance(50);
    for (let n = 0; n < 6; n++) await new Promise((resolve) => setImmediate(resolve));
  }
}

/** It ends as if by itself, and nobody's exit event comes: adopted or not, the machine sees it. */
function crash(machine: FakeMachine): void {
  const [one] = machine.alive("engine");
  if (!one) throw new Error("nothing to crash");
  one.sight = "gone";
  supervisor.post("engine", { is: "exited", id: one.id, code: 1, signal: null });
}

/** Nothing but restarts can be done for it. */
const restartsOnly = (spec: WorkloadSpec) =>
  Object.assign(new FakeRemedies([spec]), { facts: { ...noFacts, bootstrapAllowed: false } });

test("PHX-5 a disk that hangs stops no healing, is told, and gets what happened when it answers", async () => {
  const disk = new RefusingDisk();
  const machine = await guard(disk, specOf());
  disk.silent = true;
  crash(machine);
  await pass(2000);
  expect(machine.alive("engine")).toHaveLength(1);
  expect(supervisor.trouble()).toContain("has not answered");
  const before = disk.writes.length;
  disk.answer();
  await pass(100);
  expect(disk.writes.slice(before).some(({ incident }) => incident?.symptom === "crash")).toBe(true);
  expect(supervisor.trouble()).toBeUndefined();
});

test("GRC-7 a person's stop on a disk that hangs takes effect and is answered with the fault, for it is not durable", async () => {
  const disk = new RefusingDisk();
  const machine = await guard(disk, specOf());
  disk.silent = true;
  const answer = supervisor.tell("engine", { is: "stop", who: "person:asha" }).catch((error: unknown) => error);
  await pass(6000);
  expect(await answer).toMatchObject({ code: "STORE_WRITE_FAILED" });
  expect(machine.alive("engine")).toEqual([]);
  disk.answer();
});

test("a disk that hangs for long is given a bounded number of writes, and in the end has the newest state", async () => {
  const disk = new RefusingDisk();
  const quick = { backoff: { baseMs: 10, capMs: 20, resetAfterMs: 1000 }, starts: { max: 1000, withinMs: 60_000 } };
  const machine = await guard(disk, specOf(quick));
  disk.silent = true;
  const before = disk.asked;
  for (let n = 0; n < 60; n++) {
    if (machine.alive("engine").length > 0) crash(machine);
    await pass(200);
  }
  expect(disk.asked - before).toBeLessThanOrEqual(51);
  disk.answer();
  await pass(5000);
  expect(disk.writes.at(-1)?.state).toMatchObject({ phase: { at: supervisor.state("engine").phase.at } });
});

test("a disk that stays full is tried once a second, however many steps it has refused", async () => {
  const disk = new RefusingDisk();
  const quick = { backoff: { baseMs: 10, capMs: 20, resetAfterMs: 1000 }, starts: { max: 1000, withinMs: 60_000 } };
  const machine = await guard(disk, specOf(quick));
  disk.refuses = true;
  for (let n = 0; n < 30; n++) {
    if (machine.alive("engine").length > 0) crash(machine);
    await pass(200);
  }
  await pass(3000);
  const before = disk.asked;
  await pass(10_000);
  expect(disk.asked - before).toBeLessThanOrEqual(11);
  disk.refuses = false;
  await pass(3000);
  expect(disk.writes.at(-1)?.state).toMatchObject({ phase: { at: "running" } });
});

test("SYN-7 what a workload is started and asked with is in no decision record: it may hold secrets, and records travel", async () => {
  const disk = new RefusingDisk();
  const ask = { by: "tcp", host: "127.0.0.1", port: 1, send: "AUTH s3cret-ask\r\n" } as const;
  const probe = { name: "ping", use: "readiness", everyMs: 1000, timeoutMs: 1000, failures: 2, ask } as const;
  const spec = specOf({ env: { PASSWORD: "s3cret-env" }, command: ["/bin/x", "--key=s3cret-arg"], probes: [probe] });
  await guard(disk, specOf());
  supervisor.close();
  const machine = new FakeMachine();
  supervisor = await superviseAll({
    ...{ nodeId: "n1", site: "s", bootId: "boot-1", specs: [spec], store: disk, processes: machine.attach() },
    signs: { watch: () => undefined, unwatch: () => undefined },
    remedies: restartsOnly(spec),
    ...{ clock, random: seeded(1), envFor: () => ({}), changed: () => undefined, log: () => undefined },
  });
  disk.writes.length = 0;
  await supervisor.boot();
  await pass(1000);
  expect(disk.writes.length).toBeGreaterThan(1);
  expect(disk.writes.map(({ decision }) => decision?.inputJson).join("\n")).not.toContain("s3cret");
});

test("CARD-4 what was started while the disk refused is adopted by the next agent: never a second copy, never another PID", async () => {
  const disk = new RefusingDisk();
  const states = new Map<string, unknown>();
  const keep = disk.saveStep;
  const remembering = Object.assign(disk, {
    workloads: () => Promise.resolve([...states].map(([name, state]) => ({ name, state }))),
    saveStep: async (write: StepWrite) => {
      await keep(write);
      states.set(write.workload, write.state);
    },
  });
  const spec = specOf({
    starts: { max: 1, withinMs: 60_000 },
    backoff: { baseMs: 10, capMs: 900, resetAfterMs: 1000 },
  });
  const machine = await guard(remembering, spec);
  crash(machine);
  await pass(200);
  crash(machine);
  await pass(100);
  expect(states.get("engine")).toMatchObject({ phase: { at: "backoff" } });
  disk.refuses = true;
  await pass(2500);
  const [living] = machine.alive("engine");
  supervisor.close();
  supervisor = await superviseAll({
    ...{ nodeId: "n1", site: "s", bootId: "boot-1", specs: [spec], store: remembering, processes: machine.attach() },
    signs: { watch: () => undefined, unwatch: () => undefined },
    remedies: restartsOnly(spec),
    ...{ clock, random: seeded(1), envFor: () => ({}), changed: () => undefined, log: () => undefined },
  });
  await supervisor.boot();
  await pass(3000);
  expect(living).toBeDefined();
  expect(machine.alive("engine")).toEqual([living]);
  expect(supervisor.state("engine").phase).toMatchObject({ at: "running", instance: { pid: living?.pid } });
});

test("a beat that came just before its workload was adopted, while the disk was slow, kept the agent from seeing it end", async () => {
  const disk = new RefusingDisk();
  const spec = specOf({ beat: { timeoutMs: 600_000 } });
  const machine = new FakeMachine();
  await life(disk, spec, machine);
  await supervisor.boot();
  await pass(500);
  expect(supervisor.state("engine").phase.at).toBe("starting");
  supervisor.close();
  await life(disk, spec, machine);
  disk.silent = true;
  supervisor.post("engine", { is: "beat", ready: true, status: "" });
  await supervisor.boot();
  await pass(2000);
  disk.answer();
  const [adopted] = machine.alive("engine");
  expect(supervisor.status("engine")).toMatchObject({ pid: adopted?.pid, adopted: true });
  if (adopted) adopted.sight = "gone"; // nobody is told of it
  await pass(2000);
  expect(machine.alive("engine")).toHaveLength(1);
});

/** It crashes, comes back, and is well: at the end of it only the probation is left. */
async function onProbation(disk: RefusingDisk, over: Partial<WorkloadSpec> = {}): Promise<FakeMachine> {
  const machine = await guard(disk, specOf({ probationMs: 5000, ...over }));
  crash(machine);
  await pass(2000);
  expect(supervisor.state("engine").incident?.at).toBe("probation");
  return machine;
}
/** Of no incident an older revision was written behind a newer one. */
function neverBack(disk: RefusingDisk): void {
  const newest = new Map<string, bigint>();
  for (const { id, revision } of disk.revisions()) {
    expect(revision, id).toBeGreaterThan(newest.get(id) ?? 0n);
    newest.set(id, revision);
  }
}

test("PHX-11 one refused second at the end of a probation left the incident open for ever", async () => {
  const disk = new RefusingDisk();
  await onProbation(disk);
  disk.refuses = true;
  while (supervisor.state("engine").incident) await pass(50);
  disk.refuses = false;
  expect(disk.open()).toHaveLength(1);
  await pass(2000);
  expect(disk.open()).toEqual([]);
  expect(disk.writes.at(-1)?.state).not.toHaveProperty("incident");
  neverBack(disk);
});

test("PHX-11 an incident that was closed while the disk was silent, and held too many writes, stayed open for ever", async () => {
  const disk = new RefusingDisk();
  const quick = { backoff: { baseMs: 10, capMs: 20, resetAfterMs: 1000 }, starts: { max: 1000, withinMs: 600_000 } };
  const machine = await onProbation(disk, quick);
  disk.silent = true;
  for (let n = 0; n < 60; n++) {
    if (machine.alive("engine").length > 0) crash(machine);
    await pass(200);
  }
  while (supervisor.state("engine").incident) await pass(1000);
  disk.answer();
  await pass(2000);
  expect(disk.open()).toEqual([]);
  neverBack(disk);
  const [hole, ...more] = disk.holes();
  expect(hole?.missing.decisions).toBeGreaterThan(0);
  expect(more).toEqual([]);
});

test("PHX-11 SYN-10 what a disk did not take while the agent ran left a hole in the audit that nobody named", async () => {
  const disk = new RefusingDisk();
  const machine = await guard(disk, specOf());
  disk.refuses = true;
  const since = new Date(clock.wallMs()).toISOString();
  const before = disk.asked;
  crash(machine);
  await pass(500);
  const refused = disk.asked - before;
  expect(refused).toBeGreaterThan(2);
  await pass(3000);
  disk.refuses = false;
  await pass(3000);
  const [hole, ...more] = disk.holes();
  expect(more).toEqual([]);
  expect(hole?.because).toContain(`since ${since} until `);
  expect(hole?.missing).toMatchObject({ decisions: expect.any(Number), incidents: 0 });
  expect(hole?.missing.decisions).toBeGreaterThanOrEqual(refused);
  expect(hole?.missing.audit).toBeGreaterThan(0);
});

test("PHX-11 what is written first behind a hole names it, also before the agent tries again by itself", async () => {
  const disk = new RefusingDisk();
  const machine = await guard(disk, specOf());
  disk.refuses = true;
  crash(machine);
  await pass(100);
  disk.refuses = false;
  const at = disk.writes.length;
  await supervisor.tell("engine", { is: "stop", who: "person:asha" });
  expect(disk.writes[at]?.audit?.[0]?.action).toBe("store.writes_again");
});

test("PHX-11 each incident that began and ended while the disk refused is in the store afterwards", async () => {
  const disk = new RefusingDisk();
  const machine = await guard(disk, specOf({ probationMs: 1000 }));
  disk.refuses = true;
  for (let n = 0; n < 3; n++) {
    crash(machine);
    await pass(500);
    while (supervisor.state("engine").incident) await pass(500);
  }
  disk.refuses = false;
  await pass(2000);
  expect(new Set(disk.revisions().map(({ id }) => id)).size).toBe(3);
  expect(disk.open()).toEqual([]);
});
