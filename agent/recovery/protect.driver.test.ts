import { spawn } from "node:child_process";
import { setTimeout as pause } from "node:timers/promises";
import type { Machine } from "@blueflame/shared/config/machine.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { expect, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import { bareConfig } from "../config/config.ts";
import type { RemedyAlert } from "../remedies/around.ts";
import { Families, markVariable } from "../supervise/family.driver.ts";
import { fresh } from "../supervise/state.ts";
import { Excesses, type Protection, type ProtectParts, protect } from "./protect.driver.ts";
import type { Said } from "./voice.driver.ts";

const machine: Machine = { isFolder: () => true, findProgram: (file) => ({ file }), programs: () => [] };

const soon = { timeout: 20_000 } as const;

/** The protection of a node with one workload, which does not run. What it says and asks for is written down. */
function guard(over: Partial<ProtectParts["config"]> = {}) {
  const clock = new VirtualClock();
  const families = new Families(`protect-${process.pid}-${Math.random().toString(36).slice(2)}`);
  const audited: Said[] = [];
  const alerts: RemedyAlert[] = [];
  const asked: string[] = [];
  const protection: Protection = protect(
    {
      config: { ...bareConfig({ searchPath: "", machine }), ...over },
      families,
      clock,
      supervisor: {
        names: () => ["engine"],
        spec: () => specOf(),
        state: () => fresh("boot-1", 1),
        post: (_name, event) => asked.push(event.is),
      },
      voice: { log: () => undefined, audit: (said) => audited.push(said), alert: (alert) => alerts.push(alert) },
      figures: () => ({}),
      killSwitch: () => false,
      spare: () => [],
      restartSelf: () => asked.push("restart of the agent"),
    },
    new Excesses(clock),
  );
  return { clock, families, audited, alerts, asked, protection };
}

test("DOL-5 an agent over its own memory is started anew, and the audit says why", async () => {
  const { clock, audited, asked, protection } = guard({ self: { memoryBytes: 2 ** 20, oomScore: 0 } });
  clock.advance(66_000);
  expect(asked).toEqual(["restart of the agent"]);
  expect(audited).toMatchObject([{ action: "agent.restart", target: "node", outcome: "success" }]);
  expect(audited[0]?.because).toContain("its limit is 1 MiB");
  await protection.close();
});

test("PHX-8 more than a hundred that are left over are a storm: a hundred are ended, and a person is paged", async () => {
  const { clock, families, audited, alerts, protection } = guard();
  const env = { ...process.env, [markVariable]: families.mark("engine", "i0") };
  const left = Array.from({ length: 102 }, () => spawn("/bin/sleep", ["300"], { stdio: "ignore", env }));
  try {
    for (let scan = 0; scan < 600 && alerts.length === 0; scan++) {
      clock.advance(10_000);
      await pause(50);
    }
    expect(alerts).toMatchObject([{ severity: "critical", workload: "engine", what: "process storm" }]);
    const ended = () => audited.filter(({ because }) => because.startsWith("orphaned, ended: "));
    for (let look = 0; look < 400 && ended().length < 100; look++) {
      clock.advance(100);
      await pause(50);
    }
    expect(ended().length).toBe(100);
    expect(ended()[0]).toMatchObject({ action: "workload.exorcise", target: "workload/engine", outcome: "success" });
    // That a child has ended is heard a moment after it was ended.
    await expect.poll(() => left.filter(({ signalCode }) => signalCode === null).length, soon).toBe(2);
  } finally {
    await protection.close();
    for (const child of left) child.kill("SIGKILL");
    families.dismiss();
  }
});
