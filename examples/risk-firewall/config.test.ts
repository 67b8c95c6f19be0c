import { readFileSync } from "node:fs";
import { join } from "node:path";
import { readAgentConfig } from "@blueflame/agent/config/config.driver.ts";
import { expect, test } from "vitest";

const file = join(import.meta.dirname, "blueflame.yaml");

test("PHX-5 the commented config of the sample is one that the agent takes, with all three probes and a beat", () => {
  const { workloads } = readAgentConfig(file, process.env);
  expect(workloads).toHaveLength(1);
  expect(workloads[0]).toMatchObject({
    name: "risk-firewall",
    beat: { timeoutMs: 3000 },
    stop: { signal: "SIGTERM", graceMs: 5000 },
    probes: [{ use: "liveness" }, { use: "readiness" }, { use: "startup" }],
    performance: { url: "http://127.0.0.1:7490/performance" },
    slo: { availability: 0.999, p95Ms: 200 },
  });
  // What `npm start` replaces by a free port must stand there as it looks for it.
  expect(readFileSync(file, "utf8").match(/127\.0\.0\.1:7490/g)).toHaveLength(4);
});
