import { expect, test } from "vitest";
import { Story } from "./follow.ts";

const entry = (second: number, what: string, because: string) => ({
  at: `2026-01-01T00:00:0${second}Z`,
  what,
  because,
});

test("each event of an incident is told once, oldest first, however often the incident is seen", () => {
  const story = new Story();
  const symptom = entry(1, "symptom", "it ended by SIGKILL");
  const remedy = entry(2, "remedy", "started again as PID 7");
  const seen = (...timeline: object[]) =>
    story.incidents([{ id: "i", workload: "w", timeline }]).map((line) => line.slice(10));
  expect(seen(symptom)).toEqual(["w  symptom      it ended by SIGKILL"]);
  expect(seen(symptom)).toEqual([]);
  expect(seen(remedy, symptom)).toEqual(["w  remedy       started again as PID 7"]);
});

test("a node is told of when its level changes, and not when it is first seen well", () => {
  const story = new Story();
  const seen = (level: string, because: string) =>
    story.nodes([{ id: "n", level: `LEVEL_${level}`, presence: "ALIVE", because }], 0).map((line) => line.slice(10));
  expect(seen("GREEN", "beats arrive")).toEqual([]);
  expect(seen("YELLOW", "1 beat missed")).toEqual(["n  YELLOW ALIVE: 1 beat missed"]);
  expect(seen("YELLOW", "1 beat missed")).toEqual([]);
  expect(seen("GREEN", "beats again")).toEqual(["n  GREEN ALIVE: beats again"]);
});
