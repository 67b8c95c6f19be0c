import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { expect, test } from "vitest";
import type { Event, State, Step } from "../triggers/state.ts";
import { catalogue } from "../triggers/trigger.ts";
import { TriggerDesk } from "./trigger-desk.driver.ts";

const minuteMs = 60_000;
const fills: Event = {
  is: "trend",
  workload: "",
  metric: "disk_used_ratio",
  etaMs: 10 * minuteMs,
  confidence: 1,
  because: "it grows",
};

test("an agent that died and was there again a second later called over what it had been told of a moment before", () => {
  const clock = new VirtualClock(1_000_000);
  let stored: State | undefined;
  const said: string[] = [];
  const open = () =>
    new TriggerDesk({
      triggers: catalogue,
      clock,
      offsetMs: () => 0,
      stored: stored && { state: JSON.parse(JSON.stringify(stored)) as State, sameBoot: true },
      told: ({ fired, cleared }: Step) => {
        for (const { trigger } of fired) said.push(`fired ${trigger}`);
        for (const { trigger } of cleared) said.push(`cleared ${trigger}`);
      },
      keep: (state) => {
        stored = state;
      },
    });
  const first = open();
  for (let minute = 0; minute < 20; minute++) {
    first.tell(fills);
    clock.advance(minuteMs);
  }
  first.close();
  clock.advance(1000);
  const second = open();
  expect(second.condition("disk-filling", "")).toBe("holds");
  clock.advance(4000);
  second.tell(fills);
  clock.advance(minuteMs);
  expect(said).toEqual(["fired disk-filling"]);
  second.close();
});

test("what errors are usual is kept every five minutes, and when the agent leaves: its successor would take them for a burst", () => {
  const clock = new VirtualClock(1_000_000);
  const kept: State[] = [];
  const desk = new TriggerDesk({
    triggers: catalogue,
    clock,
    offsetMs: () => 0,
    stored: undefined,
    told: () => undefined,
    keep: (state) => kept.push(state),
  });
  kept.length = 0; // its first look
  for (let minute = 0; minute < 11; minute++) {
    desk.tell({ is: "errors", workload: "api", count: 5 });
    clock.advance(minuteMs);
  }
  expect(kept.length).toBe(2);
  desk.close();
  expect(kept.length).toBe(3);
  expect(Object.keys(kept.at(-1)?.usual ?? {})).toEqual(["error-burst workload/api"]);
});
