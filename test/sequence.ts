import { relative } from "node:path";
import type { TestSpecification } from "vitest/node";
import { BaseSequencer } from "vitest/node";
import { root } from "../deploy/root.ts";

/**
 * Seconds of the files that take longest, measured; others count as {@link shortSeconds}. Only the order comes from it: a figure that is
 * wrong costs time at the end of a run and nothing else.
 */
const measured: Readonly<Record<string, number>> = {
  "test/e2e/disk.test.ts": 132,
  "test/e2e/emergency.test.ts": 103,
  "test/e2e/emergency-damage.test.ts": 100,
  "hub/process.test.ts": 84,
  "test/e2e/fleet.test.ts": 74,
  "test/e2e/guards.test.ts": 70,
  "test/e2e/guards-pairs.test.ts": 64,
  "test/e2e/recovery-syn.test.ts": 60,
  "test/e2e/recovery-grc.test.ts": 53,
  "test/e2e/recovery-quick.test.ts": 44,
  "hub/cli/cli.test.ts": 52,
  "test/e2e/bad-input-link.test.ts": 52,
  "test/e2e/start.test.ts": 48,
  "test/e2e/demoted.test.ts": 48,
  "test/e2e/guards-install.test.ts": 46,
  "agent/supervise/supervisor.driver.test.ts": 40,
  "test/e2e/bad-input.test.ts": 40,
  "test/prove/store.test.ts": 39,
  "test/e2e/alone.test.ts": 38,
  "examples/risk-firewall/main.test.ts": 37,
  "agent/remedies/dead-disk.test.ts": 36,
  "agent/cli/cli.test.ts": 32,
  "test/e2e/prove.test.ts": 32,
  "agent/limits/limits.driver.test.ts": 28,
  "agent/remedies/durable.test.ts": 27,
  "agent/remedies/remedies.test.ts": 26,
  "test/e2e/leave-while-healing.test.ts": 26,
  "test/e2e/silence.test.ts": 24,
  "test/prove/drain.test.ts": 22,
  "test/e2e/rest.test.ts": 22,
  "test/e2e/protect.test.ts": 22,
  "hub/phoenix.test.ts": 23,
  "agent/exorcism/exorcist.driver.test.ts": 22,
  "test/e2e/bad-input-place.test.ts": 21,
  "test/e2e/recovery-order.test.ts": 20,
  "agent/cli/store-from-hub.test.ts": 18,
  "agent/recovery/kill-switch.driver.test.ts": 18,
  "test/e2e/audit.test.ts": 18,
  "test/e2e/notify.test.ts": 18,
  "test/e2e/hub-away.test.ts": 17,
  "agent/uplink/link.driver.test.ts": 16,
  "test/e2e/replay.test.ts": 16,
  "agent/anomaly/watch.test.ts": 15,
  "agent/store/mend.test.ts": 15,
  "hub/hub.test.ts": 15,
  "test/e2e/recovery-stress.test.ts": 15,
  "agent/store/younger-lives.test.ts": 15,
  "test/prove/risk-kills.test.ts": 14,
  "test/prove/offline-reboot.test.ts": 10,
  "agent/store/agent-store.test.ts": 13,
  "test/e2e/install-config.test.ts": 13,
  "agent/sensors/observer.driver.test.ts": 12,
  "agent/supervise/supervisor.property.test.ts": 12,
  "test/e2e/canary.test.ts": 12,
  "agent/cli/health.test.ts": 11,
  "agent/remedies/rungs.test.ts": 11,
  "agent/sensors/hung-disk.test.ts": 11,
  "examples/risk-firewall/guarded.test.ts": 11,
  "agent/remedies/schedule.test.ts": 10,
  "agent/sensors/probe.test.ts": 10,
  "agent/store/audit-trail.test.ts": 10,
  "agent/store/deferred-store.test.ts": 10,
  "agent/triggers/machine.property.test.ts": 10,
  "agent/uplink/hub-process.test.ts": 10,
  "agent/uplink/snapshot-sending.driver.test.ts": 10,
  "agent/cli/state.test.ts": 9,
  "agent/notify/notify-for.driver.test.ts": 9,
  "hub/api/http.test.ts": 9,
  "shared/config/load.test.ts": 9,
  "shared/store/level/database.test.ts": 9,
  "test/sim/node-scenarios.test.ts": 9,
  "test/tidy/proto.test.ts": 9,
  "agent/cli/playbooks.test.ts": 8,
  "agent/store/sealed-store.test.ts": 8,
  "agent/supervise/process.driver.test.ts": 8,
  "agent/uplink/session.properties.test.ts": 8,
  "agent/uplink/session.test.ts": 8,
  "examples/importer/kept.test.ts": 8,
  "hub/api/page/page.test.ts": 8,
  "hub/cli/top.test.ts": 8,
  "test/e2e/agent-log.test.ts": 8,
  "test/systemd/reboot.test.ts": 8,
};
const shortSeconds = 1.3;

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
