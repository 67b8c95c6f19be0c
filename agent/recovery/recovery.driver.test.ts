import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openBareRecovery } from "../../test/support/bare-recovery.ts";
import { specOf } from "../../test/support/spec.ts";
import type { OpenedAgentStore } from "../store/agent-store.ts";
import { realProcesses } from "../supervise/process.driver.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import { type Supervisor, superviseAll } from "../supervise/supervisor.driver.ts";
import type { Recovery } from "./recovery.driver.ts";

const clock = realClock();
let dir: string;
let dataDir: string;
let store: OpenedAgentStore;
let recovery: Recovery;
let supervisor: Supervisor | undefined;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-recovery-"));
  dataDir = join(dir, "data");
  mkdirSync(dataDir);
});
afterEach(async () => {
  await leave();
  rmSync(dir, { recursive: true, force: true });
});

async function open(specs: readonly WorkloadSpec[]): Promise<void> {
  ({ store, recovery } = await openBareRecovery(dataDir, specs, clock));
}
async function leave(): Promise<void> {
  supervisor?.close();
  supervisor = undefined;
  await recovery.close();
  await store.close();
}

test("SYN-6 what runs an older version is shown as rolled back after a restart of the agent too, though the kill switch starts nothing", async () => {
  const conf = join(dir, "engine.conf");
  writeFileSync(conf, "good");
  const specs = [specOf({ name: "engine", cwd: dir, command: ["/bin/sleep", "600"], configFiles: [conf] })];
  await open(specs);
  recovery.remedies.started("engine");
  recovery.remedies.healthy("engine");
  for (let n = 0; n < 1500 && !JSON.stringify(await store.configVersions("engine")).includes("healthy"); n++)
    await pause(20);
  writeFileSync(conf, "bad");
  await recovery.remedies.examine("engine");
  const id = "i1/config_rollback/1";
  const asked = { id, workload: "engine", rung: "config_rollback", incidentId: "i1", budgetMs: 20_000 } as const;
  expect(await recovery.remedies.prepare(asked)).toMatchObject({
    ok: true,
    because: expect.stringContaining("rolled"),
  });
  expect(readFileSync(conf, "utf8")).toBe("good");
  await leave();

  await open(specs);
  supervisor = await superviseAll({
    nodeId: "n1",
    site: "s",
    bootId: "boot-1",
    specs,
    store,
    processes: realProcesses({ owner: store.identity.generation, logDir: join(dataDir, "logs"), clock }),
    signs: { watch: () => undefined, unwatch: () => undefined },
    remedies: recovery.remedies,
    held: true,
    clock,
    random: Math.random,
    envFor: () => ({}),
    known: (workload) => recovery.known(workload),
    changed: () => undefined,
    log: () => undefined,
  });
  await supervisor.boot();
  recovery.begin(supervisor);
  for (let n = 0; n < 1500 && !supervisor.status("engine").rolledBack; n++) await pause(20);
  expect(supervisor.status("engine")).toMatchObject({ pid: 0, rolledBack: true });
});
