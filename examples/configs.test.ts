import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readAgentConfig } from "@blueflame/agent/config/config.driver.ts";
import type { WorkloadSpec } from "@blueflame/agent/supervise/spec.ts";
import { readHubConfig } from "@blueflame/hub/config.driver.ts";
import { isSection, ruleOf } from "@blueflame/shared/config/value.ts";
import { AgentConfigSchema } from "@blueflame/shared/gen/blueflame/config/v1/agent_config_pb.ts";
import { HubConfigSchema } from "@blueflame/shared/gen/blueflame/config/v1/hub_config_pb.ts";
import type { Rule } from "@blueflame/shared/gen/blueflame/config/v1/rule_pb.ts";
import type { DescMessage } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isMap, isScalar, isSeq, LineCounter, parseDocument, type YAMLMap } from "yaml";
import { bench } from "../test/support/workload-bench.ts";

const here = fileURLToPath(new URL(".", import.meta.url));
const files = readdirSync(here).filter((name) => name.endsWith(".yaml") && name !== "hub.yaml");
const programs = ["sleep", "true", "sh", "test", "touch", "redis-server", "nginx", "ssh"];

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "examples-"));
  for (const name of programs) writeFileSync(join(folder, name), "#!/bin/sh\n", { mode: 0o755 });
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** An example in a folder of its own. */
function placed(name: string): string {
  copyFileSync(join(here, name), join(folder, name));
  return join(folder, name);
}

/** Reads an example on a machine that has the programs. */
const read = (name: string) => readAgentConfig(placed(name), { PATH: folder });

test.each(files)("%s is a config that the agent takes", (name) => {
  expect(read(name).workloads.length).toBeGreaterThan(0);
});

test("hub.yaml is a config that the hub takes, and what it shows as defaults is what a hub gets that has none", () => {
  const { respawns, ...shown } = readHubConfig(placed("hub.yaml"), { PATH: folder });
  const { respawns: none, ...bare } = readHubConfig(undefined, {});
  expect(shown).toEqual(bare);
  expect(none.size).toBe(0);
  expect(respawns.get("edge-1")).toMatchObject({ probe: { timeoutMs: 10_000 }, exec: { cwd: folder } });
});

test("PHX-2 what freezes is found in under 5 s by the probes of redis.yaml and nginx.yaml", () => {
  for (const name of ["redis.yaml", "nginx.yaml"]) {
    const liveness = read(name).workloads[0]?.probes.find(({ use }) => use === "liveness");
    expect(liveness).toBeDefined();
    const { failures = 0, everyMs = 0, timeoutMs = 0 } = liveness ?? {};
    expect(failures * everyMs + timeoutMs).toBeLessThan(5000);
  }
});

test("SYN-2 PRA-1 the launcher of synergymesh.yaml and the agents of praetorian.yaml may be silent for 90 s", () => {
  const beats = ["synergymesh.yaml", "praetorian.yaml"].flatMap((name) =>
    read(name).workloads.flatMap((one) => (one.beat ? [[one.name, one.beat.timeoutMs]] : [])),
  );
  expect(beats).toEqual([
    ["launcher", 90_000],
    ["sentinel", 90_000],
    ["oracle", 90_000],
  ]);
});

/** A key of the schema with its rule, and where the example that shows all of them writes it. */
interface Shown {
  readonly path: string;
  readonly rule: Rule;
  readonly values: readonly string[];
  /** Each place's line and the comments above it. */
  readonly around: readonly string[];
}

/** Every key, section by section; a key of list items is looked for in all of them. */
function shownBelow(schema: DescMessage, prefix: string, sections: readonly YAMLMap[], lines: Lines): Shown[] {
  return schema.fields.flatMap((field): Shown[] => {
    const path = `${prefix}${field.name}`;
    const pairs = sections.flatMap(({ items }) => items).filter(({ key }) => String(key) === field.name);
    const nodes = pairs.flatMap(({ value }) => (isSeq(value) ? value.items : [value]));
    const values = nodes.filter(isScalar).map((node) => String(node.source ?? node.value));
    const shown = { path, rule: ruleOf(field), values, around: pairs.map(({ key }) => lines.above(key)) };
    if (!isSection(field) || !field.message || field.fieldKind === "map") return [shown];
    return [shown, ...shownBelow(field.message, `${path}.`, nodes.filter(isMap), lines)];
  });
}

