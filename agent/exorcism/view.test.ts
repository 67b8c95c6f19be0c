import { expect, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import type { Instance, State } from "../supervise/state.ts";
import { viewOf } from "./view.ts";

const instance: Instance = { id: "i1", pid: 7, startTicks: 9, sinceMs: 0, sinceWallMs: 0, adopted: true };
const state = (phase: State["phase"], lastBeatMs?: number): Pick<State, "phase" | "evidence"> => ({
  phase,
  evidence: { probes: {}, ...(lastBeatMs !== undefined && { lastBeatMs }) },
});
const running: State["phase"] = { at: "running", instance, readySinceMs: 0 };

test("PHX-8 only a workload that runs and is judged is alive; at rest it is down; everything between is doubt", () => {
  expect(viewOf(specOf(), state(running), undefined)).toEqual({
    name: "engine",
    phase: "alive",
    main: { id: "i1", pid: 7, startTicks: 9, adopted: true },
    signsKnown: false,
    owesSigns: false,
  });
  expect(viewOf(specOf(), state({ at: "stopped" }), undefined)).toEqual({
    name: "engine",
    phase: "down",
    signsKnown: false,
    owesSigns: false,
  });
  const phases: State["phase"][] = [
    { at: "completed" },
    { at: "backoff", untilMs: 5 },
    { at: "waiting" },
    { at: "spawning", id: "i2" },
    { at: "starting", instance, graceUntilMs: 5 },
    { at: "cleaning", next: "start" },
  ];
  expect(phases.map((phase) => viewOf(specOf(), state(phase), undefined).phase)).toEqual([
    "down",
    "down",
    "moving",
    "moving",
    "moving",
    "moving",
  ]);
});

test("the newest of its signs counts, and it owes them when it has promised a beat or progress", () => {
  expect(viewOf(specOf(), state(running, 100), 50).lastSignMs).toBe(100);
  expect(viewOf(specOf(), state(running, 100), 150)).toMatchObject({ lastSignMs: 150, signsKnown: true });
  expect(viewOf(specOf({ beat: { timeoutMs: 5000 } }), state(running), undefined).owesSigns).toBe(true);
  expect(viewOf(specOf({ progressMs: 5000 }), state(running), undefined).owesSigns).toBe(true);
});
