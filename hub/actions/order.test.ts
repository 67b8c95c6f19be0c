import { durationMs } from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  newOrder,
  type Order,
  type OrderEvent,
  orderDeadlineMs,
  orderMessage,
  orderStep,
  restoredOrder,
  waitMaxMs,
} from "./order.ts";

const given = {
  id: "id-1",
  node: "a",
  action: { is: "restartAgent" } as const,
  incarnation: 2,
  because: "silent",
  incidentId: "id-0",
  validForMs: 60_000,
};
const send: OrderEvent = { is: "send", epoch: 7n, incarnation: 2 };
const at = (ms: number) => ({ ms, wallMs: ms, id: `at-${ms}` });
const run = (order: Order, ms: number, event: OrderEvent) => orderStep(order, event, at(ms));

test("it goes out once, and never again", () => {
  const sent = run(newOrder(given, at(0)), 10, send);
  expect(sent.effects).toEqual([{ do: "send" }]);
  expect(run(sent.state, 20, send).effects).toEqual([]);
  const done = run(sent.state, 30, { is: "result", outcome: "done", because: "restarted" });
  expect(done.effects).toEqual([{ do: "ended", how: "done", because: "restarted" }]);
  expect(run(done.state, 40, send).effects).toEqual([]);
});

test("another life of the node never gets it", () => {
  const other = run(newOrder(given, at(0)), 10, { ...send, incarnation: 3 });
  expect(other.state.life).toEqual({ at: "void", because: "it was meant for life 2, this is 3" });
  expect(other.effects).not.toContainEqual({ do: "send" });
});

test("one that waits can be made void, one that is out cannot", () => {
  const waiting = newOrder(given, at(0));
  expect(run(waiting, 10, { is: "void", because: "it beats" }).state.life.at).toBe("void");
  const sent = run(waiting, 10, send).state;
  expect(run(sent, 20, { is: "void", because: "it beats" }).state).toBe(sent);
});

test("its time runs out, waiting or sent; a late answer is still its answer", () => {
  const waiting = newOrder(given, at(0));
  expect(orderDeadlineMs(waiting)).toBe(waitMaxMs);
  expect(run(waiting, waitMaxMs + 1, send).state.life.at).toBe("expired");
  const sent = run(waiting, 10, send).state;
  expect(run(sent, 60_010, { is: "look" }).state).toBe(sent);
  expect(run(sent, 60_011, { is: "look" }).state.life.at).toBe("expired");
  expect(run(sent, 60_011, { is: "result", outcome: "refused", because: "expired" }).state.life.at).toBe("refused");
});

test("a restart of the hub counts its times anew", () => {
  const sent = run(newOrder(given, at(900_000)), 900_000, send).state;
  expect(restoredOrder(JSON.parse(JSON.stringify(sent)), at(5)).life).toEqual({
    at: "sent",
    epoch: "7",
    untilMs: 60_005,
  });
});

test("on the wire it carries the epoch of now, the life it is for, and its validity", () => {
  const message = orderMessage(newOrder(given, at(0)), 9n);
  expect(message).toMatchObject({ id: "id-1", hubEpoch: 9n, targetIncarnation: 2n, incidentId: "id-0" });
  expect(message.action.case).toBe("restartAgent");
  expect(message.validFor && durationMs(message.validFor)).toBe(60_000);
});

test("whatever happens, it is sent at most once and ends at most once", () => {
  const event = fc.constantFrom<OrderEvent>(
    send,
    { ...send, incarnation: 3 },
    { is: "result", outcome: "failed", because: "no" },
    { is: "void", because: "beats" },
    { is: "look" },
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(event, fc.integer({ min: 0, max: 4_000_000 })), { maxLength: 20 }), (events) => {
      let order = newOrder(given, at(0));
      let ms = 0;
      const effects: string[] = [];
      for (const [one, waitMs] of events) {
        ms += waitMs;
        const step = run(order, ms, one);
        order = step.state;
        effects.push(...step.effects.map((effect) => effect.do));
      }
      expect(effects.filter((what) => what === "send").length).toBeLessThanOrEqual(1);
      expect(effects.filter((what) => what === "ended").length).toBeLessThanOrEqual(1);
    }),
  );
});
