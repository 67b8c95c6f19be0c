import { expect, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import { bench, livenessProbe } from "../../test/support/workload-bench.ts";
import { starting, tightened } from "./start-spec.ts";

test("PRA-4 on probation every probe is asked at least every ten seconds", () => {
  const spec = specOf({
    probes: [
      { ...livenessProbe, name: "rare", everyMs: 30_000 },
      { ...livenessProbe, everyMs: 1000 },
    ],
  });
  expect(tightened(spec).probes.map(({ everyMs }) => everyMs)).toEqual([10_000, 1000]);
});

test("while it starts every probe is asked each second: a rare one would not see it come up within its grace", () => {
  const spec = specOf({ probes: [{ ...livenessProbe, everyMs: 10_000 }] });
  expect(starting(spec).probes.map(({ everyMs }) => everyMs)).toEqual([1000]);
  expect(starting(spec)).toBe(starting(spec));
});

test("a probe that means minutes was asked each second while it started, and had failed too often when the grace was over", () => {
  const ready = { ...livenessProbe, name: "ready", use: "readiness" as const };
  const one = bench(
    specOf({ startGraceMs: 10_000, probes: [{ ...livenessProbe, everyMs: 60_000, failures: 3 }, ready] }),
  );
  one.tell({ is: "boot", bootId: "boot-1" });
  one.tell({ is: "probed", probe: "ping", ok: true, because: "" });
  const fail = () => one.tell({ is: "probed", probe: "ping", ok: false, because: "busy" });
  for (let n = 0; n < 5; n++) {
    one.pass(1000);
    fail();
  }
  one.pass(10_000);
  expect(one.phase).toBe("running");
  for (let n = 0; n < 2; n++) fail();
  expect(one.phase).toBe("running");
  fail();
  expect(one.phase).not.toBe("running");
});

test("a workload whose probes are rare is not watched anew at each of its beats on probation: none of them would count", () => {
  const rare = specOf({ probes: [{ ...livenessProbe, everyMs: 30_000 }] });
  expect(tightened(rare)).toBe(tightened(rare));
  const frequent = specOf({ probes: [livenessProbe] });
  expect(tightened(frequent)).toBe(frequent);
});
