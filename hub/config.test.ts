import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readHubConfig } from "./config.driver.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "config-"));
  writeFileSync(join(folder, "respawn"), "#!/bin/sh\n", { mode: 0o755 });
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function read(text: string) {
  const path = join(folder, "hub.yaml");
  writeFileSync(path, text);
  return readHubConfig(path, { PATH: folder });
}

function problemsOf(text: string): string[] {
  try {
    read(text);
  } catch (error) {
    if (!isFault(error, "CONFIG_INVALID")) throw error;
    return error.saw
      .replaceAll(`${folder}/`, "")
      .split("\n")
      .slice(1, -1)
      .map((line) => line.trim());
  }
  return [];
}

const day = 86_400_000;

test("without a file, or with an empty one, every figure is the one of the manual", () => {
  const expected = {
    escalation: { heartbeatIntervalMs: 15_000, late: 0.2, yellowMissed: 1, orangeMissed: 3, redSilentMs: 60_000 },
    massSilence: { minNodes: 3, minShare: 0.5, thawAfterMs: 30_000 },
    budget: { concurrent: 3, perHour: 60, siteShare: 0.34 },
    respawns: new Map(),
    retention: { readingsMs: day, decisionsMs: 30 * day, incidentsMs: 365 * day },
  };
  expect(read("")).toEqual(expected);
  expect(readHubConfig(undefined, {})).toEqual(expected);
});

test("RED scales with the heartbeat unless it is set", () => {
  expect(read("escalation: {heartbeat_interval: 1m}").escalation.redSilentMs).toBe(240_000);
  expect(read("escalation: {heartbeat_interval: 200ms}").escalation.redSilentMs).toBe(60_000);
  expect(read("escalation: {heartbeat_interval: 200ms, red_silent: 1s}").escalation.redSilentMs).toBe(1000);
});

test("levels that are out of order are refused with what would be in order", () => {
  expect(problemsOf("escalation:\n  yellow_missed: 3\n  orange_missed: 2\n")).toEqual([
    "hub.yaml:3:18 escalation.orange_missed: ORANGE after 2 missed does not come after YELLOW at 3; allowed is at least 4",
  ]);
  expect(problemsOf("escalation:\n  red_silent: 48s\n")).toEqual([
    "hub.yaml:2:15 escalation.red_silent: RED after 48s does not come after ORANGE at 48s; allowed is more than 48s",
  ]);
  expect(problemsOf("escalation:\n  orange_missed: 10\n")).toEqual([
    "hub.yaml:2:3 escalation.red_silent: RED after 1m by default does not come after ORANGE at 2m33s; allowed is more than 2m33s",
  ]);
});

test("a respawn's commands are found, and its paths start from the config's folder", () => {
  const { respawns } = read("respawns: [{node: edge-1, exec: {command: [respawn, edge-1], timeout: 30s}}]");
  expect(respawns.get("edge-1")).toEqual({
    node: "edge-1",
    exec: { command: [join(folder, "respawn"), "edge-1"], cwd: folder, timeoutMs: 30_000 },
  });
});

test.each([
  ["{node: a}", /respawns\[0\]: neither probe nor exec; allowed is at least one/],
  [
    "{node: a, exec: {command: [respwn]}}",
    /exec\.command\[0\]: "respwn" cannot be started: .*did you mean "respawn"\?/,
  ],
  [
    "{node: a, exec: {command: ['respawn -k canary']}}",
    /exec\.command\[0\]: "respawn …" cannot be started: [^y]*; the arguments are items of their own; did you mean "respawn"\?$/,
  ],
  ["{node: a, exec: {command: [respawn], cwd: none}}", /exec\.cwd: there is no folder none/],
  [
    '{node: a, exec: {command: [respawn], cwd: "-----BEGIN PRIVATE KEY-----\\ncanary"}}',
    /exec\.cwd: a key or certificate itself; allowed is the path of a file or folder$/,
  ],
  ["{node: a, exec: }", /exec\.command: missing/],
])("the respawn %s is refused", (respawn, expected) => {
  const problems = problemsOf(`respawns: [${respawn}]`);
  expect(problems).toHaveLength(1);
  expect(problems[0]).toMatch(expected);
});
