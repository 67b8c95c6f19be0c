import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { IncidentState } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { FakeRemedies } from "../../test/support/fake-remedies.ts";
import { specOf } from "../../test/support/spec.ts";
import { noFacts } from "../diagnosis/facts.ts";
import { type OpenedAgentStore, openAgentStore } from "../store/agent-store.ts";
import { Families } from "./family.driver.ts";
import { step } from "./machine.ts";
import { procStat } from "./proc.driver.ts";
import { realProcesses } from "./process.driver.ts";
import type { ProcessPort } from "./process.ts";
import type { WorkloadSpec } from "./spec.ts";
import { type Event, instanceOf, type State } from "./state.ts";
import { type Supervisor, superviseAll } from "./supervisor.driver.ts";

const clock = realClock();
let dir: string;
let store: OpenedAgentStore;
let processes: ProcessPort;
let supervisor: Supervisor;
let specs: WorkloadSpec[];
const told: [workload: string, at: string][] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "blueflame-supervisor-"));
});
afterEach(async () => {
  await supervisor.close();
  for (const name of (await processes.find()).keys()) await processes.clean(specOf({ name }));
  const { generation } = store.identity;
  await store.close();
  new Families(generation).dismiss();
  rmSync(dir, { recursive: true, force: true });
});

/** One life of the agent. */
async function life(
  bootId = "boot-1",
  bend: (real: ProcessPort) => void = () => undefined,
  remedies = new FakeRemedies(specs),
): Promise<void> {
  store = await openAgentStore(dir, { clock, random: Math.random, nodeId: "n1", bootId });
  processes = realProcesses({ owner: store.identity.generation, logDir: join(dir, "logs"), clock });
  bend(processes);
  supervisor = await superviseAll({
    nodeId: "n1",
    site: "s",
    bootId,
    specs,
    store,
    processes,
    signs: { watch: () => undefined, unwatch: () => undefined },
    remedies,
    clock,
    random: Math.random,
    envFor: () => ({}),
    incident: (name, facts) => told.push([name, facts.at]),
    changed: () => undefined,
    log: () => undefined,
  });
  await supervisor.boot();
}

/** The agent dies: no goodbye, nothing written any more. */
async function death(): Promise<void> {
  supervisor.close();
  await store.close();
}

function sleeper(name: string, over: Partial<WorkloadSpec> = {}): WorkloadSpec {
  return specOf({
    name,
    cwd: dir,
    command: ["/bin/sh", "-c", `echo start >> ${name}.starts; exec sleep 600`],
    ...over,
  });
}
const starts = (name: string) =>
  readFileSync(join(dir, `${name}.starts`), "utf8")
    .trim()
    .split("\n").length;
const pidOf = (name: string) => instanceOf(supervisor.state(name).phase)?.pid ?? 0;
const runs = async (name: string) =>
  expect(await supervisor.until(name, (state) => state.phase.at === "running", 60_000)).toBe(true);

async function until(holds: () => boolean): Promise<void> {
  for (let n = 0; n < 1000 && !holds(); n++) await pause(10);
  expect(holds()).toBe(true);
}

test("PHX-5 a killed workload is back with the same spec, verified, and its incident says why", async () => {
  specs = [sleeper("engine")];
  await life();
  await runs("engine");
  const first = pidOf("engine");
  process.kill(first, "SIGKILL");
  await until(() => pidOf("engine") !== first && supervisor.state("engine").phase.at === "running");
  let incident: Awaited<ReturnType<typeof store.incidents>>[number] | undefined;
  // A disk that is slow to answer holds no healing up, and so it may hear of it a little later.
  for (let n = 0; n < 600 && (incident?.timeline.length ?? 0) < 4; n++) {
    [incident] = await store.incidents(10, false);
    await pause(50);
  }
  expect(incident).toMatchObject({ symptom: "crash", workload: "engine", summary: "ended by SIGKILL" });
  expect(incident?.timeline.map((entry) => entry.what)).toEqual(["symptom", "decision", "remedy", "verification"]);
  expect((await store.audit(50)).map((record) => record.action)).toEqual(
    expect.arrayContaining(["workload.spawn", "workload.crash"]),
  );
});

