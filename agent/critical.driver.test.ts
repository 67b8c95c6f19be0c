import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { shedsEnvironment } from "../test/support/shed-environment.ts";
import { specOf } from "../test/support/spec.ts";
import { requireTool } from "../test/tools.ts";
import { type CriticalParts, criticalFile, startedByWatchdog } from "./critical.driver.ts";
import { adoptable } from "./supervise/adopt.ts";
import { Families } from "./supervise/family.driver.ts";
import { environOf, procStat } from "./supervise/proc.driver.ts";
import { realProcesses } from "./supervise/process.driver.ts";
import { fresh, type State } from "./supervise/state.ts";
import { Critical } from "./watchdog/critical.ts";

const clock = realClock();
const owner = `critical-${process.pid}`;
let dir: string;
let processes: ReturnType<typeof realProcesses>;
const started: number[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-critical-"));
  processes = realProcesses({ owner, logDir: dir, clock, others: startedByWatchdog(dir, owner, clock) });
  started.length = 0;
});
afterEach(async () => {
  for (const pid of started.filter(lives)) process.kill(pid, "SIGKILL");
  await until(() => !started.some(lives));
  processes.close();
  new Families(owner).dismiss();
  rmSync(dir, { recursive: true, force: true });
});

const lives = (pid: number) => !["Z", "X", undefined].includes(procStat(pid)?.state);
/** Its own second would be too short for a busy machine. */
const until = (holds: () => boolean) => vi.waitUntil(holds, { timeout: 60_000 });

/** What the agent has written down when it is gone. */
const partsOf = (over: Pick<CriticalParts, "specs" | "state">): CriticalParts => ({
  dataDir: dir,
  owner,
  envFor: () => ({}),
  outputOf: (workload) => join(dir, `${workload}.log`),
  ...over,
});
const textOf = () => {
  try {
    return readFileSync(join(dir, "critical.json"), "utf8");
  } catch {
    return "";
  }
};

/** One look of a watchdog, which has come just now. */
async function look(): Promise<number> {
  const said: unknown[] = [];
  await new Critical(dir, (_msg, { pid }) => said.push(pid)).tend(0, () => true);
  expect(said).toEqual([expect.any(Number)]);
  const pid = Number(said[0]);
  started.push(pid);
  return pid;
}

test("PHX-4 the next agent did not see a critical workload that overwrote its environment under the watchdog: it started another beside it", async (context) => {
  const command = [requireTool(context, "python3"), "-c", shedsEnvironment()] as const;
  const spec = specOf({ command, critical: true });
  const state = fresh("boot", 1);
  criticalFile(partsOf({ specs: [spec], state: () => state }))();
  await until(() => textOf() !== "");
  const pid = await look();
  await until(() => environOf(pid, "BLUEFLAME_MARK") === undefined);

  const found = (await processes.find()).get(spec.name) ?? [];
  expect(found).toEqual([{ id: expect.stringMatching(/^[0-9a-f-]{36}$/), ...identityOf(pid) }]);
  const world = { bootId: "boot", now: { ms: 0, wallMs: 0 }, lives: () => false };
  expect(adoptable(state, found, world)).toMatchObject({ ...identityOf(pid), adopted: true });
  // What is not adopted is cleaned away before the next start, also where another one is known to have been the last.
  const before = { id: "i0", pid: 2 ** 22 - 1, startTicks: 1, sinceMs: 0, sinceWallMs: 0, adopted: false };
  expect(await processes.clean(spec, before)).toMatchObject({ ok: true, killed: 1 });
  expect(lives(pid)).toBe(false);
  expect(await processes.find()).toEqual(new Map());
});

const identityOf = (pid: number) => ({ pid, startTicks: procStat(pid)?.startTicks });

test("a critical workload in safe mode was started in full by the watchdog, and then taken for one in safe mode", async () => {
  const safeMode = { command: ["/bin/sleep", "611"] as const, env: { FEED: "none" } };
  const spec = specOf({ command: ["/bin/sleep", "610"], env: { FEED: "all" }, critical: true, safeMode });
  let state: State = { ...fresh("boot", 1), mode: "safe" };
  const changed = criticalFile(partsOf({ specs: [spec], state: () => state }));
  const startsAs = async () => {
    const before = textOf();
    changed();
    await until(() => textOf() !== before);
    const pid = await look();
    const args = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
    const seen = [args[1], environOf(pid, "FEED"), environOf(pid, "BLUEFLAME_SAFE_MODE")];
    process.kill(pid, "SIGKILL");
    await until(() => !lives(pid));
    return seen;
  };
  expect(await startsAs()).toEqual(["611", "none", "1"]);
  const { mode: _over, ...full } = state;
  state = full;
  expect(await startsAs()).toEqual(["610", "all", undefined]);
});
