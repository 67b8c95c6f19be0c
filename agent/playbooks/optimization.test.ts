import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { holds, isBeyond, type Seen } from "../remedies/conditions.ts";
import { begun, hasFailed, next, type StepRecord, stepBegun, stepEnded } from "../remedies/progress.ts";
import { boxPlaybooks } from "./box.ts";
import { playbookOf } from "./draft.ts";
import type { Playbook, Step } from "./playbook.ts";

const readme = readFileSync(join(import.meta.dirname, "README.md"), "utf8");
const [, fromReadme = ""] = /```yaml\n(.*?)```/s.exec(readme) ?? [];
const box = boxPlaybooks.find(({ file }) => file === "performance-optimization.yaml")?.text ?? "";

/** A workload whose latency falls by what each step takes off, on a clock of seconds. */
function cascade(playbook: Playbook, takesOff: (step: Step) => number) {
  let latency = 1050;
  let seconds = 0;
  const deeds: string[] = [];
  let run = begun({ ...playbook, id: "r", workload: "engine", incidentId: "", startedWallMs: 0 });
  for (;;) {
    const what = next(run, { cancelled: false, budgetMs: playbook.timeoutMs });
    if (what.is === "ended") return { deeds, latency, seconds, result: what.result };
    if (what.is === "lost") throw new Error("nothing crashes here");
    const { step } = what;
    const seen: Seen = {
      workload: "engine",
      alive: true,
      well: true,
      of: { p95_latency_ms: latency },
      node: { disk_used_ratio: 0.4 },
      has: { safe_mode: false, data: false, artifacts: false, dependencies: false, healthy_config: false },
      failedBefore: hasFailed(run),
    };
    let record: StepRecord = { outcome: "skipped", because: "", tookMs: 0 };
    if (!step.when || holds(step.when, seen).holds) {
      latency -= takesOff(step);
      const tookMs = step.action.do === "wait" ? step.action.ms : 1000;
      seconds += tookMs / 1000;
      deeds.push(step.name || step.action.do);
      const bound = step.action.do === "verify" ? step.action.bound : undefined;
      const back = !bound || isBeyond(bound, { of: { p95_latency_ms: latency }, node: {} });
      record = { outcome: back ? "done" : "failed", because: `${latency} ms`, tookMs };
    }
    run = stepEnded(stepBegun(run), record);
  }
}

test("GRC-6 the optimization of the README runs its steps in order: 1050 ms back to 450 ms within 30 s, before anything fails", () => {
  const { deeds, latency, seconds, result } = cascade(playbookOf(fromReadme, "README.md", true), ({ action }) =>
    action.do === "http" || action.do === "exec" ? 200 : 0,
  );
  expect(deeds).toEqual(["clear caches", "tune queries", "tune the pool", "verify"]);
  expect(latency).toBe(450);
  expect(seconds).toBeLessThan(30);
  expect(result.ok).toBe(true);
});

test("GRC-6 the optimization of the box restarts what is still slow after a moment, and only that", () => {
  const playbook = playbookOf(box, "box.yaml", false);
  const slow = cascade(playbook, ({ action }) => (action.do === "restart" ? 600 : 0));
  expect(slow).toMatchObject({ latency: 450, result: { ok: true } });
  expect(slow.deeds).toEqual(["a short burst may be over by itself", "clear caches and pools", "verify"]);
  expect(slow.seconds).toBeLessThan(30);
  const burst = cascade(playbook, ({ action }) => (action.do === "wait" ? 600 : 0));
  expect(burst.deeds).toEqual(["a short burst may be over by itself", "verify"]);
});

test("GRC-6 steps that do not help are told as such: the run has failed, and the ladder goes on", () => {
  const { result } = cascade(playbookOf(fromReadme, "README.md", true), () => 0);
  expect(result).toEqual({ ok: false, because: "1050 ms" });
});