test("CARD-4 an agent that dies leaves its workloads alone, and the next one adopts them and starts no second copy", async () => {
  specs = [sleeper("one"), sleeper("two")];
  await life();
  await runs("one");
  await runs("two");
  const pids = [pidOf("one"), pidOf("two")];
  for (let round = 0; round < 3; round++) {
    await death();
    await pause(50);
    expect(pids.every((pid) => procStat(pid)?.state === "S")).toBe(true);
    await life();
    await runs("one");
    await runs("two");
    expect([pidOf("one"), pidOf("two")]).toEqual(pids);
  }
  expect([starts("one"), starts("two")]).toEqual([1, 1]);
  process.kill(pidOf("one"), "SIGKILL");
  await until(() => starts("one") === 2);
  expect(pidOf("two")).toBe(pids[1]);
});

test("what crashed while no agent was there is started by the next one", async () => {
  specs = [sleeper("engine")];
  await life();
  await runs("engine");
  const pid = pidOf("engine");
  await death();
  process.kill(pid, "SIGKILL");
  await life();
  await runs("engine");
  expect(pidOf("engine")).not.toBe(pid);
  expect((await store.incidents(10, false))[0]?.summary).toContain("while no agent was there");
});

test("CARD-4 what crashed while no agent was there is started although a set-sid grandchild of it lives on and carries its marker", async () => {
  const script = "echo start >> engine.starts; setsid sleep 600 & exec sleep 600";
  specs = [sleeper("engine", { command: ["/bin/sh", "-c", script] })];
  await life();
  await runs("engine");
  const pid = pidOf("engine");
  await death();
  process.kill(pid, "SIGKILL");
  // A kill is not a death yet; what is left then is the grandchild.
  await expect.poll(async () => (await processes.find()).get("engine"), { timeout: 10_000 }).toHaveLength(1);
  await life();
  await runs("engine");
  expect(starts("engine")).toBe(2);
  expect((await processes.find()).get("engine")).toContainEqual(expect.objectContaining({ pid: pidOf("engine") }));
});

test("what was adopted and crashes while no agent is there is started once by the next one, not killed and started again", async () => {
  specs = [sleeper("engine")];
  await life();
  await runs("engine");
  const pid = pidOf("engine");
  await death();
  await life();
  await death();
  process.kill(pid, "SIGKILL");
  await life();
  await runs("engine");
  await pause(300);
  expect(starts("engine")).toBe(2);
  expect((await store.incidents(10, false))[0]?.timeline.map(({ what }) => what)).not.toContain("relapse");
});

test("CARD-4 a workload that left the config and cannot be ended delays neither a crash nor a start for long", async () => {
  specs = [sleeper("keep"), sleeper("stuck")];
  await life();
  await runs("keep");
  await runs("stuck");
  const pid = pidOf("keep");
  await death();
  specs = [sleeper("keep"), sleeper("fresh")];
  let healedMeanwhile = false;
  await life("boot-1", (real) => {
    const clean = real.clean.bind(real);
    real.clean = async (spec, last) => {
      if (spec.name === "stuck") {
        process.kill(pid, "SIGKILL");
        for (let n = 0; n < 1000 && starts("keep") < 2; n++) await pause(10);
        healedMeanwhile = starts("keep") === 2;
      }
      return clean(spec, last);
    };
  });
  await runs("fresh");
  expect(healedMeanwhile).toBe(true);
});

test("a workload that runs on although the config changed says so, until it is restarted", async () => {
  specs = [sleeper("engine")];
  await life();
  await runs("engine");
  const pid = pidOf("engine");
  await death();
  await life();
  expect(supervisor.status("engine").because).not.toContain("earlier config");
  await death();
  specs = [sleeper("engine", { env: { LEVEL: "2" } })];
  await life();
  expect(pidOf("engine")).toBe(pid);
  expect(supervisor.status("engine").because).toContain("earlier config");
  await supervisor.tell("engine", { is: "restart", who: "person:asha" });
  await until(() => pidOf("engine") !== pid && pidOf("engine") !== 0);
  expect(supervisor.status("engine").because).not.toContain("earlier config");
});

