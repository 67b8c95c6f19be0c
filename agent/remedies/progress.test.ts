import { expect, test } from "vitest";
import type { Step } from "../playbooks/playbook.ts";
import { begun, leftToWait, next, type Run, type StepRecord, stepBegun, stepEnded } from "./progress.ts";

const step = (over: Partial<Step> = {}): Step => ({
  name: "",
  timeoutMs: 1000,
  onFailure: "stop",
  once: false,
  action: { do: "restart" },
  ...over,
});
const run = (...steps: Step[]): Run =>
  begun({ id: "r1", name: "mine", workload: "engine", incidentId: "", startedWallMs: 0, steps });
const free = { cancelled: false, budgetMs: 60_000 };
const done = (because = "done", tookMs = 10): StepRecord => ({ outcome: "done", because, tookMs });
const failed: StepRecord = { outcome: "failed", because: "it broke", tookMs: 5 };

/** Runs a plan to its end; a crash happens before the agent knows of the outcome of each step whose index is in `crashes`. */
function play(start: Run, outcomes: readonly StepRecord[], crashes: readonly number[] = []) {
  let at = start;
  const deeds: string[] = [];
  for (let round = 0; round < 50; round++) {
    const what = next(at, free);
    if (what.is === "ended") return { deeds, result: what.result, run: at };
    if (what.is === "lost") {
      at = stepEnded(at, what.record);
      continue;
    }
    at = stepBegun(at);
    deeds.push(`${what.again ? "again " : ""}${what.index}`);
    if (crashes.includes(what.index) && !what.again) {
      at = JSON.parse(JSON.stringify(at)) as Run; // another life reads what was kept
      continue;
    }
    at = stepEnded(at, outcomes[what.index] ?? done());
  }
  throw new Error("it never ends");
}

test("GRC-3 steps run in order, and the result says what was done", () => {
  const { deeds, result } = play(run(step(), step(), step()), [
    done("a"),
    done("b"),
    { ...done("c"), outcome: "skipped" },
  ]);
  expect(deeds).toEqual(["0", "1", "2"]);
  expect(result).toEqual({ ok: true, because: "a; b" });
});

test("GRC-3 a failed step ends the run, or not, as it says; the run as a whole has failed all the same, and says whether it came to its end", () => {
  expect(play(run(step(), step()), [failed])).toMatchObject({
    deeds: ["0"],
    result: { ok: false, because: "it broke" },
  });
  expect(play(run(step(), step()), [failed]).result).not.toHaveProperty("through");
  const going = play(run(step({ onFailure: "continue" }), step()), [failed, done()]);
  expect(going).toMatchObject({ deeds: ["0", "1"], result: { ok: false, because: "it broke", through: true } });
});

test("a step whose condition is not met any more, after something was done, is named as not needed any more", () => {
  const bound = { figure: "p95_latency_ms", is: "above", value: 1000, text: "1000ms" } as const;
  const when = { any: [bound] };
  const skipped: StepRecord = { outcome: "skipped", because: "p95_latency_ms is not known", tookMs: 0 };
  const plan = run(step({ when }), step(), step({ name: "clear caches", when }));
  expect(play(plan, [skipped, done("waited"), skipped]).result).toEqual({
    ok: true,
    because: "waited; not needed any more: to restart it (p95_latency_ms is not known)",
  });
});

test("SYN-9 a refused step counts as failed", () => {
  const refused: StepRecord = { outcome: "refused", because: "production data", tookMs: 0 };
  expect(play(run(step(), step()), [refused]).result).toEqual({ ok: false, because: "production data" });
});

test("SYN-3 after a crash in a step that step is done again, and none before it", () => {
  const { deeds, result } = play(run(step(), step(), step()), [], [1]);
  expect(deeds).toEqual(["0", "1", "again 1", "2"]);
  expect(result.ok).toBe(true);
});

test("SYN-3 what says once is not done twice: its outcome is unknown, and counts as failed", () => {
  const { deeds, result } = play(run(step(), step({ once: true }), step()), [], [1]);
  expect(deeds).toEqual(["0", "1"]);
  expect(result).toEqual({ ok: false, because: "it had begun when the agent ended, and is not done twice" });
});

test("asked again after its end it answers what it has answered", () => {
  const over: Run = { ...run(step()), ended: { ok: true, because: "as it was" } };
  expect(next(over, { cancelled: true, budgetMs: 0 })).toEqual({
    is: "ended",
    result: { ok: true, because: "as it was" },
  });
});

test("a budget and a cancel count at the border of a step, with the time of all lives of the agent", () => {
  const half = stepEnded(stepBegun(run(step(), step())), done("a", 400));
  expect(next(half, { cancelled: false, budgetMs: 400 })).toMatchObject({
    is: "ended",
    result: { ok: false, because: "its 400 ms were over before step 2 of 2" },
  });
  expect(next(half, { cancelled: true, budgetMs: 500 })).toMatchObject({ is: "ended", result: { ok: false } });
  expect(next(half, { cancelled: false, budgetMs: 500 })).toMatchObject({ is: "step", index: 1 });
});

test("an intent lives as long as its step", () => {
  const chosen: Run = { ...stepBegun(run(step())), intent: { to: "v1" } };
  expect(stepBegun(chosen).intent).toEqual({ to: "v1" });
  expect(stepEnded(chosen, done()).intent).toBeUndefined();
});

test("GRC-4 a wait goes on where it was: time without an agent counts, and of another boot only the wall clock tells it", () => {
  const intent = { bootId: "b1", untilMs: 62_000, untilWallMs: 1_000_062_000 };
  const at = (ms: number, wallMs: number, bootId = "b1") => leftToWait(intent, 62_000, { ms, wallMs, bootId });
  expect(leftToWait({}, 62_000, { ms: 5, wallMs: 5, bootId: "b1" })).toBe(62_000);
  expect(at(40_000, 0)).toBe(22_000);
  expect(at(90_000, 0)).toBe(0);
  expect(at(3000, 1_000_050_000, "b2")).toBe(12_000);
  // A clock that was set back makes no wait longer than it is.
  expect(at(3000, 0, "b2")).toBe(62_000);
});
