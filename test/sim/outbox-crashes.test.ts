import fc from "fast-check";
import { expect, test } from "vitest";
import { type Deaths, drain, type Told } from "./outbox-crashes.ts";

/** Each record whose write was answered is at the hub once, in order; what was not answered may be there, once. */
function check({ acknowledged, arrived, waiting, lost }: Told, deaths: Deaths): void {
  const words = `dies at ${[...deaths].join(" and ")}`;
  expect(waiting, `${words}: nothing waits in the end`).toBe(0);
  expect(arrived, `${words}: nothing is there twice`).toEqual([...new Set(arrived)]);
  const kept = acknowledged.filter((id) => !lost.has(id));
  const there = arrived.filter((id) => kept.includes(id));
  expect(there, `${words}: what was acknowledged is there, in order`).toEqual(kept);
}

test("PHX-11 CARD-4 records are at the hub exactly once when the agent, its machine or the hub dies at any one step", async () => {
  const calm = await drain(new Map());
  check(calm, new Map());
  expect(calm.arrived).toHaveLength(9);
  for (let step = 1; step <= calm.steps; step++) {
    for (const death of ["process", "power"] as const) {
      const deaths = new Map([[step, death]]);
      check(await drain(deaths), deaths);
    }
  }
  console.log(`${calm.steps} steps of both sides, a death at each: ${calm.steps * 2} runs`);
});

test("PHX-11 and when they die again and again while they come back", async () => {
  const death = fc.constantFrom("process" as const, "power" as const);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(fc.integer({ min: 1, max: 80 }), death), { maxLength: 8 }), async (all) => {
      const deaths = new Map(all);
      check(await drain(deaths), deaths);
    }),
    { numRuns: 40, ...(process.env.SEED && { seed: Number(process.env.SEED) }) },
  );
});

test("PHX-11 what waited for the hub arrived once more after each restore: the hub took the new life's records for others", async () => {
  const { steps } = await drain(new Map());
  let runs = 0;
  for (let step = 2; step <= steps; step++) {
    for (const after of [1, 7]) {
      const deaths: Deaths = new Map([
        [step - 1, "copy"],
        [step + after, "restored"],
        ...(step % 3 === 0 ? [[step + after + 9, "restored"] as const] : []),
      ]);
      check(await drain(deaths), deaths);
      runs++;
    }
  }
  console.log(`a copy of the store at each of ${steps} steps, put in its place as a new life: ${runs} runs`);
});
