import { expect, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import { bench } from "../../test/support/workload-bench.ts";
import { isAvailable, isUp, standsOf } from "./stands.ts";

test("a playbook that has nothing to start again finds its workload up, and does not fail by the incident it is at work for", () => {
  const one = bench(specOf());
  one.tell({ is: "boot", bootId: "boot-1" });
  expect(isUp(one.state)).toBe(false);
  one.pass(60_000);
  expect([isUp(one.state), standsOf(one.state)]).toEqual([true, "well"]);
  const symptom = {
    trigger: "high-latency",
    workload: "engine",
    severity: "medium",
    playbook: "performance-optimization",
    because: "p95_latency_ms is 1050ms, above 1000ms",
    sinceMs: 0,
  } as const;
  one.tell({ is: "symptom", symptom });
  expect(one.state.treatment?.at).toBe("playing");
  // Its dependents hear that it is being healed; its process is as healthy as it was.
  expect([isUp(one.state), standsOf(one.state)]).toEqual([true, "recovering"]);
  one.crash();
  expect(isUp(one.state)).toBe(false);
});

test("time with a playbook beside a running workload is time up, and what has done its work is neither up nor down", () => {
  const one = bench(specOf({ restart: "onFailure" }));
  one.tell({ is: "boot", bootId: "boot-1" });
  expect(isAvailable(one.state)).toBe(false);
  one.pass(60_000);
  const about = { trigger: "anomaly", workload: "engine", playbook: "run-diagnostics", because: "odd", sinceMs: 0 };
  one.tell({ is: "symptom", symptom: { ...about, severity: "low" } });
  expect([one.state.incident?.at, isAvailable(one.state)]).toEqual(["recovering", true]);
  one.crash(0);
  expect([one.phase, isAvailable(one.state)]).toEqual(["completed", undefined]);
});
