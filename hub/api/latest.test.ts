import { expect, test } from "vitest";
import { latest } from "./latest.ts";

const never = new AbortController().signal;

test("a slow reader gets the latest of each key, in the order in which the keys first changed", async () => {
  const box = latest<number>(10);
  for (let round = 0; round < 1000; round++) {
    box.put("a", round);
    box.put("b", -round);
  }
  expect(await box.take(never)).toEqual([999, -999]);
});

test("a reader that waits is woken by the next change, and never twice for one", async () => {
  const box = latest<string>(10);
  const taken = box.take(never);
  box.put("a", "news");
  expect(await taken).toEqual(["news"]);
  const next = box.take(never);
  box.put("b", "more");
  expect(await next).toEqual(["more"]);
});

test("the bound is named to whoever puts, and a key that waits already still changes", async () => {
  const box = latest<number>(2);
  expect([box.put("a", 1), box.put("b", 1), box.put("c", 1), box.put("a", 2)]).toEqual([true, true, false, true]);
  expect(await box.take(never)).toEqual([2, 1]);
});

test("a reader that leaves gets nothing more, and a thousand waits leave no listener behind", async () => {
  const box = latest<number>(2);
  const left = new AbortController();
  let listeners = 0;
  const { addEventListener, removeEventListener } = left.signal;
  left.signal.addEventListener = (...given: Parameters<typeof addEventListener>) => {
    listeners += 1;
    addEventListener.apply(left.signal, given);
  };
  left.signal.removeEventListener = (...given: Parameters<typeof removeEventListener>) => {
    listeners -= 1;
    removeEventListener.apply(left.signal, given);
  };
  for (let round = 0; round < 1000; round++) {
    const taken = box.take(left.signal);
    box.put("a", round);
    expect(await taken).toEqual([round]);
  }
  expect(listeners).toBe(0);
  const last = box.take(left.signal);
  left.abort();
  expect(await last).toEqual([]);
});
