import { spawnSync } from "node:child_process";
import { WorkloadHealth, WorkloadPhase } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import { Level } from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { memoryFleet } from "../../test/support/fleet.ts";
import { requireTool } from "../../test/tools.ts";
import { metricsText } from "./metrics.driver.ts";

const use = { cpuSeconds: 1.5, residentBytes: 1e8 };

function fleetWithOne() {
  const fleet = memoryFleet();
  fleet.putNode({
    id: 'edge "1"\n\\',
    level: Level.RED,
    lastBeatAgo: durationFromMs(61_500),
    workloads: [
      { name: "risk-firewall", phase: WorkloadPhase.RUNNING, health: WorkloadHealth.HEALTHY, pid: 4211, restarts: 3n },
      { name: "redis", phase: WorkloadPhase.BACKOFF, health: WorkloadHealth.UNHEALTHY, restarts: 5n },
    ],
    readings: [
      { sensor: "cpu_busy_ratio", subject: "", value: 0.25 },
      { sensor: "disk_free_bytes", subject: "/var", value: 5e9 },
      { sensor: "level", subject: "", value: 1 },
      { sensor: "Evil-Name{}", subject: "", value: 1 },
    ],
  });
  fleet.count({ detectSeconds: { sum: 12.5, count: 5 }, recoverSeconds: { sum: 8, count: 4 }, incidentsOpened: 5 });
  return fleet;
}

test("SYN-7 nodes, processes, readings, incidents, MTTD and MTTR are there, and hostile text cannot add a line", async () => {
  const lines = (await metricsText(fleetWithOne(), use)).split("\n");
  const node = 'node="edge \\"1\\"\\n\\\\"';
  for (const line of [
    'blueflame_nodes{level="red"} 1',
    `blueflame_node_connected{${node}} 1`,
    `blueflame_node_last_beat_age_seconds{${node}} 61.5`,
    `blueflame_workload_running{${node},workload="risk-firewall"} 1`,
    `blueflame_workload_running{${node},workload="redis"} 0`,
    `blueflame_workload_pid{${node},workload="risk-firewall"} 4211`,
    `blueflame_workload_restarts_total{${node},workload="redis"} 5`,
    `blueflame_node_cpu_busy_ratio{${node},subject=""} 0.25`,
    `blueflame_node_disk_free_bytes{${node},subject="/var"} 5000000000`,
    "blueflame_detection_seconds_total 12.5",
    "blueflame_detections_total 5",
    "blueflame_recovery_seconds_total 8",
    "blueflame_recoveries_total 4",
    "blueflame_incidents_opened_total 5",
    "blueflame_metrics_left_out 2",
  ]) {
    expect(lines).toContain(line);
  }
});

test("two scrapes do not add up, and a node that is gone leaves no series", async () => {
  const fleet = fleetWithOne();
  expect(await metricsText(fleet, use)).toBe(await metricsText(fleet, use));
  expect(await metricsText(memoryFleet(), use)).not.toContain("edge");
});

test("a large or hostile fleet has a bounded number of series, and what is left out is counted", async () => {
  const fleet = memoryFleet();
  for (let at = 0; at < 2100; at++) {
    const readings = [{ sensor: `made_up_${at}`, subject: "", value: at }];
    fleet.putNode({ id: `edge-${at}`, workloads: [{ name: "a" }], readings });
  }
  const text = await metricsText(fleet, use);
  expect(text).toContain('blueflame_nodes{level="green"} 2100');
  expect(text.match(/^blueflame_node_level\{/gm)).toHaveLength(2000);
  expect(text.match(/^# TYPE blueflame_node_made_up/gm)).toHaveLength(60);
  expect(text).toContain(`blueflame_metrics_left_out ${100 + 2000 - 60}`);
});

// Debian's prometheus package; without it the skip is visible in the count.
test("SYN-7 promtool finds nothing to complain about", async (context) => {
  const checked = spawnSync(requireTool(context, "promtool"), ["check", "metrics"], {
    input: await metricsText(fleetWithOne(), use),
    encoding: "utf8",
  });
  expect([checked.status, checked.stderr, checked.stdout]).toEqual([0, "", ""]);
});
