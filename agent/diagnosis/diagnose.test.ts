import fc from "fast-check";
import { expect, test } from "vitest";
import { rungs } from "../ladder/rungs.ts";
import { diagnose, type Failure } from "./diagnose.ts";
import { type Facts, noFacts } from "./facts.ts";

const hourMs = 3_600_000;
const second: Failure = { symptom: "crash", failures: 2, wasReady: true, tried: [] };
const changed = { config: { version: "v2", changedAgoMs: 10_000, healthyVersion: "v1" } };

/** SYN-4's tree, a row for each of its leaves. */
const table: readonly {
  readonly name: string;
  readonly failure: Failure;
  readonly facts: Partial<Facts>;
  readonly cause: string;
  readonly rung: string;
}[] = [
  {
    name: "the first failure",
    failure: { ...second, failures: 1 },
    facts: {},
    cause: "transient",
    rung: "quick_restart",
  },
  {
    name: "its output complains of its config",
    failure: second,
    facts: { hints: ["config"] },
    cause: "config_suspected",
    rung: "safe_mode",
  },
  {
    name: "never ready since its config",
    failure: { ...second, wasReady: false },
    facts: {},
    cause: "config_suspected",
    rung: "safe_mode",
  },
  {
    name: "a config that changed lately",
    failure: second,
    facts: changed,
    cause: "config_change",
    rung: "config_rollback",
  },
  {
    name: "a recent change outranks safe mode",
    failure: { ...second, wasReady: false },
    facts: { ...changed, hints: ["config"] },
    cause: "config_change",
    rung: "config_rollback",
  },
  {
    name: "a config that changed lately, and was well through its probation since",
    failure: { ...second, failures: 1 },
    facts: { config: { ...changed.config, wasHealthy: true } },
    cause: "transient",
    rung: "quick_restart",
  },
  {
    name: "a config that was well through its probation, and of which its output complains now",
    failure: second,
    facts: { config: { ...changed.config, wasHealthy: true }, hints: ["config"] },
    cause: "config_change",
    rung: "config_rollback",
  },
  {
    name: "a dependency that is down",
    failure: second,
    facts: { dependencies: [{ name: "db", stands: "down" }] },
    cause: "dependency_down",
    rung: "dependency_restart",
  },
  {
    name: "a dependency that is down, and a recent change",
    failure: second,
    facts: { ...changed, dependencies: [{ name: "db", stands: "recovering" }] },
    cause: "dependency_down",
    rung: "dependency_restart",
  },
  {
    name: "corrupt data",
    failure: second,
    facts: { hints: ["corruption"], backup: { id: "b", ageMs: 1 } },
    cause: "corruption",
    rung: "backup_restore",
  },
  {
    name: "a full disk",
    failure: second,
    facts: { exhausted: ["the disk of its data is full"] },
    cause: "exhaustion",
    rung: "quick_restart",
  },
  {
    name: "nothing explains it",
    failure: { ...second, failures: 5 },
    facts: {},
    cause: "unknown",
    rung: "full_bootstrap",
  },
];

test.each(table)("SYN-4 $name: $cause, so $rung", ({ failure, facts, cause, rung }) => {
  expect(diagnose(failure, { ...noFacts, ...facts }, hourMs)).toMatchObject({ cause, rung });
});

test("SYN-4 what was tried and did not help is believed less, and the next explanation has its turn", () => {
  const facts: Facts = { ...noFacts, ...changed, hints: ["corruption"], backup: { id: "b", ageMs: 1 } };
  const before = diagnose(second, facts, hourMs);
  const after = diagnose({ ...second, failures: 3, tried: [before.rung] }, facts, hourMs);
  expect(before.cause).toBe("corruption");
  expect(after.cause).toBe("config_change");
  expect(after.rejected.join()).toContain("was tried and did not help");
});

test("a change that is older than the bound, or that has no healthy version before it, is no reason to roll back", () => {
  const old = { ...noFacts, config: { version: "v2", changedAgoMs: 2 * hourMs, healthyVersion: "v1" } };
  const first = { ...noFacts, config: { version: "v1", changedAgoMs: 1000 } };
  for (const facts of [old, first]) expect(diagnose(second, facts, hourMs).cause).toBe("transient");
});

test("whatever the facts: it answers, with a confidence between 0 and 1, a sentence for it, and one for each cause it rejected", () => {
  const facts = fc.record({
    config: fc.record(
      { version: fc.constant("v2"), changedAgoMs: fc.nat(), healthyVersion: fc.constant("v1") },
      { requiredKeys: ["version"] },
    ),
    hints: fc.subarray(["corruption", "config", "exhaustion", "dependency"] as const),
    dependencies: fc.array(
      fc.record({ name: fc.constant("db"), stands: fc.constantFrom("well", "recovering", "down", "stopped") }),
      { maxLength: 2 },
    ),
    exhausted: fc.subarray(["the disk is full"]),
  });
  fc.assert(
    fc.property(
      facts,
      fc.integer({ min: 1, max: 20 }),
      fc.boolean(),
      fc.subarray([...rungs]),
      (some, failures, wasReady, tried) => {
        const found = diagnose(
          { symptom: "crash", failures, wasReady, tried },
          { ...noFacts, ...(some as Partial<Facts>) },
          hourMs,
        );
        expect(found.confidence).toBeGreaterThan(0);
        expect(found.confidence).toBeLessThanOrEqual(1);
        expect(found.evidence.every((sentence) => sentence.length > 0)).toBe(true);
        expect(found.rejected).toHaveLength(6);
      },
    ),
    { numRuns: 500 },
  );
});
