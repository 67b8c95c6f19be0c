import { expect, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import { fresh, type State } from "../supervise/state.ts";
import type { Supervisor } from "../supervise/supervisor.driver.ts";
import { askingAround } from "./around.driver.ts";
import type { Experience } from "./experience.driver.ts";

const standOf = (over: Partial<State>) => {
  const state = { ...fresh("boot-1", 7), ...over };
  const supervisor = { state: () => state } as unknown as Supervisor;
  const running = { supervisor, figures: () => ({}), staleFor: () => [] };
  return askingAround(() => running, {} as Experience, [specOf()]).stand("engine");
};

test("a job that has done its work stands as done; one that a person has stopped after that does not", () => {
  expect(standOf({ phase: { at: "completed" } })).toEqual({ is: "stopped", done: true });
  expect(standOf({ phase: { at: "completed" }, intent: "stopped" })).toEqual({ is: "stopped" });
  expect(standOf({ phase: { at: "stopped" }, intent: "stopped" })).toEqual({ is: "stopped" });
});

test("SYN-12 whoever asked for the health amid a recovery changed by what its failure was known: the new process had said nothing yet", () => {
  const signed: string[] = [];
  const experience = { sign: (_id: string, text: string) => void signed.push(text) } as unknown as Experience;
  const at = (phase: State["phase"]["at"], lines: string[]) => {
    const incident = { id: "i1", symptom: "crash", summary: "exit code 1" };
    const state = { ...fresh("boot-1", 7), incident, phase: { at: phase } } as unknown as State;
    const running = {
      supervisor: { state: () => state } as unknown as Supervisor,
      figures: () => ({}),
      staleFor: () => [],
    };
    return askingAround(() => running, experience, [specOf()]).signature("engine", lines);
  };
  const known = at("deciding", ["Error: connect ECONNREFUSED 10.0.0.1:5432"]);
  expect(known).toMatch(/^crash, exit 1: .*econnrefused/i);
  for (const phase of ["starting", "running", "backoff"] as const) expect(at(phase, [])).toBe("crash, exit 1");
  expect(signed).toEqual([known]);
});
