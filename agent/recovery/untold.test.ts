// The agent dies between "the step is saved" and "people are told": the next one tells it, once.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import pino from "pino";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { bundled } from "../../test/support/bundle.ts";
import { Untold, type UntoldAlert } from "../records/untold.ts";
import { openAgentStore } from "../store/agent-store.ts";
import { Voice } from "./voice.driver.ts";

const clock = realClock();
let program: string;
let dir: string;

beforeAll(async () => {
  program = await bundled("test/support/untold-run.main.ts");
});
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-untold-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** An agent whose workload fails, and that is killed at the moment at which people would hear of it. */
function killedBeforeTelling(): void {
  const { signal, stderr } = spawnSync(process.execPath, [program, dir], { encoding: "utf8", timeout: 60_000 });
  expect(signal, stderr).toBe("SIGKILL");
  expect(alerts()).toEqual([]);
}
/** The next agent: it tells what was left, and leaves. Answers with what it has still to tell. */
async function nextAgent(pager: readonly string[] = []): Promise<readonly UntoldAlert[]> {
  const store = await openAgentStore(dir, { clock, random: Math.random, nodeId: "n1", bootId: "boot-1" });
  const untold = new Untold(((await store.memory("alerts")) as UntoldAlert[] | undefined) ?? []);
  const log = pino({ enabled: false });
  const voice = new Voice({ dataDir: dir, pager, store, untold, clock, random: Math.random, log });
  voice.catchUp();
  await voice.close();
  await store.close();
  return untold.all();
}
function alerts(): { kind: string; workload: string; because: string; incidentId: string }[] {
  try {
    const files = readdirSync(join(dir, "alerts"));
    return files.map((file) => JSON.parse(readFileSync(join(dir, "alerts", file), "utf8")));
  } catch {
    return [];
  }
}

test("GRC-8 an agent that is killed after it wrote an incident down and before it told anybody leaves the alert to the next one, which tells it once", async () => {
  killedBeforeTelling();
  expect(await nextAgent()).toEqual([]);
  const once = alerts();
  expect(once).toMatchObject([
    { kind: "opened", workload: "migration", because: expect.stringMatching(/^crash: .*runs once/) },
  ]);
  // And the one after that has nothing left to tell.
  expect(await nextAgent()).toEqual([]);
  expect(alerts()).toEqual(once);
});

test("GRC-8 an alert that was written but not crossed off is the same file, told again", async () => {
  const alert: UntoldAlert = {
    kind: "needs_person",
    severity: "critical",
    page: true,
    because: "a person is needed",
    workload: "engine",
    incidentId: "0190-abcdef",
    revision: 7,
    wallMs: clock.wallMs(),
  };
  for (let life = 0; life < 2; life++) {
    const store = await openAgentStore(dir, { clock, random: Math.random, nodeId: "n1", bootId: "boot-1" });
    await store.saveStep({ workload: "", untold: [alert] }, "synced");
    await store.close();
    expect(await nextAgent()).toEqual([]);
  }
  expect(alerts()).toMatchObject([{ kind: "needs_person", incidentId: "0190-abcdef" }]);
});
