import { ladderDefaults } from "@blueflame/agent/ladder/policy.ts";
import type { WorkloadSpec } from "@blueflame/agent/supervise/spec.ts";

/** A workload with the defaults of design.md and no signs of life, to be overridden by a test. */
export function specOf(over: Partial<WorkloadSpec> = {}): WorkloadSpec {
  return {
    name: "engine",
    command: ["/bin/true"],
    cwd: "/",
    env: {},
    restart: "always",
    starts: { max: 3, withinMs: 60_000 },
    backoff: { baseMs: 500, capMs: 30_000, resetAfterMs: 10_000 },
    startGraceMs: 10_000,
    probes: [],
    stop: { signal: "SIGTERM", graceMs: 5000 },
    clean: { files: [], sockets: [], ports: [] },
    output: { maxBytes: 10 * 1024 * 1024, files: 3 },
    dependsOn: [],
    critical: false,
    probationMs: 300_000,
    configFiles: [],
    limits: { memoryBytes: 0, cpu: 0, tasks: 4096 },
    ladder: ladderDefaults,
    notify: false,
    pool: "",
    artifacts: [],
    sandboxExitCodes: [],
    patterns: { error: "\\b(error|fatal|panic|exception)\\b", corruption: "", configError: "" },
    ...over,
  };
}
