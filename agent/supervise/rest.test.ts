import { expect, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import { bench, livenessProbe } from "../../test/support/workload-bench.ts";
import { restAgain } from "../store/next-life.ts";
import { adoptable } from "./adopt.ts";
import { step } from "./machine.ts";
import { rests } from "./rest.ts";
import { instanceOf, type State } from "./state.ts";

const spec = specOf({ beat: { timeoutMs: 60_000 }, probes: [livenessProbe] });
const canary = "canary-hunter2secret";
const after = { ms: 2_000_000, wallMs: 2e12, id: "boot" };
const boot = (state: State, bootId: string) => step(spec, state, { is: "boot", bootId }, after);

/** It has said a secret in a beat, by a probe and by its death, is in an incident for it, and runs again. */
function unwell() {
  const one = bench(spec);
  one.tell({ is: "boot", bootId: "boot-1" });
  one.tell({ is: "beat", ready: true, status: canary });
  one.tell({ is: "unwell", symptom: "over_limit", because: canary });
  one.pass(3000, () => {
    one.tell({ is: "beat", ready: true, status: canary });
    one.tell({ is: "probed", probe: "ping", ok: true, because: canary });
  });
  one.tell({ is: "probed", probe: "ping", ok: false, because: canary });
  expect([one.phase, one.state.incident !== undefined]).toEqual(["running", true]);
  return one;
}

/** Ways to come to rest, at each moment of which an agent may write it down. */
const ways: Record<string, (one: ReturnType<typeof unwell>) => void> = {
  "a person stops it": (one) => one.tell({ is: "stop", who: canary }),
  "the kill switch goes on": (one) => one.tell({ is: "hold", who: canary }),
  "it is stopped while it is cleaned up": (one) => {
    one.answers = false;
    one.crash();
    one.tell({ is: "stop", who: canary });
  },
  "it has ended when it is stopped": (one) => {
    one.tell({ is: "stop", who: canary });
    one.crash(0);
  },
};

test.each(Object.keys(ways))(
  "PHX-9 the file of what rests held in plain text what a beat, a probe and an incident had said, sealed in the store: %s",
  (way) => {
    const one = unwell();
    ways[way]?.(one);
    expect(JSON.stringify(one.state)).toContain(canary);
    const rest = rests.restOf(one.state);
    expect(JSON.stringify(rest)).not.toContain(canary);
    expect([rests.isAtRest(one.state), rests.isAtRest(rest)]).toEqual([true, true]);
  },
);

test.each(Object.keys(ways))(
  "GRC-7 an agent that knows of it by that file only does what it did with all of it: %s",
  (way) => {
    const one = unwell();
    ways[way]?.(one);
    const rest = rests.restOf(one.state);
    const world = { bootId: "boot-1", now: after, lives: () => true };
    const id = (state: State) => adoptable(state, [{ id: "id-0", pid: 7, startTicks: 1 }], world)?.id;
    expect(id(rest)).toBe(id(one.state));
    for (const bootId of ["boot-1", "boot-2"]) {
      const [known, whole] = [boot(rest, bootId), boot(one.state, bootId)];
      expect(known.state.phase).toEqual(whole.state.phase);
      expect(known.effects).toEqual(whole.effects.filter((effect) => effect.do !== "incident"));
    }
  },
);

test("what was put to rest again in a store that had forgotten it ends the incident that was open there", () => {
  const one = unwell();
  const before = one.state;
  one.tell({ is: "stop", who: "person:asha" });
  one.crash(0);
  expect(one.phase).toBe("stopped");
  const [change] = restAgain(new Map([["engine", before]]), { engine: rests.restOf(one.state) }, rests.isAtRest, false);
  const { state, effects } = boot(change?.state as State, "boot-1");
  expect(state).toMatchObject({ intent: "stopped", phase: { at: "stopped" }, because: "a person stopped it" });
  expect(state.incident).toBeUndefined();
  expect(effects).toMatchObject([{ do: "incident", facts: { id: before.incident?.id, at: "closed" } }]);
  expect(instanceOf(before.phase)).toBeDefined();
});
