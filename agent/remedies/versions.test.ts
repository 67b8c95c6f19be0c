import fc from "fast-check";
import { expect, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import {
  type ConfigHistory,
  changedAgoMs,
  contentsOf,
  current,
  type FileSeen,
  healthyBefore,
  isBad,
  isBehind,
  noHistory,
  noticed,
  pinFor,
  proved,
  rolledBack,
  started,
  versionOf,
  versionsKeep,
  withRunPart,
} from "./versions.ts";

const file = (content: string): FileSeen => ({ is: "file", sha256: content, bytes: content.length });
const at = (wallMs: number, bootId = "b1") => ({ bootId, bootMs: wallMs, wallMs });
const spec = specOf({ name: "engine", command: ["/bin/engine", "--good"], configFiles: ["/etc/engine.conf"] });
const bad = specOf({ ...spec, command: ["/bin/engine", "--bad"] });
const v = (content: string, of = spec, wallMs = 0) => versionOf(of, { "/etc/engine.conf": file(content) }, wallMs);
const wellWith = (history: ConfigHistory, wallMs: number) => proved(started(history), wallMs);

test("SYN-3 PHX-5 a rollback goes to the newest config that was healthy, and not to one that only was there", () => {
  let history = wellWith(noticed(noHistory, v("good"), at(0)), 10);
  history = wellWith(noticed(history, v("better"), at(100)), 110);
  history = started(noticed(history, v("never well"), at(200)));
  history = noticed(history, v("broken"), at(300));
  expect(healthyBefore(history)?.id).toBe(v("better").id);
  const to = healthyBefore(history);
  if (!to) throw new Error("there is one");
  history = rolledBack(history, v("broken"), to, "it did not start", at(310));
  expect(current(history)?.id).toBe(v("better").id);
  expect(isBad(history, v("broken"))).toBe(true);
  // It is bad until its content changes, whatever is said of it.
  expect(isBad(history, v("broken", specOf({ ...spec, probationMs: 1 })))).toBe(true);
  expect(isBad(history, v("broken, mended"))).toBe(false);
  expect(proved(started(noticed(history, v("broken"), at(400))), 410).versions.at(-1)?.healthyWallMs).toBeUndefined();
});

test("SYN-6 a bad command of the agent's own config is replaced at each start until it changes", () => {
  let history = wellWith(noticed(noHistory, v("same"), at(0)), 10);
  history = started(noticed(history, v("same", bad), at(100)));
  const to = healthyBefore(history);
  if (!to) throw new Error("there is one");
  history = JSON.parse(JSON.stringify(rolledBack(history, v("same", bad), to, "it ends at once", at(110))));
  expect(pinFor(history, bad)?.spec.command).toEqual(["/bin/engine", "--good"]);
  expect(withRunPart(bad, pinFor(history, bad)?.spec ?? bad).command).toEqual(["/bin/engine", "--good"]);
  expect(pinFor(history, spec)).toBeUndefined();
  expect(pinFor(history, specOf({ ...bad, command: ["/bin/engine", "--third"] }))).toBeUndefined();
  // The files were not at fault: they are not bad.
  expect(isBad(history, v("same"))).toBe(false);
});

test("a workload runs behind its config from a rollback on, until somebody writes another one", () => {
  let history = wellWith(noticed(noHistory, v("good", spec, 1), at(1)), 10);
  history = noticed(history, v("broken", spec, 100), at(100));
  expect(isBehind(history)).toBe(false); // it runs what was written
  const to = healthyBefore(history);
  if (!to) throw new Error("there is one");
  history = rolledBack(history, v("broken", spec, 100), to, "it did not start", at(110));
  expect(isBehind(history)).toBe(true);
  expect(isBehind(JSON.parse(JSON.stringify(started(history))))).toBe(true);
  expect(isBehind(noticed(history, v("mended", spec, 200), at(200)))).toBe(false);
  expect(isBehind(noHistory)).toBe(false);
});

test("what is about the node is always the config's, also after a rollback", () => {
  const before = specOf({ ...spec, safeMode: { env: { SAFE: "1" } } });
  const after = specOf({ ...bad, dependsOn: ["queue"], probationMs: 5, pool: "mine" });
  const run = versionOf(before, {}, 0).spec;
  expect(withRunPart(after, run)).toMatchObject({
    dependsOn: ["queue"],
    probationMs: 5,
    pool: "mine",
    command: before.command,
  });
  expect(withRunPart(before, versionOf(after, {}, 0).spec).safeMode).toBeUndefined();
  expect(versionOf(specOf({ ...before, dependsOn: ["queue"], probationMs: 5 }), {}, 0).id).toBe(
    versionOf(before, {}, 0).id,
  );
});

test("only what the process was started with is proved: a file that changed since may not have been read", () => {
  let history = started(noticed(noHistory, v("one"), at(0)));
  history = noticed(history, v("two"), at(10));
  expect(proved(history, 20)).toBe(history);
  expect(proved(started(history), 20).versions.at(-1)?.healthyWallMs).toBe(20);
});

test("of a process that is older than the agent's memory the only version that was ever seen is what it runs with", () => {
  const first = noticed(noHistory, v("one"), at(0));
  expect(proved(first, 20).versions.at(-1)?.healthyWallMs).toBe(20);
  const second = noticed(first, v("two"), at(10));
  expect(proved(second, 20)).toBe(second);
});

test("how long ago it changed: on this boot by its own clock, of another one at least as long as this boot lasts", () => {
  const first = noticed(noHistory, v("one"), at(0));
  expect(changedAgoMs(first, at(50))).toBeUndefined();
  const second = noticed(first, v("two"), at(100));
  expect(changedAgoMs(second, at(160))).toBe(60);
  // Somebody set the clock back by a year.
  expect(changedAgoMs(second, { bootId: "b1", bootMs: 160, wallMs: -1e10 })).toBe(60);
  expect(changedAgoMs(second, { bootId: "b2", bootMs: 40, wallMs: 1100 })).toBe(1000);
  expect(changedAgoMs(second, { bootId: "b2", bootMs: 40, wallMs: -1e10 })).toBe(40);
  // Seen again, the same is no change.
  expect(noticed(second, v("two"), at(500))).toBe(second);
});

test("a file that was never kept cannot be put back, so its version is no target", () => {
  const large = versionOf(spec, { "/etc/engine.conf": { is: "unkept", mark: "2000000 bytes" } }, 0);
  let history = wellWith(noticed(noHistory, large, at(0)), 10);
  history = noticed(history, v("broken"), at(20));
  expect(healthyBefore(history)).toBeUndefined();
  // With the same unkept file and another command, nothing has to be put back.
  const same = versionOf(bad, large.files, 0);
  expect(healthyBefore(noticed(wellWith(noticed(noHistory, large, at(0)), 10), same, at(20)))?.id).toBe(large.id);
});

test("the last healthy one is never pruned, whatever is written after it, and contents go with their versions", () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 40 }), { minLength: 12, maxLength: 60 }), (contents) => {
      let history = wellWith(noticed(noHistory, v("good"), at(0)), 1);
      for (const [n, content] of contents.entries()) history = noticed(history, v(`c${content}`), at(n));
      expect(history.versions.length).toBeLessThanOrEqual(versionsKeep.versions);
      expect(history.versions.some(({ id }) => id === v("good").id)).toBe(true);
      expect(current(history)?.id).toBe(v(`c${contents.at(-1)}`).id);
      expect([...contentsOf(history).keys()]).toContain("good");
      expect(new Set(history.versions.map(({ id }) => id)).size).toBe(history.versions.length);
    }),
  );
});

test("large contents are bounded together, but never at the cost of what is in use or was healthy", () => {
  const mib = (name: string) => versionOf(spec, { "/f": { is: "file", sha256: name, bytes: 3 * 1024 * 1024 } }, 0);
  let history = wellWith(noticed(noHistory, mib("a"), at(0)), 1);
  for (const name of ["b", "c", "d", "e"]) history = noticed(history, mib(name), at(2));
  expect(history.versions.map(({ id }) => id)).toEqual([mib("a").id, mib("e").id]);
});

test("a rollback of a rollback goes further back, and never to what is bad", () => {
  let history = wellWith(noticed(noHistory, v("one"), at(0)), 1);
  history = wellWith(noticed(history, v("two"), at(2)), 3);
  history = started(noticed(history, v("three"), at(4)));
  for (const [from, expected] of [
    ["three", "two"],
    ["two", "one"],
  ] as const) {
    const to = healthyBefore(history);
    expect(to?.id).toBe(v(expected).id);
    if (to) history = rolledBack(history, v(from), to, "again", at(5));
  }
  expect(healthyBefore(history)).toBeUndefined();
});
