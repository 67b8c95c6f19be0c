import { expect, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import { bench } from "../../test/support/workload-bench.ts";
import { Untold } from "./untold.ts";

function healed() {
  const one = bench(specOf());
  one.tell({ is: "boot", bootId: "boot-1" });
  one.pass(60_000);
  one.crash();
  one.pass(400_000);
  return one;
}

test("what an incident is worth telling is on the list with its revision, and off it once it was told", () => {
  const untold = new Untold([]);
  const { incidents } = healed();
  for (const [at, facts] of incidents.entries()) untold.stage("engine", incidents[at - 1], [facts]);
  expect(untold.all().map(({ kind }) => kind)).toEqual(["opened", "recovered", "closed"]);
  // The same once more is the same.
  const [first] = untold.all();
  expect(untold.stage("engine", undefined, incidents.slice(0, 1))).toHaveLength(3);
  expect(untold.stage("engine", incidents[0], incidents.slice(0, 1))).toBeUndefined();
  expect([first && untold.told(first), first && untold.told(first)]).toEqual([true, false]);
  expect(new Untold(untold.all()).all().map(({ kind }) => kind)).toEqual(["recovered", "closed"]);
});

test("a list that nobody works off forgets the oldest beyond 500", () => {
  const untold = new Untold([]);
  const [facts] = healed().incidents;
  if (!facts) throw new Error("there was no incident");
  for (let n = 0; n < 600; n++) untold.stage("engine", undefined, [{ ...facts, id: `i-${n}` }]);
  expect(untold.all()).toHaveLength(500);
  expect(untold.all()[0]?.incidentId).toBe("i-100");
});
