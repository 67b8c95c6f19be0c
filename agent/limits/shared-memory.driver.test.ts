import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { expect, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import { requireTool } from "../../test/tools.ts";
import { Families } from "../supervise/family.driver.ts";
import { realProcesses } from "../supervise/process.driver.ts";
import { familyFigures, familyPids } from "./family-look.driver.ts";
import { Fences } from "./fence.driver.ts";
import type { Breach } from "./judge.ts";
import { openLimits } from "./limits.driver.ts";

const mib = 2 ** 20;

test("DOL-5 a healthy family with shared memory was killed when a stranger had filled the node: resident 530 MiB, fair 60", async (context) => {
  const python = requireTool(context, "python3");
  const dir = mkdtempSync(join(tmpdir(), "blueflame-shared-"));
  const owner = `shared-${process.pid}-${Math.random().toString(36).slice(2)}`;
  const processes = realProcesses({ owner, logDir: dir, clock: realClock() });
  const program = "import os, time; x = b'x' * 60_000_000; any(os.fork() == 0 for _ in range(8)); time.sleep(100)";
  const spec = specOf({ name: "shares", command: [python, "-c", program], cwd: dir });
  const breaches: Breach[] = [];
  let isLow = false;
  const limits = openLimits({
    specs: () => [spec],
    families: processes.families,
    clock: realClock(),
    onBreach: (breach) => breaches.push(breach),
    log: () => undefined,
    // A machine of 600 MiB; who has filled it is not ours.
    meminfo: () => `MemTotal: ${600 * 1024} kB\nMemAvailable: ${(isLow ? 5 : 500) * 1024} kB\n`,
  });
  try {
    const started = processes.spawn({ spec, id: "shares-1", env: {} });
    if ("failed" in started) throw new Error(started.failed);
    const resident = async () =>
      (await familyFigures(await familyPids(processes.families, "shares"), 4096)).residentBytes;
    for (let n = 0; n < 1500 && (await resident()) < 450 * mib; n++) await pause(20);
    expect(await resident()).toBeGreaterThan(450 * mib);
    isLow = true;
    for (let n = 0; n < 1500 && breaches.length === 0; n++) await pause(20);
    expect(breaches).toEqual([expect.objectContaining({ workload: "", what: "node_memory", act: "tell" })]);
  } finally {
    await limits.settled();
    limits.close();
    await processes.clean(spec);
    processes.close();
    new Fences(processes.families.folder, undefined).dismiss();
    new Families(owner).dismiss();
    rmSync(dir, { recursive: true, force: true });
  }
});
