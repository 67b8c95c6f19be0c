// Where the ladder ends: what is given time first, what a bootstrap cannot mend, and whose failure it is.
import { expect, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import { bench } from "../../test/support/workload-bench.ts";
import { type Facts, noFacts } from "../diagnosis/facts.ts";
import type { WorkloadSpec } from "./spec.ts";
import { wokenBy } from "./stands.ts";
import { fresh, type State } from "./state.ts";

const full: Facts = { ...noFacts, exhausted: ["the disk of /data is full"], diskFull: true };

function running(over: Partial<WorkloadSpec> = {}, facts: Facts = noFacts) {
  const one = bench(specOf(over));
  one.facts = facts;
  one.tell({ is: "boot", bootId: "boot-1" });
  one.pass(60_000);
  one.log.length = 0;
  return one;
}
type Bench = ReturnType<typeof running>;
/** It ends as soon as it is started, for so long. */
function crashesFor(one: Bench, ms: number): void {
  const untilMs = one.now() + ms;
  while (one.now() < untilMs) {
    if (one.id()) one.crash();
    one.pass(100);
  }
}
const asked = (one: Bench, name: string) => one.log.filter((line) => line.endsWith(`remedy ${name}`)).length;
const tried = (one: Bench) => (one.state.incident?.attempts ?? []).map(({ rung, playbook }) => rung ?? playbook ?? "");

test("SYN-3 three fast crashes are no emergency: its cause has the quick restart's budget of 30 s to pass", () => {
  const one = running();
  crashesFor(one, 28_000);
  expect([asked(one, "full_bootstrap"), one.state.incident?.needsPerson]).toEqual([0, false]);
  expect(one.log.filter((line) => line.endsWith(" spawn")).length).toBeLessThan(8);
  crashesFor(one, 40_000);
  expect(asked(one, "full_bootstrap")).toBe(1);
});

test("SYN-3 what passes within the budget of the quick restart is healed by it, with nobody called", () => {
  const one = running();
  crashesFor(one, 20_000);
  one.pass(60_000);
  expect(one.incidents.at(-1)).toMatchObject({ at: "probation", needsPerson: false });
  expect(new Set(tried(one))).toEqual(new Set(["quick_restart"]));
});

test("SYN-5 a program that cannot be started is a damaged installation: the bootstrap comes as soon as the quick restarts are used up", () => {
  const one = running();
  one.answers = false;
  one.crash();
  for (let n = 0; n < 8; n++) {
    if (one.phase === "cleaning") one.tell({ is: "cleaned", killed: 0, removed: [], tookMs: 1 });
    if (one.phase === "spawning") one.tell({ is: "spawnFailed", because: "its program is not there" });
    if (one.phase === "cleaning") one.tell({ is: "cleaned", killed: 0, removed: [], tookMs: 1 });
    if (one.phase === "deciding") one.tell({ is: "examined", facts: noFacts });
    if (one.phase === "backoff") one.pass(5000);
  }
  expect(tried(one).at(-1)).toBe("full_bootstrap");
});

test("GRC-4 a full disk is cleaned before the next start, and there is room: no bootstrap, and nobody is called", () => {
  const one = running({}, full);
  one.remedies["resource-cleanup"] = true;
  one.crash();
  one.crash();
  expect(one.state.incident?.diagnosis).toMatchObject({ cause: "exhaustion", playbook: "resource-cleanup" });
  one.facts = noFacts;
  one.pass(10_000);
  expect(tried(one)).toEqual(["quick_restart", "resource-cleanup"]);
  expect(one.incidents.at(-1)).toMatchObject({ at: "probation", needsPerson: false });
});

test("GRC-4 a disk that stays full: it is cleaned once, retried slowly, and a person hears what is full; no bootstrap makes room", () => {
  const one = running({}, { ...full, hints: ["corruption"], backup: { id: "b1", ageMs: 1 } });
  one.remedies["resource-cleanup"] = true;
  crashesFor(one, 300_000);
  expect([asked(one, "resource-cleanup"), asked(one, "full_bootstrap"), asked(one, "backup_restore")]).toEqual([
    1, 0, 0,
  ]);
  const { timeline = [], needsPerson } = one.state.incident ?? {};
  expect(needsPerson).toBe(true);
  expect(timeline.map(({ because }) => because).join()).toContain(
    "a person is needed: it stays so: the disk of /data is full",
  );
});

test("SYN-4 what waits for another one's healing calls nobody, and says for whom it waits; the root's page names who waits", () => {
  const down: Facts = { ...noFacts, dependencies: [{ name: "db", stands: "down" }] };
  const api = running({ dependsOn: ["db"] }, down);
  api.remedies.dependency_restart = false;
  crashesFor(api, 600_000);
  expect(api.incidents.some(({ needsPerson }) => needsPerson)).toBe(false);
  expect(api.incidents.at(-1)?.diagnosis).toMatchObject({ cause: "dependency_down", root: "db" });
  expect(api.state.because).toContain("it waits for db, where the failure began");
  const db = running({}, { ...noFacts, bootstrapAllowed: false, dependents: ["api", "web"] });
  crashesFor(db, 100_000);
  const page = db.incidents.find(({ needsPerson }) => needsPerson)?.timeline.at(-1)?.because;
  expect(page).toContain("a person is needed");
  expect(page).toContain("api and web wait for it");
});

test("SYN-4 once its dependency is well again it answers for its own failures", () => {
  const one = running({ dependsOn: ["db"] }, { ...noFacts, dependencies: [{ name: "db", stands: "down" }] });
  one.remedies.dependency_restart = false;
  crashesFor(one, 120_000);
  one.facts = { ...noFacts, bootstrapAllowed: false, dependencies: [{ name: "db", stands: "well" }] };
  crashesFor(one, 120_000);
  expect(one.incidents.at(-1)).toMatchObject({ needsPerson: true });
});

test("SYN-4 a version that was well itself, and has not changed lately, is not taken back only because it is the rung's turn", () => {
  const config = { version: "v2", changedAgoMs: 7_200_000, healthyVersion: "v1", wasHealthy: true } as const;
  const corrupt: Facts = { ...noFacts, config, hints: ["corruption"], backup: { id: "b1", ageMs: 1 } };
  const one = running({}, corrupt);
  one.remedies.backup_restore = false;
  crashesFor(one, 200_000);
  expect([asked(one, "backup_restore"), asked(one, "config_rollback")]).toEqual([1, 0]);
  const { wasHealthy: _unproved, ...unproved } = config;
  const other = running({}, { ...corrupt, config: unproved });
  Object.assign(other.remedies, { backup_restore: false, config_rollback: true });
  crashesFor(other, 200_000);
  expect(asked(other, "config_rollback")).toBe(1);
});

test("SYN-4 what waits for another one starts as soon as that is well, and not when its slow retry comes; a page's wait is not cut short", () => {
  const down: Facts = { ...noFacts, dependencies: [{ name: "db", stands: "down" }] };
  const api = running({ dependsOn: ["db"] }, down);
  api.remedies.dependency_restart = false;
  crashesFor(api, 100_000);
  while (api.phase !== "backoff") crashesFor(api, 100);
  expect(api.state.phase).toMatchObject({ at: "backoff", slow: true, waitsFor: "db" });
  api.tell({ is: "needsMet" });
  expect(api.phase).toBe("backoff");
  api.tell({ is: "rootWell" });
  expect(api.phase).toBe("starting");
  api.pass(5000);
  expect(api.incidents.at(-1)).toMatchObject({ at: "probation", needsPerson: false });
  const alone = running({}, { ...noFacts, bootstrapAllowed: false });
  crashesFor(alone, 60_000);
  while (alone.phase !== "backoff") crashesFor(alone, 100);
  alone.tell({ is: "rootWell" });
  expect(alone.phase).toBe("backoff");
});

test("SYN-4 it is woken once its root is well, and all that it depends on itself: a database that still starts would only be in its way", () => {
  const waits = { at: "backoff", untilMs: 9e6, slow: true, waitsFor: "disk" } as const;
  const api = { spec: { name: "api", dependsOn: ["db"] }, state: { ...fresh("boot-1", 7), phase: waits } };
  const up = {
    at: "running",
    readySinceMs: 0,
    instance: { id: "i", pid: 1, startTicks: 1, sinceMs: 0, sinceWallMs: 0, adopted: false },
  } as const;
  const one = (name: string, phase: State["phase"]) => ({
    spec: { name, dependsOn: [] },
    state: { ...fresh("boot-1", 7), phase },
  });
  const restarts = { at: "spawning", id: "x" } as const;
  expect(wokenBy([api, one("db", restarts), one("disk", up)])).toEqual([]);
  expect(wokenBy([api, one("db", up), one("disk", restarts)])).toEqual([]);
  expect(wokenBy([api, one("db", up), one("disk", up)])).toEqual(["api"]);
  const tried = { ...api, state: { ...api.state, phase: { ...waits, triedMs: 500 } } };
  const upAt = (readySinceMs: number) => ({ ...up, readySinceMs });
  expect(wokenBy([tried, one("db", upAt(499)), one("disk", upAt(499))])).toEqual([]);
  expect(wokenBy([tried, one("db", upAt(499)), one("disk", upAt(500))])).toEqual(["api"]);
  expect(wokenBy([tried, one("db", upAt(500)), one("disk", upAt(499))])).toEqual(["api"]);
  expect(wokenBy([tried, one("db", upAt(499)), one("disk", { at: "completed" })])).toEqual(["api"]);
  expect(wokenBy([tried, one("db", { at: "completed" }), one("disk", upAt(499))])).toEqual([]);
  // The root has left the config: it is retried slowly, as ever.
  expect(wokenBy([api, one("db", up)])).toEqual([]);
});

test("SYN-4 of a start that failed, and of a remedy that failed, it is known when, too: a root that is up all the time wakes nobody", () => {
  const rootSlow: Facts = { ...noFacts, dependencies: [{ name: "db", stands: "recovering" }] };
  const waits = (one: Bench) => {
    expect(one.state.phase).toMatchObject({ at: "backoff", waitsFor: "db" });
    return "triedMs" in one.state.phase ? one.state.phase.triedMs : undefined;
  };
  const gone = running({ dependsOn: ["db"] }, rootSlow);
  gone.remedies.dependency_restart = false;
  gone.answers = false;
  const untilItWaits = () => {
    for (let n = 0; n < 20 && gone.phase !== "backoff"; n++) {
      if (gone.phase === "cleaning") gone.tell({ is: "cleaned", killed: 0, removed: [], tookMs: 1 });
      if (gone.phase === "spawning") gone.tell({ is: "spawnFailed", because: "its program is not there" });
      if (gone.phase === "deciding") gone.tell({ is: "examined", facts: rootSlow });
      if (gone.state.phase.at === "mending")
        gone.tell({ is: "remedied", id: gone.state.phase.id, ok: false, because: "it did not work" });
    }
  };
  gone.crash();
  untilItWaits();
  expect(waits(gone)).toBe(gone.now());
  // Every remedy had its turn: now it is the failed start alone.
  gone.pass(60_000);
  expect(gone.phase).toBe("spawning");
  untilItWaits();
  expect(waits(gone)).toBe(gone.now());
  const mended = running({ dependsOn: ["db"] }, rootSlow);
  mended.remedies.dependency_restart = false;
  mended.crash();
  mended.crash();
  mended.pass(1);
  expect(waits(mended)).toBeGreaterThanOrEqual(mended.now() - 1);
});
