/** The kill switch over real processes, as a running agent turns it. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { FakeRemedies } from "../../test/support/fake-remedies.ts";
import { specOf } from "../../test/support/spec.ts";
import { type OpenedAgentStore, openAgentStore } from "../store/agent-store.ts";
import { Families } from "../supervise/family.driver.ts";
import { realProcesses } from "../supervise/process.driver.ts";
import type { ProcessPort } from "../supervise/process.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import { type Supervisor, superviseAll } from "../supervise/supervisor.driver.ts";
import { KillSwitch, Turner } from "./kill-switch.driver.ts";

const clock = realClock();
const asha = { person: "asha", reason: "fire", at: "2026-11-26T00:00:00Z" };
let dir: string;
let store: OpenedAgentStore;
let processes: ProcessPort;
let supervisor: Supervisor;
let killSwitch: KillSwitch;
let turner: Turner;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "blueflame-kill-switch-"));
});
afterEach(async () => {
  turner.begun();
  supervisor.close();
  for (const name of (await processes.find()).keys()) await processes.clean(specOf({ name }));
  const { generation } = store.identity;
  await store.close();
  new Families(generation).dismiss();
  rmSync(dir, { recursive: true, force: true });
});

/** An agent whose door is open, and that has not booted yet. */
async function agent(specs: readonly WorkloadSpec[]): Promise<void> {
  store = await openAgentStore(dir, { clock, random: Math.random, nodeId: "n1", bootId: "boot-1" });
  processes = realProcesses({ owner: store.identity.generation, logDir: join(dir, "logs"), clock });
  killSwitch = new KillSwitch(dir);
  turner = new Turner(killSwitch);
  supervisor = await superviseAll({
    nodeId: "n1",
    site: "s",
    bootId: "boot-1",
    specs,
    store,
    processes,
    signs: { watch: () => undefined, unwatch: () => undefined },
    remedies: new FakeRemedies([...specs]),
    held: killSwitch.isOn(),
    clock,
    random: Math.random,
    envFor: () => ({}),
    changed: () => undefined,
    log: () => undefined,
  });
  turner.over(supervisor);
}

/** Writes down when it starts; `before` runs first. */
function sleeper(name: string, over: Partial<WorkloadSpec> = {}): WorkloadSpec {
  const command = ["/bin/sh", "-c", `echo ${name} >> starts; exec sleep 600`] as const;
  return specOf({ name, cwd: dir, command, ...over });
}
const starts = () =>
  existsSync(join(dir, "starts")) ? readFileSync(join(dir, "starts"), "utf8").trim().split("\n") : [];
const at = (name: string) => supervisor.state(name).phase.at;
const runs = (name: string) => supervisor.until(name, ({ phase }) => phase.at === "running", 10_000);
async function boot(): Promise<void> {
  await supervisor.boot();
  turner.begun();
}

test("GRC-7 the kill switch turned before the agent has booted is durable at once, and nothing is started", async () => {
  await agent([sleeper("api", { dependsOn: ["db"] }), sleeper("db")]);
  const turned = turner.turn(true, asha);
  expect(killSwitch.killed()).toEqual(asha);
  await boot();
  expect(await turned).toBe(0);
  expect([at("db"), at("api"), starts()]).toEqual(["stopped", "stopped", []]);
});

test("GRC-7 off again, each starts after what it depends on is ready, as at boot", async () => {
  await agent([sleeper("api", { dependsOn: ["db"] }), sleeper("db")]);
  await boot();
  await runs("api");
  expect(await turner.turn(true, asha)).toBe(2);
  expect(await turner.turn(false, asha)).toBe(2);
  expect([at("db") === "running", at("api")]).toEqual([false, "waiting"]);
  await runs("db");
  await runs("api");
  expect(starts()).toEqual(["db", "api", "db", "api"]);
  const ready = (name: string) => {
    const { phase } = supervisor.state(name);
    return phase.at === "running" ? { sinceMs: phase.instance.sinceMs, readyMs: phase.readySinceMs } : undefined;
  };
  expect(ready("api")?.sinceMs).toBeGreaterThanOrEqual(ready("db")?.readyMs ?? Number.POSITIVE_INFINITY);
});

test("GRC-7 switched off before an early hold or the boot is through: the last word counts, and each is started once", async () => {
  await agent([sleeper("api", { dependsOn: ["db"] }), sleeper("db")]);
  const turns = [turner.turn(true, asha), turner.turn(false, asha)];
  expect(killSwitch.isOn()).toBe(false);
  await boot();
  await Promise.all(turns);
  await runs("db");
  await runs("api");
  expect(starts()).toEqual(["db", "api"]);
});

test("GRC-7 switched on while it lets go: the last word counts, and everything is down", async () => {
  await agent([sleeper("api", { dependsOn: ["db"] }), sleeper("db")]);
  await boot();
  await runs("api");
  await turner.turn(true, asha);
  await Promise.all([turner.turn(false, asha), turner.turn(true, asha)]);
  expect([at("db"), at("api")]).toEqual(["stopped", "stopped"]);
  // A workload that was told to wait is not started by what it waited for.
  await supervisor.until("api", ({ phase }) => phase.at !== "stopped", 1500);
  expect(at("api")).toBe("stopped");
});

test("GRC-7 turned in its file only, after the agent has read it and before its door is open: on, nothing is started; off, everything", async () => {
  await agent([sleeper("api", { dependsOn: ["db"] }), sleeper("db")]);
  killSwitch.turnOn(asha);
  expect([turner.heed(), starts()]).toEqual([true, []]);
  await boot();
  await supervisor.until("db", ({ phase }) => phase.at === "stopped", 10_000);
  await supervisor.until("api", ({ phase }) => phase.at !== "stopped", 500);
  expect([at("db"), at("api"), starts()]).toEqual(["stopped", "stopped", []]);
  killSwitch.turnOff();
  expect(turner.heed()).toBe(true);
  await runs("api");
  expect(starts()).toEqual(["db", "api"]);
  expect(turner.heed()).toBe(false);
});

test("GRC-7 turned on in its file only, beside an agent that nobody could ask: everything is stopped once it looks", async () => {
  await agent([sleeper("api", { dependsOn: ["db"] }), sleeper("db")]);
  await boot();
  await runs("api");
  expect(turner.heed()).toBe(false);
  killSwitch.turnOn(asha);
  expect(turner.heed()).toBe(true);
  for (const name of ["db", "api"]) await supervisor.until(name, ({ phase }) => phase.at === "stopped", 10_000);
  expect([at("db"), at("api"), starts()]).toEqual(["stopped", "stopped", ["db", "api"]]);
});