type Lines = { above(key: unknown): string };

function shownIn(name: string, schema: DescMessage): Shown[] {
  const text = readFileSync(join(here, name), "utf8");
  const counter = new LineCounter();
  const root = parseDocument(text, { lineCounter: counter }).contents;
  if (!isMap(root)) throw new Error(`${name} is no map`);
  const all = text.split("\n");
  const above = (key: unknown) => {
    const { line } = counter.linePos(isScalar(key) ? (key.range?.[0] ?? 0) : 0);
    return all.slice(Math.max(0, line - 12), line).join("\n");
  };
  return shownBelow(schema, "", [root as YAMLMap], { above });
}

const whole = [
  ["agent.yaml", AgentConfigSchema],
  ["hub.yaml", HubConfigSchema],
] as const;

test.each(whole)("%s names every key of the schema", (name, schema) => {
  const missing = shownIn(name, schema).filter(({ around }) => around.length === 0);
  expect(missing.map(({ path }) => path)).toEqual([]);
});

test.each(whole)(
  "%s shows each default as the value of its key, and each range in the words beside it",
  (name, schema) => {
    const shown = shownIn(name, schema);
    const undefaulted = shown.filter(({ rule, values }) => rule.default !== "" && !values.includes(rule.default));
    expect(undefaulted.map(({ path, rule }) => `${path}: ${rule.default}`)).toEqual([]);
    const unbounded = shown.filter(({ path, rule, around }) => {
      // The node's objectives refer to a workload's for their ranges.
      if (rule.min === "" || rule.max === "" || path.startsWith("slo.")) return false;
      return !around.some((words) => words.includes(`${rule.min} to ${rule.max}`));
    });
    expect(unbounded.map(({ path, rule }) => `${path}: ${rule.min} to ${rule.max}`)).toEqual([]);
  },
);

test("what agent.yaml shows as defaults is what a workload and a node get that say nothing", () => {
  const { sensors, meta, slo, self, ladder, learningFrozen, exorcism, workloads } = read("agent.yaml");
  const [full, bare] = workloads;
  const keys = ["restart", "starts", "backoff", "startGraceMs", "stop", "output", "critical", "probationMs", "cwd"];
  for (const key of [...keys, "limits", "notify", "ladder"] as (keyof WorkloadSpec)[])
    expect([key, full?.[key]]).toEqual([key, bare?.[key]]);
  expect(full?.patterns.error).toBe(bare?.patterns.error);
  writeFileSync(join(folder, "empty.yaml"), "");
  const empty = readAgentConfig(join(folder, "empty.yaml"), {});
  const { everyMs, beatStaleMs, beatDeadMs } = empty.meta;
  expect({ sensors, slo, self, ladder, learningFrozen, exorcism }).toEqual({
    sensors: empty.sensors,
    slo: empty.slo,
    self: empty.self,
    ladder: empty.ladder,
    learningFrozen: empty.learningFrozen,
    exorcism: empty.exorcism,
  });
  expect(meta).toMatchObject({ everyMs, beatStaleMs, beatDeadMs });
});

test("DOL-5 by DOLPHIN's own figures a service that dies at each start has three quick ones in 60 s, and then a slow one", () => {
  const feed = read("dolphin.yaml").workloads.find(({ name }) => name === "feed") as WorkloadSpec;
  const one = bench(feed);
  one.tell({ is: "boot", bootId: "boot-1" });
  one.pass(600_000);
  expect(one.phase).toBe("running");
  one.crash();
  const diedMs = 600_000;
  one.pass(60_000, () => one.id() && one.crash());
  const startsMs = one.log.filter((line) => line.endsWith(" spawn")).map((line) => Number.parseInt(line, 10) - diedMs);
  const [, first = 0, second = 0, third = 0, fourth = 0] = startsMs;
  // Five seconds after its end, which a start that fails may take up to a second to come to.
  for (const waitedMs of [first, second - first, third - second]) {
    expect(waitedMs).toBeGreaterThanOrEqual(5000);
    expect(waitedMs).toBeLessThanOrEqual(6000);
  }
  // It never ends for good, and so is started a fourth time, with the next rung: not before the 30 s of a quick restart are over.
  expect(fourth).toBeGreaterThanOrEqual(30_000);
});
