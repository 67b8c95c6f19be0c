/** What is learned of incidents of the real machine, on virtual time. */
import { expect, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import { bench } from "../../test/support/workload-bench.ts";
import { noFacts } from "../diagnosis/facts.ts";
import { freshLearning } from "../learning/learning.ts";
import type { IncidentFacts } from "../supervise/state.ts";
import { Learned } from "./learned.ts";

const dayMs = 86_400_000;
const hourMs = 3_600_000;
const workload = "api";
const refused = "crash, exit 1: error connect econnrefused";

/** A node's memory; `pass` lets its time go on, `reboot` opens it anew in another boot. */
class Node {
  readonly suggested: string[] = [];
  #now = { bootId: "boot-1", bootMs: 1_000_000, wallMs: 1e12 };
  learned = this.#open(freshLearning(this.#now));

  #open(kept: ReturnType<Learned["kept"]>): Learned {
    return new Learned(
      () => this.#now,
      kept,
      false,
      (_workload, text) => this.suggested.push(text),
    );
  }
  pass(ms: number): void {
    this.#now = { ...this.#now, bootMs: this.#now.bootMs + ms, wallMs: this.#now.wallMs + ms };
  }
  reboot(bootId: string): void {
    const kept = JSON.parse(JSON.stringify(this.learned.kept())) as ReturnType<Learned["kept"]>;
    this.#now = { bootId, bootMs: 20_000, wallMs: this.#now.wallMs + 60_000 };
    this.learned = this.#open(kept);
  }
  /** One incident, revision by revision; `signed` at the first one that an attempt had failed before. */
  tell(incidents: readonly IncidentFacts[], signed?: string, sinceConfigMs?: number): void {
    const around = {
      workload,
      nowMs: incidents.at(-1)?.detectedMs ?? 0,
      ...(sinceConfigMs !== undefined && { sinceConfigMs }),
    };
    const n = this.#told++;
    for (const facts of incidents) {
      const id = `${facts.id}-${n}`;
      this.learned.incident({ ...facts, id }, around);
      const hasFailed = facts.attempts.some(({ ok }) => ok === false);
      if (signed !== undefined && hasFailed && facts.at !== "closed") this.learned.sign(id, signed);
    }
  }
  #told = 0;
}

/** The restart fails, safe mode helps. */
function healedBySafeMode(): IncidentFacts[] {
  const one = bench(specOf({ name: workload, safeMode: { env: {} } }));
  one.facts = { ...noFacts, hints: ["config"] };
  one.tell({ is: "boot", bootId: "boot-1" });
  one.pass(60_000);
  one.crash();
  one.crash();
  one.pass(400_000);
  expect(one.incidents.at(-1)?.attempts.map(({ rung, ok }) => [rung, ok])).toEqual([
    ["quick_restart", false],
    ["safe_mode", true],
  ]);
  return one.incidents;
}
function healedByRestart(code = 1): IncidentFacts[] {
  const one = bench(specOf({ name: workload }));
  one.tell({ is: "boot", bootId: "boot-1" });
  one.pass(60_000);
  one.crash(code);
  one.pass(400_000);
  expect(one.incidents.at(-1)?.at).toBe("closed");
  return one.incidents;
}

test("SYN-12 the first restart was never counted for the failure that was recognised after it: nothing was learned of it", () => {
  const node = new Node();
  for (let n = 0; n < 6; n++) {
    node.tell(healedBySafeMode(), refused);
    node.pass(hourMs);
  }
  const advice = node.learned.advice(workload, refused);
  expect(advice?.order[0]).toBe("safe_mode");
  expect(advice?.because).toContain("quick_restart healed 0 of 6, safe_mode healed 6 of 6");
  const trust = node.learned.trust("rung:quick_restart").trust;
  const once = new Node();
  for (let n = 0; n < 6; n++) {
    once.tell(healedBySafeMode());
    once.pass(hourMs);
  }
  expect(once.learned.trust("rung:quick_restart").trust).toBeCloseTo(trust, 2); // and trust falls once for it
});

test("SYN-12 crashes with different exit codes, each healed by its restart, were suggested as one that recurs", () => {
  const node = new Node();
  for (const code of [1, 78, 137]) {
    node.tell(healedByRestart(code));
    node.pass(hourMs);
  }
  expect(node.suggested).toEqual([]);
  for (let n = 0; n < 2; n++) {
    node.tell(healedByRestart(78));
    node.pass(hourMs);
  }
  expect(node.suggested.join()).toContain("crash, exit 78");
});

test("GRC-5 quiet weeks were forgotten by a reboot: distrust of long ago was back, and the deployment of today answered for it", () => {
  const node = new Node();
  for (let n = 0; n < 4; n++) node.tell(healedBySafeMode());
  const lost = node.learned.trust(`workload:${workload}`).trust;
  for (let day = 0; day < 40; day++) {
    node.pass(dayMs);
    node.learned.kept();
  }
  const { trust } = node.learned.trust(`workload:${workload}`);
  expect(trust).toBeGreaterThan(lost + 0.05);
  node.reboot("boot-2");
  expect(node.learned.trust(`workload:${workload}`).trust).toBeCloseTo(trust, 2);
});

test("PRA-14 a suggestion was told for ever: of a workload that is gone, and a year after the last failure", () => {
  const node = new Node();
  for (let n = 0; n < 4; n++) {
    node.tell(healedByRestart());
    node.pass(hourMs);
  }
  expect(node.learned.suggestions(() => true)).toHaveLength(1);
  expect(node.learned.suggestions((name) => name !== workload)).toEqual([]);
  node.pass(29 * dayMs);
  expect(node.learned.suggestions(() => true)).toHaveLength(1);
  node.pass(2 * dayMs);
  expect(node.learned.suggestions(() => true)).toEqual([]);
});

test("PRA-14 a workload that fails after each change of its config is told so", () => {
  const node = new Node();
  for (let n = 0; n < 4; n++) {
    node.tell(healedByRestart(), undefined, 120_000 + n);
    node.pass((6 + 5 * n) * hourMs);
  }
  expect(node.learned.suggestions(() => true).join()).toContain("changes of config");
});
