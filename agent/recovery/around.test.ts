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
