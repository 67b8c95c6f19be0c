import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readAgentConfig } from "@blueflame/agent/config.driver.ts";
import { configManual } from "@blueflame/shared/config/manual.ts";
import { AgentConfigSchema } from "@blueflame/shared/gen/blueflame/config/v1/agent_config_pb.ts";
import { afterEach, beforeEach, expect, test } from "vitest";

const here = fileURLToPath(new URL(".", import.meta.url));
const files = readdirSync(here).filter((name) => name.endsWith(".yaml"));
const programs = ["sleep", "true", "redis-server", "nginx"];

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "examples-"));
  for (const name of programs) writeFileSync(join(folder, name), "#!/bin/sh\n", { mode: 0o755 });
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Reads an example from a folder of its own, on a machine that has the programs. */
function read(name: string) {
  copyFileSync(join(here, name), join(folder, name));
  return readAgentConfig(join(folder, name), { PATH: folder });
}

test.each(files)("%s is a config that the agent takes", (name) => {
  expect(read(name).workloads.length).toBeGreaterThan(0);
});

test("PHX-2 what freezes is found in under 5 s by the probes of redis.yaml and nginx.yaml", () => {
  for (const name of ["redis.yaml", "nginx.yaml"]) {
    const liveness = read(name).workloads[0]?.probes.find(({ use }) => use === "liveness");
    expect(liveness).toBeDefined();
    const { failures = 0, everyMs = 0, timeoutMs = 0 } = liveness ?? {};
    expect(failures * everyMs + timeoutMs).toBeLessThan(5000);
  }
});

test("agent.yaml names every key of the schema, and its commented defaults are the real ones", () => {
  const text = readFileSync(join(here, "agent.yaml"), "utf8");
  for (const line of configManual(AgentConfigSchema).trim().split("\n")) {
    const key = line
      .split(" ")[0]
      ?.split(".")
      .filter((part) => part !== "KEY")
      .at(-1)
      ?.replace("[]", "");
    expect(text).toMatch(new RegExp(`(^|[\\s{])${key}:`, "m"));
  }
  // The second workload says nothing but name and command: all that the first one says of defaults must be the same.
  const { sensors, workloads } = read("agent.yaml");
  const [full, bare] = workloads;
  const shown = [
    "restart",
    "starts",
    "backoff",
    "startGraceMs",
    "stop",
    "output",
    "critical",
    "probationMs",
    "cwd",
  ] as const;
  for (const key of shown) expect([key, full?.[key]]).toEqual([key, bare?.[key]]);
  writeFileSync(join(folder, "empty.yaml"), "");
  expect(sensors).toEqual(readAgentConfig(join(folder, "empty.yaml"), {}).sensors);
});
