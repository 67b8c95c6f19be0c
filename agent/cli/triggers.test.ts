import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { type CliRig, openCliRig } from "../../test/support/cli-rig.ts";
import { type MemoryNode, memoryNode } from "../../test/support/node.ts";
import { healthy, quiet, triggerBench } from "../../test/support/trigger-bench.ts";
import { triggerInfos } from "../triggers/present.ts";
import { fresh } from "../triggers/state.ts";
import { catalogue } from "../triggers/trigger.ts";

let node: MemoryNode;
let rig: CliRig;

beforeAll(async () => {
  node = memoryNode(["web"]);
  rig = await openCliRig(node);
});
afterAll(() => rig.close());
beforeEach(() => {
  node.triggerList = triggerInfos(catalogue, fresh(), 0);
});

const cli = (...args: string[]) => rig.cli("triggers", ...args);

/** The node with a slow workload, a stranger on its CPU, and one trigger switched off. */
function troubled(): void {
  const bench = triggerBench();
  bench.see(
    quiet({
      node: { ...quiet().node, cpu_busy_ratio: 0.99, ours_cpu_ratio: 0.1 },
      workloads: { web: healthy({ p95_latency_ms: 1400 }), db: healthy({ p95_latency_ms: 1200 }) },
      heaviestStranger: "stress-ng (pid 7) takes 180 % of a core",
    }),
  );
  bench.pass(12_000);
  const triggers = catalogue.map((one) => ({ ...one, off: one.name === "anomaly" }));
  node.triggerList = triggerInfos(triggers, bench.state, bench.now().ms);
}

test("GRC-2 blueflame-agent triggers lists the 17 that are active out of the box, each with when it fires and its playbook", async () => {
  const { code, out, err } = await cli();
  expect({ code, err }).toEqual({ code: 0, err: "" });
  const lines = out.trimEnd().split("\n");
  expect(lines[0]).toMatch(/^TRIGGER +NOW +FIRED +SEVERITY +WHEN → PLAYBOOK$/);
  expect(lines).toHaveLength(1 + 17);
  expect(lines.filter((line) => / quiet +0 +(low|medium|high) /.test(line))).toHaveLength(17);
  expect(out).toMatch(/^cpu-high .* cpu_busy_ratio above 85% for 3s → performance-optimization$/m);
  expect(out).toMatch(/^api-timeouts .* 5 requests timed out within 1m → restart-service$/m);
  expect(out).toMatch(/^daily-check .* daily at 03:00 → daily-maintenance$/m);
  expect(out).toMatch(/^workload-crashed .* a workload has ended by itself$/m);
});

test("-o json is the API's own message; --no-headers is the bare rows", async () => {
  troubled();
  const triggers = JSON.parse((await cli("-o", "json")).out) as { name: string }[];
  expect(triggers).toHaveLength(17);
  expect(triggers.find(({ name }) => name === "high-latency")).toMatchObject({
    condition: "p95_latency_ms above 1000ms for 3s",
    playbook: "performance-optimization",
    severity: "medium",
    active: true,
    fired: "2",
    stands: [
      { subject: "workload/db", stand: "firing", because: "p95_latency_ms is 1200ms, above 1000ms", since: "9s" },
      { subject: "workload/web", stand: "firing" },
    ],
  });
  expect((await cli("--no-headers")).out.split("\n")[0]).toMatch(/^anomaly/);
});

test("what is firing, held back or switched off is seen at a glance, and one trigger tells why", async () => {
  troubled();
  const { out } = await cli();
  expect(out).toMatch(/^high-latency +firing 2 +2 +medium/m);
  expect(out).toMatch(/^cpu-high +pending +0/m);
  expect(out).toMatch(/^anomaly +off/m);
  const one = await cli("cpu-high");
  expect(one.out.trimEnd().split("\n")).toEqual([
    "TRIGGER   cpu-high",
    "WHEN      cpu_busy_ratio above 85% for 3s",
    "PLAYBOOK  performance-optimization",
    "SEVERITY  medium",
    "FIRED     0 times since the agent's start",
    "NOW       node pending for 12.0s: cpu_busy_ratio is 99%, above 85%; not by us: stress-ng (pid 7) takes 180 % of a core; our workloads take 10%",
  ]);
});

test("an unknown trigger is not found, with what was meant", async () => {
  const { code, err, out } = await cli("cpu-hihg");
  expect([code, out]).toEqual([3, ""]);
  expect(err).toContain("there is no trigger 'cpu-hihg'; did you mean 'cpu-high'?");
});

test("--metrics lists what a trigger of one's own may look at, also while no agent runs", async () => {
  const { code, out } = await cli("--metrics", "--data-dir", join(rig.dir, "nowhere"));
  expect(code).toBe(0);
  expect(out).toMatch(/^p95_latency_ms +workload +95 of 100 of its requests are faster · a duration with its unit/m);
  expect(out).toMatch(/^disk_used_ratio +node +.* · a share with a percent sign, such as 85%, at most 100%$/m);
  const rows = JSON.parse((await cli("--metrics", "-o", "json")).out) as { name: string }[];
  expect(rows.map(({ name }) => name)).toContain("health_score");
});
