import { expect, test } from "vitest";
import { type MetaHealth, statusOf } from "../meta/meta-health.ts";
import { deadTeller } from "./dead-word.ts";

const meta = (parts: Partial<MetaHealth>): MetaHealth => {
  const all = { m1Proc: 1, m2Heartbeat: 1, m3DataFreshness: 1, m4ControlPlane: 1, m5Coherence: 1, ...parts };
  const rmMeta = all.m1Proc * all.m2Heartbeat * all.m3DataFreshness * all.m4ControlPlane * all.m5Coherence;
  const because = [`source/bars is ${rmMeta}`];
  return { rmMeta, status: statusOf(rmMeta), subsystemHealth: {}, because, missing: [], wallMs: 0, ...all };
};

/** What people hear of a node whose meta-health is `at` a time, computed every 5 s for `seconds`. */
function told(seconds: number, at: (second: number) => Partial<MetaHealth>) {
  const [alerts, warnings]: [string[], Map<string, string>] = [[], new Map()];
  const voice = { audit: () => undefined, alert: ({ message }: { message: string }) => void alerts.push(message) };
  const warn = (key: string, because: string | undefined) =>
    because === undefined ? void warnings.delete(key) : void warnings.set(key, because);
  const compute = deadTeller(voice, warn);
  for (let second = 0; second <= seconds; second += 5) compute(meta(at(second)), 1e6 + second * 1000);
  return { alerts, warnings: [...warnings.values()] };
}

test("DOL-2 a node that was DEAD for days by a source or a rule told nobody", () => {
  for (const part of ["m3DataFreshness", "m4ControlPlane", "m5Coherence"] as const) {
    const { alerts, warnings } = told(3600, () => ({ [part]: 0 }));
    expect(alerts).toEqual(["the node is DEAD (0.00): source/bars is 0"]);
    expect(warnings).toEqual(alerts);
  }
});

test("DOL-2 a short outage, stale data and processes with incidents of their own page nobody; and it is over with its cause", () => {
  expect(told(55, () => ({ m5Coherence: 0 })).alerts).toEqual([]);
  expect(told(3600, () => ({ m3DataFreshness: 0.5 })).alerts).toEqual([]);
  expect(told(3600, () => ({ m1Proc: 0 })).alerts).toEqual([]);
  expect(told(300, (second) => ({ m5Coherence: second < 200 ? 0 : 1 })).warnings).toEqual([]);
});

test("DOL-2 a value that comes and goes pages once, and an outage after ten quiet minutes anew", () => {
  expect(told(7200, (second) => ({ m5Coherence: second % 300 < 120 ? 0 : 1 })).alerts).toHaveLength(1);
  expect(told(7200, (second) => ({ m5Coherence: second < 120 || second > 1000 ? 0 : 1 })).alerts).toHaveLength(2);
});
