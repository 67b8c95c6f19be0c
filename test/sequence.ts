import { relative } from "node:path";
import type { TestSpecification } from "vitest/node";
import { BaseSequencer } from "vitest/node";
import { root } from "../deploy/root.ts";

/**
 * Seconds of the files that take longest, measured; others count as {@link shortSeconds}. Only the order comes from it: a figure that is
 * wrong costs time at the end of a run and nothing else.
 */
const measured: Readonly<Record<string, number>> = {
  "test/e2e/disk.test.ts": 170,
  "test/e2e/emergency.test.ts": 130,
  "test/e2e/bad-input-link.test.ts": 95,
  "test/e2e/emergency-damage.test.ts": 90,
  "test/e2e/fleet.test.ts": 80,
  "test/e2e/guards.test.ts": 80,
  "test/e2e/bad-input-place.test.ts": 70,
  "test/e2e/start.test.ts": 65,
  "test/e2e/guards-pairs.test.ts": 60,
  "hub/process.test.ts": 60,
  "test/e2e/guards-install.test.ts": 50,
  "test/e2e/recovery-syn.test.ts": 50,
  "test/e2e/recovery-grc.test.ts": 45,
  "test/e2e/prove.test.ts": 45,
  "test/e2e/many.test.ts": 45,
  "test/e2e/bad-input.test.ts": 45,
  "test/prove/store.test.ts": 40,
  "agent/supervise/supervisor.driver.test.ts": 38,
  "hub/cli/cli.test.ts": 35,
  "examples/risk-firewall/main.test.ts": 30,
  "test/e2e/systemd.test.ts": 28,
  "agent/cli/cli.test.ts": 28,
  "test/e2e/leave-while-healing.test.ts": 26,
  "agent/remedies/durable.test.ts": 26,
  "agent/limits/limits.driver.test.ts": 25,
  "agent/remedies/remedies.test.ts": 23,
  "agent/exorcism/exorcist.driver.test.ts": 23,
  "test/e2e/notify.test.ts": 23,
  "hub/phoenix.test.ts": 21,
  "test/e2e/recovery-order.test.ts": 20,
  "test/prove/risk-kills.test.ts": 20,
  "test/prove/drain.test.ts": 17,
  "agent/store/agent-store.test.ts": 16,
  "agent/uplink/link.driver.test.ts": 16,
  "shared/config/load.test.ts": 15,
  "agent/triggers/machine.property.test.ts": 15,
  "test/e2e/replay.test.ts": 15,
  "hub/hub.test.ts": 14,
  "test/e2e/canary.test.ts": 10,
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
