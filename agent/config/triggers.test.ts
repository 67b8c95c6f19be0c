import type { Machine } from "@blueflame/shared/config/machine.ts";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import { expect, test } from "vitest";
import { catalogue, type Trigger } from "../triggers/trigger.ts";
import { agentConfigOf } from "./config.ts";

/** A machine on which every program is there: this file is about triggers. */
const machine: Machine = {
  isFolder: () => true,
  findProgram: (program) => ({ file: `/bin/${program}` }),
  programs: () => [],
};
const workloads = "workloads:\n  - {name: web, command: [web]}\n  - {name: db, command: [db]}\n";

function triggersIn(text: string): readonly Trigger[] {
  return agentConfigOf(`${workloads}${text}`, { path: "/etc/agent.yaml", searchPath: "", machine }).triggers;
}

const one = (text: string, name: string) => triggersIn(text).find((trigger) => trigger.name === name);

/** The problems of a config, without the file's name. */
function problemsOf(text: string): string[] {
  try {
    triggersIn(text);
  } catch (error) {
    if (!isFault(error, "CONFIG_INVALID")) throw error;
    return error.saw
      .replaceAll("/etc/agent.yaml:", "")
      .split("\n")
      .slice(1, -1)
      .map((line) => line.trim());
  }
  return [];
}

test("GRC-2 without a word in the config the triggers are those of the box", () => {
  expect(triggersIn("")).toEqual(catalogue);
});

test("what an entry leaves out stays as it is in the box, and the order too", () => {
  const changed = triggersIn("triggers:\n  - {name: cpu-high, above: 95%, cooldown: 10m, severity: high}\n");
  expect(changed.map(({ name }) => name)).toEqual(catalogue.map(({ name }) => name));
  const box = catalogue.find(({ name }) => name === "cpu-high");
  expect(changed.find(({ name }) => name === "cpu-high")).toEqual({
    ...box,
    threshold: 0.95,
    clear: 0.95 * 0.95,
    cooldownMs: 600_000,
    severity: "high",
  });
  expect(changed.filter(({ name }) => name !== "cpu-high")).toEqual(
    catalogue.filter(({ name }) => name !== "cpu-high"),
  );
});

test.each<[string, string, Partial<Record<string, unknown>>]>([
  ["off", "{name: anomaly, off: true}", { off: true, holdMs: 3000 }],
  ["its times", "{name: anomaly, hold: 0s, clear_hold: 1m}", { holdMs: 0, clearHoldMs: 60_000 }],
  ["its playbook", "{name: api-timeouts, playbook: run-diagnostics}", { playbook: "run-diagnostics" }],
  ["no playbook", '{name: api-timeouts, playbook: ""}', { playbook: "", count: 5 }],
  ["its count", "{name: api-timeouts, count: 50, within: 10s}", { count: 50, withinMs: 10_000 }],
  ["its silence", "{name: workload-silent, within: 90s, workloads: [db]}", { withinMs: 90_000, workloads: ["db"] }],
  ["its hour", "{name: weekly-check, at: weekly fri 22:15}", { at: { hour: 22, minute: 15, weekday: 5 } }],
  ["its day", "{name: weekly-check, at: daily 22:15}", { at: { hour: 22, minute: 15 } }],
  ["its clear threshold only", "{name: disk-high, clear: 70%}", { threshold: 0.9, clear: 0.7 }],
  ["trust", "{name: trust-drop, below: 0.5}", { threshold: 0.5, clear: 0.525 }],
  ["trust up to its end", "{name: trust-drop, below: 0.99}", { clear: 1 }],
  ["a trend's time", "{name: disk-filling, within: 24h}", { withinMs: 86_400_000, metric: "disk_used_ratio" }],
  [
    "another figure",
    "{name: memory-high, metric: memory_used_bytes, above: 6GiB}",
    { metric: "memory_used_bytes", threshold: 6 * 2 ** 30 },
  ],
])("a trigger of the box can change %s", (_, entry, expected) => {
  const name = /name: ([a-z-]+)/.exec(entry)?.[1] ?? "";
  expect(one(`triggers:\n  - ${entry}\n`, name)).toMatchObject({ ...expected, added: false });
});

test.each<[string, string, Partial<Record<string, unknown>>]>([
  [
    "a figure in percent",
    "{name: mine, kind: threshold, metric: process_cpu_ratio, above: 150%, workloads: [web]}",
    {
      side: "above",
      threshold: 1.5,
      clear: 1.5 * 0.95,
      workloads: ["web"],
      holdMs: 3000,
      severity: "medium",
      playbook: "",
    },
  ],
  [
    "a figure in bytes",
    "{name: mine, kind: threshold, metric: disk_free_bytes, below: 2GiB}",
    { side: "below", threshold: 2 ** 31, clear: 2 ** 31 * 1.05 },
  ],
  [
    "a figure in bytes per second",
    "{name: mine, kind: threshold, metric: io_bytes_per_second, above: 50MiB, clear: 10MiB}",
    { threshold: 50 * 2 ** 20, clear: 10 * 2 ** 20 },
  ],
  [
    "a time",
    "{name: mine, kind: threshold, metric: progress_age_ms, above: 2m}",
    { threshold: 120_000, clear: 114_000 },
  ],
  ["a count of seconds", "{name: mine, kind: threshold, metric: disk_silent_seconds, above: 10s}", { threshold: 10 }],
  ["a number", "{name: mine, kind: threshold, metric: process_tasks, above: 500}", { threshold: 500 }],
  ["silence", "{name: mine, kind: beat-silence, within: 5s}", { kind: "beat_silence", withinMs: 5000, holdMs: 0 }],
  ["errors", "{name: mine, kind: error-burst, count: 3}", { count: 3, withinMs: 60_000 }],
  [
    "a trend",
    "{name: mine, kind: trend, metric: process_open_files, within: 1h}",
    { metric: "process_open_files", withinMs: 3_600_000, playbook: "" },
  ],
  [
    "a schedule",
    "{name: mine, kind: schedule, at: daily 12:00, playbook: run-diagnostics, severity: low}",
    { at: { hour: 12, minute: 0 }, playbook: "run-diagnostics", severity: "low" },
  ],
  ["a crash of one workload", "{name: mine, kind: crash, workloads: [db], severity: critical}", { kind: "crash" }],
])("a trigger of your own looks at %s", (_, entry, expected) => {
  const all = triggersIn(`triggers:\n  - ${entry}\n`);
  expect(all).toHaveLength(18);
  expect(all.at(-1)).toMatchObject({ name: "mine", added: true, off: false, ...expected });
});

