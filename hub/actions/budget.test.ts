import fc from "fast-check";
import { expect, test } from "vitest";
import { askBudget, type Budget, budgetDefaults, emptyBudget, releaseBudget, restoredBudget } from "./budget.ts";

const policy = { ...budgetDefaults, concurrent: 2, perHour: 3, siteShare: 0.34 };

function ask(budget: Budget, node: string, ms: number, site = node, siteNodes = 1, from = policy) {
  return askBudget(from, budget, { node, site, siteNodes, for: "respawn" }, { ms });
}

test("no more run at once than are allowed; who releases makes room", () => {
  const one = ask(emptyBudget, "a", 0);
  const two = ask(one.budget, "b", 0);
  const three = ask(two.budget, "c", 0);
  expect([one, two, three].map(({ verdict }) => verdict.granted)).toEqual([true, true, false]);
  expect(three.verdict).toMatchObject({ because: "2 of 2 run at once", againAtMs: 5_000 });
  expect(ask(releaseBudget(three.budget, "a"), "c", 1).verdict.granted).toBe(true);
});

test("the hour is counted by grants, and a refusal says when it has room again", () => {
  let { budget } = ask(emptyBudget, "a", 1_000);
  for (const node of ["b", "c"]) budget = ask(releaseBudget(budget, "a"), node, 2_000).budget;
  budget = releaseBudget(releaseBudget(budget, "b"), "c");
  const full = ask(budget, "d", 3_000);
  expect(full.verdict).toEqual({ granted: false, because: "3 of 3 within the hour", againAtMs: 3_601_000 });
  expect(ask(full.budget, "d", 3_601_000).verdict.granted).toBe(true);
});

test("of a site only a share is touched at once, but always one", () => {
  const wide = { ...policy, concurrent: 10, perHour: 10 };
  const one = ask(emptyBudget, "a", 0, "lab", 2, wide);
  expect(one.verdict.granted).toBe(true);
  expect(ask(one.budget, "b", 0, "lab", 2, wide).verdict).toMatchObject({
    because: "1 of 1 run at once in site 'lab'",
  });
  expect(ask(one.budget, "b", 0, "lab", 6, wide).verdict.granted).toBe(true);
});

test("who never releases is taken for lost after a while", () => {
  const { budget } = ask(emptyBudget, "a", 0, "lab");
  expect(ask(budget, "b", 3_600_000, "lab").verdict.granted).toBe(false);
  expect(ask(budget, "b", 3_600_001, "lab").verdict.granted).toBe(true);
});

test("after a restart of the hub the hour counts as just spent, and only who still holds a part holds it", () => {
  let { budget } = ask(emptyBudget, "a", 500_000);
  budget = ask(budget, "b", 900_000).budget;
  const again = restoredBudget(JSON.parse(JSON.stringify(budget)), new Set(["b"]), { ms: 10 });
  expect(again).toEqual({ held: [{ node: "b", site: "b", for: "respawn", sinceMs: 10 }], granted: [10, 10] });
});

test("whatever is asked and released, the bounds hold", () => {
  const step = fc.tuple(fc.boolean(), fc.integer({ min: 0, max: 5 }), fc.integer({ min: 0, max: 1_000_000 }));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      let budget = emptyBudget;
      let ms = 0;
      for (const [asks, node, waitMs] of steps) {
        ms += waitMs;
        budget = asks ? ask(budget, `n${node}`, ms, `s${node % 2}`, 3).budget : releaseBudget(budget, `n${node}`);
        expect(budget.held.length).toBeLessThanOrEqual(policy.concurrent);
        expect(budget.granted.filter((at) => at > ms - 3_600_000).length).toBeLessThanOrEqual(policy.perHour);
        expect(new Set(budget.held.map((one) => one.node)).size).toBe(budget.held.length);
      }
    }),
  );
});