test("GRC-7 a stop by a person survives the agent's death and a reboot", async () => {
  specs = [sleeper("engine")];
  await life();
  await runs("engine");
  await supervisor.tell("engine", { is: "stop", who: "person:asha" });
  await supervisor.until("engine", (state) => state.phase.at === "stopped", 60_000);
  for (const boot of ["boot-1", "boot-2"]) {
    await death();
    await life(boot);
    await pause(200);
    expect(supervisor.state("engine").phase.at).toBe("stopped");
  }
  expect(starts("engine")).toBe(1);
});

test("GRC-10 CARD-4 after a reboot without any hub everything is back", async () => {
  specs = [sleeper("db"), sleeper("app", { dependsOn: ["db"] })];
  await life();
  await runs("app");
  const pids = [pidOf("db"), pidOf("app")];
  await death();
  for (const pid of pids) process.kill(pid, "SIGKILL");
  await life("boot-2");
  await runs("app");
  expect([starts("db"), starts("app")]).toEqual([2, 2]);
  expect(await store.incidents(10, true)).toEqual([]);
});

test("a workload that left the config is ended and forgotten", async () => {
  specs = [sleeper("keep"), sleeper("gone")];
  await life();
  await runs("keep");
  await runs("gone");
  const pid = pidOf("gone");
  await death();
  specs = [sleeper("keep")];
  await life();
  await until(() => procStat(pid) === undefined || procStat(pid)?.state === "Z");
  expect((await store.workloads()).map((one) => one.name)).toEqual(["keep"]);
  expect(existsSync(join(dir, "keep.starts"))).toBe(true);
});

test("PHX-3 a workload without beats or probes that a signal stopped is found and healed", async () => {
  specs = [sleeper("engine")];
  await life();
  await runs("engine");
  const pid = pidOf("engine");
  process.kill(pid, "SIGSTOP");
  await until(() => pidOf("engine") !== pid && supervisor.state("engine").phase.at === "running");
  expect((await store.incidents(1, false))[0]?.symptom).toBe("frozen");
});

test("PHX-11 every decision of a run, replayed from the store, gives the same state and effects", async () => {
  specs = [
    sleeper("engine"),
    specOf({
      name: "broken",
      command: ["/bin/false"],
      cwd: dir,
      backoff: { baseMs: 10, capMs: 50, resetAfterMs: 1000 },
    }),
  ];
  await life();
  await runs("engine");
  const pid = pidOf("engine");
  process.kill(pid, "SIGKILL");
  await until(() => pidOf("engine") !== pid && supervisor.state("engine").phase.at === "running");
  await expect.poll(async () => (await store.decisions(500)).length, { timeout: 60_000 }).toBeGreaterThan(20);
  await supervisor.tell("engine", { is: "stop", who: "person:asha" });
  const records = await store.decisions(500);
  for (const record of records) {
    const input = JSON.parse(record.inputJson) as {
      policy: WorkloadSpec;
      state: State;
      event: Event;
      now: { ms: number; wallMs: number; id: string };
    };
    expect(JSON.stringify(step(input.policy, input.state, input.event, input.now))).toBe(record.outputJson);
  }
});

