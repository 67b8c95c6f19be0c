import { relative } from "node:path";
import type { TestSpecification } from "vitest/node";
import { BaseSequencer } from "vitest/node";
import { root } from "../deploy/root.ts";

/**
 * Seconds of the files that take longest, measured; others count as {@link shortSeconds}. Only the order comes from it: a figure that is
 * wrong costs time at the end of a run and nothing else.
 */
const measured: Readonly<Record<string, number>> = {
  "test/e2e/emergency.test.ts": 119,
  "test/e2e/disk.test.ts": 104,
  "test/e2e/bad-input-link.test.ts": 93,
  "hub/process.test.ts": 92,
  "test/e2e/emergency-damage.test.ts": 70,
  "agent/cli/cli.test.ts": 69,
  "test/e2e/fleet.test.ts": 68,
  "test/e2e/recovery-syn.test.ts": 61,
  "test/e2e/guards.test.ts": 59,
  "test/e2e/guards-pairs.test.ts": 58,
  "agent/remedies/durable.test.ts": 57,
  "test/e2e/recovery-grc.test.ts": 46,
  "test/prove/store.test.ts": 44,
  "test/e2e/guards-install.test.ts": 42,
  "test/e2e/start.test.ts": 40,
  "examples/risk-firewall/main.test.ts": 38,
  "hub/cli/cli.test.ts": 37,
  "agent/supervise/supervisor.driver.test.ts": 36,
  "test/e2e/bad-input.test.ts": 35,
  "agent/store/agent-store.test.ts": 34,
  "agent/limits/limits.driver.test.ts": 29,
  "test/e2e/prove.test.ts": 28,
  "agent/remedies/remedies.test.ts": 27,
  "agent/exorcism/exorcist.driver.test.ts": 26,
  "test/e2e/leave-while-healing.test.ts": 26,
  "agent/anomaly/watch.test.ts": 23,
  "hub/phoenix.test.ts": 23,
  "test/e2e/alone.test.ts": 22,
  "test/e2e/hub-away.test.ts": 22,
  "test/e2e/notify.test.ts": 22,
  "hub/hub.test.ts": 20,
  "shared/config/load.test.ts": 20,
  "test/e2e/bad-input-place.test.ts": 20,
  "test/e2e/recovery-order.test.ts": 20,
  "test/e2e/recovery-stress.test.ts": 19,
  "agent/uplink/link.driver.test.ts": 17,
  "test/prove/risk-kills.test.ts": 17,
  "agent/cli/store-from-hub.test.ts": 14,
  "agent/triggers/machine.property.test.ts": 14,
  "test/e2e/replay.test.ts": 14,
  "agent/store/mend.test.ts": 13,
  "test/e2e/canary.test.ts": 13,
  "agent/sensors/observer.driver.test.ts": 12,
  "agent/supervise/supervisor.property.test.ts": 12,
  "examples/risk-firewall/guarded.test.ts": 12,
  "test/e2e/many.test.ts": 12,
  "test/sim/node-scenarios.test.ts": 12,
  "test/tidy/proto.test.ts": 12,
  "agent/recovery/kill-switch.driver.test.ts": 11,
  "agent/remedies/schedule.test.ts": 11,
  "test/contract/stores.test.ts": 11,
  "test/e2e/audit.test.ts": 11,
  "agent/sensors/hung-disk.test.ts": 10,
  "hub/notify/alerts.test.ts": 10,
  "test/sim/node-matrix.test.ts": 10,
};
const shortSeconds = 3;

/**
 * The order of a run: the longest files first, so that none of them is left at its end, and those of whole programs, which mostly
 * wait, spread evenly among the parts, which mostly compute, so that a machine with few cores always has both.
 */
export class WaitAndWork extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const groups = new Map<number, Map<string, TestSpecification[]>>();
    for (const file of files) {
      const { name, config } = file.project;
      const order = config.sequence.groupOrder;
      const projects = groups.get(order) ?? new Map<string, TestSpecification[]>();
      groups.set(order, projects.set(name, [...(projects.get(name) ?? []), file]));
    }
    return [...groups]
      .sort(([a], [b]) => a - b)
      .flatMap(([, projects]) => spread([...projects.values()].map(longestFirst)));
  }
}

function seconds(file: TestSpecification): number {
  return measured[relative(root, file.moduleId)] ?? shortSeconds;
}

function longestFirst(files: readonly TestSpecification[]): TestSpecification[] {
  return files.toSorted((a, b) => seconds(b) - seconds(a) || (a.moduleId < b.moduleId ? -1 : 1));
}

/** Merges lists so that each is used up at the same pace: always from the one of which the smallest share of its time is taken. */
function spread(lists: readonly (readonly TestSpecification[])[]): TestSpecification[] {
  const merged: TestSpecification[] = [];
  const lanes = lists.map((files) => ({
    files,
    at: 0,
    taken: 0,
    all: files.reduce((sum, file) => sum + seconds(file), 0),
  }));
  for (;;) {
    const [next] = lanes.filter(({ files, at }) => at < files.length).sort((a, b) => a.taken / a.all - b.taken / b.all);
    const file = next?.files[next.at];
    if (!next || !file) return merged;
    merged.push(file);
    next.at += 1;
    next.taken += seconds(file);
  }
}