test.each([
  [
    "a name that is nearly one of the box",
    "{name: cpu-hihg, above: 90%}",
    '5:5 triggers[0]: "cpu-hihg" is not one of the box, and has no kind; allowed is a name of the box, or a new one with its kind; did you mean "cpu-high"?',
  ],
  [
    "an unknown metric",
    "{name: m, kind: threshold, metric: cpu_buzy_ratio, above: 90%}",
    '5:40 triggers[0].metric: there is no metric "cpu_buzy_ratio"; allowed is one that `blueflame-agent triggers --metrics` lists; did you mean "cpu_busy_ratio"?',
  ],
  [
    "a bare number where a unit is meant",
    "{name: cpu-high, above: 90}",
    '5:29 triggers[0].above: "90"; allowed is a share with a percent sign, such as 85%, at most 100%',
  ],
  [
    "another unit than the metric's",
    "{name: high-latency, above: 2GiB}",
    '5:33 triggers[0].above: "2GiB"; allowed is a duration with its unit, such as 500ms, 15s, 5m, 2h or 1h30m',
  ],
  [
    "a share that can never be crossed",
    "{name: cpu-high, above: 110%}",
    '5:29 triggers[0].above: "110%"; allowed is a share with a percent sign, such as 85%, at most 100%',
  ],
  [
    "both above and below",
    "{name: cpu-high, above: 90%, below: 10%}",
    "5:41 triggers[0].below: both above and below; allowed is one of above and below",
  ],
  [
    "a threshold that is none",
    "{name: m, kind: threshold, metric: process_tasks}",
    "5:5 triggers[0]: no threshold; allowed is one of above and below",
  ],
  [
    "a clear threshold on the bad side",
    "{name: cpu-high, clear: 90%}",
    "5:29 triggers[0].clear: 90% is on the bad side of the threshold; allowed is at most 85%",
  ],
  [
    "a clear threshold on the bad side, below",
    "{name: trust-drop, below: 0.8, clear: 0.75}",
    "5:43 triggers[0].clear: 0.75 is on the bad side of the threshold; allowed is at least 0.8",
  ],
  [
    "a workload that is not there",
    "{name: high-latency, workloads: [web, dbb]}",
    '5:43 triggers[0].workloads[1]: there is no workload "dbb"; allowed is the name of a workload of this file; did you mean "db"?',
  ],
  [
    "workloads for a figure of the node",
    "{name: cpu-high, workloads: [web]}",
    "5:33 triggers[0].workloads: cpu_busy_ratio is a figure of the node; allowed are workloads for their own figures only",
  ],
  [
    "a playbook that is not there",
    "{name: cpu-high, playbook: restart-servce}",
    /^5:32 triggers\[0\]\.playbook: there is no playbook "restart-servce"; allowed are restart-kernel, .*; did you mean "restart-service"\?$/,
  ],
  [
    "another kind for a name of the box",
    "{name: cpu-high, kind: crash}",
    '5:28 triggers[0].kind: "cpu-high" of the box is of another kind; allowed is another name for a new trigger',
  ],
  [
    "a key that means nothing to its kind",
    "{name: workload-crashed, count: 3}",
    "5:37 triggers[0].count: it means nothing to a trigger of this kind; allowed are clear_hold, workloads",
  ],
  [
    "a schedule without its time",
    "{name: m, kind: schedule}",
    "5:5 triggers[0].at: a schedule without its time; allowed is daily HH:MM or weekly DAY HH:MM",
  ],
  [
    "a trend without its time",
    "{name: m, kind: trend, metric: process_tasks}",
    "5:5 triggers[0].within: a trend without `within`; allowed is the time in which the limit would be reached",
  ],
  [
    "a count of none",
    "{name: api-timeouts, count: 0}",
    "5:33 triggers[0].count: 0; allowed is a whole number from 1 to 1000000",
  ],
  ["an hour that is none", "{name: daily-check, at: daily 25:00}", /^5:29 triggers\[0\]\.at: .*daily HH:MM/],
])("%s is told with its place and what is allowed", (_, entry, expected) => {
  const problems = problemsOf(`triggers:\n  - ${entry}\n`);
  expect(problems).toHaveLength(1);
  if (typeof expected === "string") expect(problems[0]).toBe(expected);
  else expect(problems[0]).toMatch(expected);
});

test("where an operator's folder adds playbooks, their names are not judged by the config", () => {
  expect(one("playbooks: books\ntriggers:\n  - {name: cpu-high, playbook: my-own}\n", "cpu-high")).toMatchObject({
    playbook: "my-own",
  });
});

test("triggers are kept with the last good config as they are", () => {
  const all = triggersIn("triggers:\n  - {name: mine, kind: schedule, at: weekly mon 04:00}\n");
  expect(JSON.parse(JSON.stringify(all))).toEqual(all);
});
