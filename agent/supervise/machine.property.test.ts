import fc from "fast-check";
import { expect, test } from "vitest";
import { seedsOr } from "../../test/support/seeds.ts";
import { specOf } from "../../test/support/spec.ts";
import { bench, livenessProbe } from "../../test/support/workload-bench.ts";
import { step } from "./machine.ts";
import type { Effect, Event, State } from "./state.ts";

const anyEvent: fc.Arbitrary<Event> = fc.oneof(
  fc.constant<Event>({ is: "look" }),
  fc.boolean().map((ready): Event => ({ is: "beat", ready, status: "" })),
  fc.boolean().map((ok): Event => ({ is: "probed", probe: "ping", ok, because: "x" })),
  fc.boolean().map((stopped): Event => ({ is: "seen", stopped })),
  fc.integer({ min: 0, max: 100_000 }).map((byMs): Event => ({ is: "late", byMs })),
  fc.constantFrom<Event>(
    { is: "start", who: "p" },
    { is: "stop", who: "p" },
    { is: "restart", who: "p" },
    { is: "down", who: "p" },
  ),
  fc.constantFrom<Event>({ is: "boot", bootId: "boot-1" }, { is: "boot", bootId: "boot-2" }),
  fc.constant<Event>({ is: "exited", id: "current", code: 1, signal: null }),
  fc.constant<Event>({ is: "cleanFailed", because: "x" }),
);

test("whatever happens in whatever order: never two starts without a clean-up between, never a start against a person's word", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(anyEvent, fc.integer({ min: 0, max: 20_000 })), { maxLength: 80 }), (events) => {
      const one = bench(specOf({ beat: { timeoutMs: 3000 }, probes: [livenessProbe] }));
      one.tell({ is: "boot", bootId: "boot-1" });
      for (const [event, ms] of events) {
        const current = event.is === "exited" ? { ...event, id: one.id() } : event;
        one.tell(current);
        one.pass(ms);
      }
      const acts = one.log
        .map((line) => line.split(" ")[1] ?? "")
        .filter((word) => word === "clean" || word === "spawn");
      for (let n = 1; n < acts.length; n++) if (acts[n] === "spawn") expect(acts[n - 1]).toBe("clean");
      for (const record of one.records) {
        const result = JSON.parse(record.output) as { state: State; effects: Effect[] };
        if (result.effects.some((effect) => effect.do === "spawn")) expect(result.state.intent).toBe("run");
      }
      if (one.state.intent === "stopped") {
        one.pass(200_000);
        expect(["stopped", "cleaning"]).toContain(one.phase);
      }
    }),
    { numRuns: seedsOr(250).length },
  );
});

test("PHX-11 every decision, replayed from its record, gives the same state and effects", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(anyEvent, fc.integer({ min: 0, max: 20_000 })), { maxLength: 40 }), (events) => {
      const spec = specOf({ beat: { timeoutMs: 3000 } });
      const one = bench(spec);
      for (const [event, ms] of events) {
        one.tell(event.is === "exited" ? { ...event, id: one.id() } : event);
        one.pass(ms);
      }
      for (const { before, event, now, output } of one.records) {
        const replayed = step(
          spec,
          JSON.parse(JSON.stringify(before)) as State,
          JSON.parse(JSON.stringify(event)) as Event,
          now,
        );
        expect(JSON.stringify(replayed)).toBe(output);
      }
    }),
    { numRuns: seedsOr(100).length },
  );
});