test("a workload that is removed from the config leaves no incident open: it is closed with that reason, and told", async () => {
  specs = [sleeper("engine"), specOf({ name: "broken", cwd: dir, command: ["/bin/sh", "-c", "exit 3"] })];
  await life();
  await runs("engine");
  await until(() => (supervisor.state("broken").incident?.failures ?? 0) > 1);
  const id = supervisor.state("broken").incident?.id ?? "";
  await death();
  specs = [sleeper("engine")];
  await life();
  expect(await store.incidents(10, true)).toEqual([]);
  const [closed] = await store.incidents(10, false);
  expect(closed).toMatchObject({ id, workload: "broken", state: IncidentState.CLOSED, needsPerson: false });
  expect(closed?.timeline.at(-1)?.because).toBe("it is no longer in the config");
  expect(told).toContainEqual(["broken", "closed"]);
  expect(supervisor.names()).toEqual(["engine"]);
  // It comes back into the config: nothing is left of that.
  await death();
  specs = [sleeper("engine"), sleeper("broken")];
  await life();
  await runs("broken");
  expect(supervisor.state("broken").incident).toBeUndefined();
});

test("SYN-4 a service that waits for its database starts as soon as that is well, and not minutes later by its slow retry", async () => {
  const shell = (line: string) => ["/bin/sh", "-c", `${line}; exec sleep 600`] as const;
  specs = [
    specOf({
      name: "db",
      cwd: dir,
      command: shell("test -e db.ok || exit 1; touch db.up"),
      backoff: { baseMs: 50, capMs: 400, resetAfterMs: 10_000 },
    }),
    specOf({
      name: "api",
      cwd: dir,
      command: shell("test -e db.up || exit 1"),
      dependsOn: ["db"],
      backoff: { baseMs: 50, capMs: 600_000, resetAfterMs: 10_000 },
    }),
  ];
  const remedies = new FakeRemedies(specs);
  remedies.answers.set("dependency_restart", { ok: false, because: "db, on which it depends, did not get well" });
  remedies.examine = async (name) => ({ ...noFacts, dependencies: supervisor.needs(name) });
  await life("boot-1", undefined, remedies);
  const waits = ({ phase }: State) => phase.at === "backoff" && phase.waitsFor === "db";
  expect(await supervisor.until("api", waits, 20_000)).toBe(true);
  writeFileSync(join(dir, "db.ok"), "");
  expect(await supervisor.until("api", ({ phase }) => phase.at === "running", 60_000)).toBe(true);
  expect(supervisor.state("api").incident).toMatchObject({ at: "probation", needsPerson: false });
});

test("DOL-9 a disk that hangs while a workload that left the config is written off keeps nobody else from starting", async () => {
  specs = [specOf({ name: "broken", cwd: dir, command: ["/bin/sh", "-c", "exit 3"] })];
  await life();
  await until(() => (supervisor.state("broken").incident?.failures ?? 0) > 1);
  await death();
  specs = [sleeper("fresh")];
  await life("boot-1", () => {
    const real = store.saveStep.bind(store);
    store.saveStep = (write, how) => (write.workload === "broken" ? new Promise(() => undefined) : real(write, how));
  });
  await runs("fresh");
});

test("SYN-4 what cannot be started, beside a dependency that is up and being treated, is tried slowly and not as fast as the machine can", async () => {
  specs = [sleeper("disk"), sleeper("db", { dependsOn: ["disk"] })];
  const remedies = new FakeRemedies(specs);
  remedies.facts = { ...noFacts, dependencies: [{ name: "disk", stands: "recovering" }] };
  let broken = false;
  let tried = 0;
  const bend = (real: ProcessPort) => {
    const spawn = real.spawn.bind(real);
    real.spawn = (request) => {
      if (!broken || request.spec.name !== "db") return spawn(request);
      tried++;
      return { failed: "EAGAIN" };
    };
  };
  await life("boot-1", bend, remedies);
  await runs("db");
  const asks = { trigger: "high-latency", severity: "medium", playbook: "performance-optimization" } as const;
  const symptom = { ...asks, workload: "disk", because: "2450 ms", sinceMs: clock.monotonicMs() };
  supervisor.post("disk", { is: "symptom", symptom });
  await pause(200);
  broken = true;
  process.kill(pidOf("db"), "SIGKILL");
  await pause(3000);
  expect(tried).toBeGreaterThan(0);
  expect(tried).toBeLessThan(10);
});
