// A playbook that has failed again and again: others go first, and when nothing else is left it has its turn.
import { seeded } from "@blueflame/shared/random/random.ts";
import type { Moment } from "@blueflame/shared/time/clock.ts";
import { expect, test } from "vitest";
import { seedsOr } from "../../test/support/seeds.ts";
import { specOf } from "../../test/support/spec.ts";
import { bench } from "../../test/support/workload-bench.ts";
import { type Facts, noFacts } from "../diagnosis/facts.ts";
import { demotedFor, freshLearning, learn } from "../learning/learning.ts";
import { lessonsOf } from "../recovery/lessons.ts";
import type { Symptom } from "../triggers/symptom.ts";
import { step } from "./machine.ts";
import type { WorkloadSpec } from "./spec.ts";
import type { Event, IncidentFacts, State } from "./state.ts";

const playbook = "performance-optimization";
const why = `${playbook} for engine: about 0 of the last 3 tries worked; demoted, others go first`;
const slow: Symptom = {
  trigger: "high-latency",
  workload: "engine",
  severity: "medium",
  playbook,
  because: "p95_latency_ms is 1050, above 1000",
  sinceMs: 1_059_000,
};
const low: Symptom = { ...slow, demoted: why };

function running(over: Partial<WorkloadSpec> = {}, facts: Facts = noFacts) {
  const one = bench(specOf(over));
  one.facts = facts;
  one.tell({ is: "boot", bootId: "boot-1" });
  one.pass(60_000);
  expect(one.phase).toBe("running");
  return one;
}
type Bench = ReturnType<typeof running>;
const tried = (one: Bench) => (one.state.incident?.attempts ?? []).map(({ rung, playbook: by }) => rung ?? by ?? "");
const whys = (one: Bench) => (one.state.incident?.attempts ?? []).map(({ because }) => because);
/** What was asked to leave leaves, and what comes after it is up. */
function leaves(one: Bench): void {
  if (one.phase === "stopping") one.crash(0);
  one.pass(2000);
}
/** The trigger holds through all of its verification. */
function inVain(one: Bench): void {
  later(one, 91_000);
  leaves(one);
}
/** As {@link Bench.pass}, with one look at the end. */
function later(one: Bench, ms: number): void {
  one.jump(ms);
  one.tell({ is: "look" });
}

test("GRC-5 a demoted playbook is not begun first: the ladder is, with its evidence, and says why", () => {
  const changed: Facts = { ...noFacts, config: { version: "v2", changedAgoMs: 5000, healthyVersion: "v1" } };
  const one = running({}, changed);
  one.remedies.config_rollback = true;
  one.tell({ is: "symptom", symptom: low });
  leaves(one);
  expect(tried(one)).toEqual(["config_rollback"]);
  expect(whys(one)[0]).toContain(why);
  one.tell({ is: "cleared", trigger: "high-latency" });
  expect(one.incidents.at(-1)).toMatchObject({ at: "probation", trigger: "high-latency", playbook });
  // One that is not demoted is begun first, whatever else there is.
  const other = running({}, changed);
  other.tell({ is: "symptom", symptom: slow });
  expect(tried(other)).toEqual([playbook]);
});

test("GRC-5 a demoted playbook has its turn, once, when nothing else is left, and before a bootstrap and a person", () => {
  const one = running({ safeMode: { env: {} } });
  one.remedies[playbook] = true;
  one.tell({ is: "symptom", symptom: low });
  leaves(one);
  for (let n = 0; n < 2; n++) inVain(one);
  expect(tried(one)).toEqual(["quick_restart", "safe_mode", "quick_restart"]);
  one.pass(91_000);
  expect([one.phase, tried(one).at(-1), whys(one).at(-1)]).toEqual([
    "running",
    playbook,
    `nothing else is left, so ${playbook} is tried`,
  ]);
  expect(one.log.some((line) => line.includes("remedy full_bootstrap"))).toBe(false);
  for (let n = 0; n < 6; n++) inVain(one);
  expect(tried(one).filter((name) => name === playbook)).toHaveLength(1);
  expect(tried(one)).toContain("full_bootstrap");
  expect(one.state.incident?.needsPerson).toBe(true);
});

test("GRC-5 what has nothing but its playbook, by its low severity, is played though demoted, and says so", () => {
  const one = running();
  one.tell({ is: "symptom", symptom: { ...low, severity: "low" } });
  expect([one.phase, tried(one)]).toEqual(["running", [playbook]]);
  expect(whys(one)[0]).toContain(why);
});

test("GRC-5 a demoted quarantine waits until a restart was tried, and is begun at the next crash", () => {
  const demoted = [{ playbook: "quarantine-artifacts", because: "it failed three times" }];
  const one = running({ sandboxExitCodes: [70] }, { ...noFacts, demoted });
  one.remedies["quarantine-artifacts"] = true;
  one.crash(70);
  one.pass(1000);
  expect(tried(one)).toEqual(["quick_restart"]);
  expect(whys(one)[0]).toContain("it failed three times");
  one.crash(70);
  one.pass(1000);
  expect(tried(one)).toEqual(["quick_restart", "quarantine-artifacts"]);
  expect(whys(one)[1]).toContain("nothing else is left (it failed three times)");
});

