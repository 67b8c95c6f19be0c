/** What the recovery of a node hands to its memory, over a real store and real files. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openBareRecovery } from "../../test/support/bare-recovery.ts";
import { specOf } from "../../test/support/spec.ts";
import type { OpenedAgentStore } from "../store/agent-store.ts";
import type { IncidentFacts } from "../supervise/state.ts";
import type { Recovery } from "./recovery.driver.ts";

const hourMs = 3_600_000;

/** The real clock, of which hours can be skipped. */
class Skipping implements Clock {
  readonly #real = realClock();
  #skippedMs = 0;
  skip(ms: number): void {
    this.#skippedMs += ms;
  }
  monotonicMs = () => this.#real.monotonicMs() + this.#skippedMs;
  bootMs = () => this.#real.bootMs() + this.#skippedMs;
  wallMs = () => this.#real.wallMs() + this.#skippedMs;
  wakeAt: Clock["wakeAt"] = (atMs, wake) => this.#real.wakeAt(atMs - this.#skippedMs, wake);
}

let [dir, conf] = ["", ""];
let clock: Skipping;
let store: OpenedAgentStore;
let recovery: Recovery;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "bf-lessons-"));
  conf = join(dir, "engine.conf");
  writeFileSync(conf, "v0");
  const dataDir = join(dir, "data");
  mkdirSync(dataDir);
  clock = new Skipping();
  const engine = specOf({ name: "engine", cwd: dir, command: ["/bin/sleep", "600"], configFiles: [conf] });
  ({ store, recovery } = await openBareRecovery(dataDir, [engine], clock));
});
afterEach(async () => {
  await recovery.close();
  await store.close();
  rmSync(dir, { recursive: true, force: true });
});

/** It opens, and is closed in its second revision. */
function incident(workload: string, facts: Partial<IncidentFacts>): void {
  const [ms, wallMs] = [clock.monotonicMs(), clock.wallMs()];
  const phases = { detectedMs: ms, faultWallMs: wallMs, detectedWallMs: wallMs, failures: 1 };
  const opened = {
    revision: 1,
    at: "open",
    severity: "medium",
    needsPerson: false,
    attempts: [],
    timeline: [],
  } as const;
  const one = { symptom: "crash", summary: "exit code 1", ...opened, ...phases, ...facts } as IncidentFacts;
  recovery.incident(workload, one, undefined);
  recovery.incident(workload, { ...one, revision: 2, at: "closed" }, undefined);
}

test("PRA-14 nobody ever told the memory when a config had been changed: what fails after each change was no pattern", async () => {
  recovery.remedies.started("engine");
  await recovery.remedies.examine("engine");
  for (let n = 1; n <= 4; n++) {
    clock.skip((6 * n + n * n) * hourMs);
    writeFileSync(conf, `v${n}`);
    recovery.remedies.started("engine");
    await recovery.remedies.examine("engine");
    clock.skip(120_000);
    incident("engine", { id: `i${n}` });
  }
  const { suggestions } = await recovery.health();
  expect(suggestions.join()).toContain("changes of config");
});

test("GRC-5 a playbook of the node that failed ten times was trusted as on its first day, and so was the agent", async () => {
  const trust = () => recovery.playbooks().find(({ name }) => name === "resource-cleanup")?.trust ?? 1;
  const before = [trust(), (await recovery.health()).agentTrust];
  for (let n = 1; n <= 10; n++) {
    const attempt = { playbook: "resource-cleanup", because: "disk-full", ms: n, wallMs: n, ok: false, tookMs: 10 };
    incident("", { id: `n${n}`, symptom: "disk-full", trigger: "disk-full", attempts: [attempt] });
  }
  const { agentTrust, suggestions } = await recovery.health();
  expect(trust()).toBeLessThan((before[0] ?? 0) - 0.3);
  expect(agentTrust).toBeLessThan((before[1] ?? 0) - 0.3);
  expect(suggestions).toEqual([]); // a measure for a workload of no name helps nobody
});