test("GRC-5 where the demoted playbook is the quick restart, the other rungs go first; its success counts for it", () => {
  const restart: Symptom = { ...low, playbook: "restart-service", demoted: "it failed three times" };
  const one = running({ safeMode: { env: {} } });
  one.tell({ is: "symptom", symptom: restart });
  leaves(one);
  expect(tried(one)).toEqual(["safe_mode"]);
  const bare = running();
  bare.tell({ is: "symptom", symptom: restart });
  leaves(bare);
  bare.tell({ is: "cleared", trigger: "high-latency" });
  expect(bare.state.incident?.attempts).toMatchObject([
    { rung: "quick_restart", playbook: "restart-service", ok: true },
  ]);
});

/** A decision, computed again from what was written down. */
function replayed(read: { spec: WorkloadSpec; state: State; event: Event }, now: Moment): string {
  return JSON.stringify(step(read.spec, read.state, read.event, now));
}

/** A workload that is slow now and then, with all that was learned; `helps`: how often its playbook does. */
function history(seed: number, incidents: number) {
  const random = seeded(seed);
  const helps = random() < 0.5 ? 0.1 : 0.7;
  const safe = random() < 0.5;
  const over = { probationMs: 30_000, ...(safe && { safeMode: { env: {} } }) };
  const one = running(over);
  one.remedies[playbook] = true;
  const now = () => ({ bootId: "b1", bootMs: one.now(), wallMs: one.now() + 1e12 });
  let learned = freshLearning(now());
  if (random() < 0.25) learned = learn(learned, { is: "frozen", who: "ada" }, now()).state;
  const frozen = learned.frozenBy !== undefined;
  const told: { demoted: boolean; played: boolean; first: string }[] = [];
  let seen = 0;
  let before: IncidentFacts | undefined;
  const taught = () => {
    for (const facts of one.incidents.slice(seen)) {
      const known = before?.id === facts.id ? before : undefined;
      const about = { workload: "engine", signature: "slow", nowMs: one.now() };
      for (const event of lessonsOf(known, facts, about)) learned = learn(learned, event, now()).state;
      before = facts;
    }
    seen = one.incidents.length;
  };
  for (let n = 0; n < incidents; n++) {
    const demoted = demotedFor(learned, "engine", now());
    one.facts = { ...noFacts, ...(demoted.length > 0 && { demoted }) };
    const because = demoted[0]?.because;
    one.tell({ is: "symptom", symptom: { ...slow, ...(because && { demoted: because }) } });
    leaves(one);
    const first = tried(one)[0] ?? "";
    if (random() < 0.2) one.crash();
    let healed = random() < helps && first === playbook;
    for (let look = 0; look < 12 && !healed; look++) {
      inVain(one);
      healed = tried(one).at(-1) === playbook ? random() < helps : random() < 0.5;
    }
    const played = tried(one).includes(playbook);
    if (!played) expect(tried(one).filter((name) => name === "full_bootstrap")).toEqual([]);
    expect(tried(one).filter((name) => name === playbook).length).toBeLessThanOrEqual(1);
    leaves(one);
    later(one, 31_000); // a slow retry starts it again
    one.pass(2000);
    one.tell({ is: "cleared", trigger: "high-latency" });
    later(one, 40_000);
    expect(one.state.incident).toBeUndefined();
    taught();
    told.push({ demoted: because !== undefined, played, first });
    one.jump(random() < 0.1 ? 20 * 86_400_000 : 3_600_000);
  }
  for (const { before: state, event, now: at, output } of one.records) {
    const read = JSON.parse(JSON.stringify({ spec: specOf(over), state, event })) as Parameters<typeof replayed>[0];
    expect(replayed(read, at)).toBe(output);
  }
  return { told, frozen };
}

test("GRC-5 PRA-14 over many histories a playbook is begun first exactly while it is not demoted, is never forgotten, and each step can be replayed", () => {
  const count = { demoted: 0, back: 0, played: 0 };
  for (const seed of seedsOr(30)) {
    const { told, frozen } = history(seed, 12);
    for (const [n, { demoted, played, first }] of told.entries()) {
      expect([seed, n, first === playbook]).toEqual([seed, n, !demoted]);
      if (demoted) expect([seed, frozen]).toEqual([seed, false]);
      count.demoted += demoted ? 1 : 0;
      count.back += told[n - 1]?.demoted && !demoted ? 1 : 0;
      count.played += demoted && played ? 1 : 0;
    }
  }
  console.log(
    `GRC-5 ${count.demoted} incidents met demoted, ${count.played} of them played in the end, ${count.back} came back`,
  );
  expect(Math.min(count.demoted, count.back, count.played)).toBeGreaterThan(0);
});
