import { isFault } from "@blueflame/shared/errors/fault.ts";
import { expect, test } from "vitest";
import { figureOf, playbookOf } from "./draft.ts";

const head = "name: mine\ndescription: Mine.\nsteps:\n";

function problemsOf(steps: string): string[] {
  try {
    playbookOf(head + steps, "mine.yaml", true);
  } catch (error) {
    if (!isFault(error, "CONFIG_INVALID")) throw error;
    return error.saw
      .split("\n")
      .slice(1, -1)
      .map((line) => line.trim());
  }
  return [];
}

test("every kind of step is read, with its defaults", () => {
  const kinds = [
    "restart: {}",
    "restart_dependencies: {}",
    "rollback: {}",
    "safe_mode: {}",
    "quarantine: {}",
    "clean_disposable: {}",
    "trim_logs: {}",
    "signal: {signal: SIGUSR1}",
    "exec: {command: [/bin/true, '{pid}']}",
    "http: {path: /caches/clear}",
    "wait: {for: 90s}",
    "verify: {figure: p95_latency_ms, below: 1s}",
    "diagnose: {}",
    "backup: {}",
    "check_backups: {}",
    "check_store: {}",
    "alert: {message: Look here.}",
  ];
  const { steps, timeoutMs, pool } = playbookOf(
    head + kinds.map((kind) => `  - ${kind}\n`).join(""),
    "mine.yaml",
    true,
  );
  expect({ timeoutMs, pool }).toEqual({ timeoutMs: 600_000, pool: "recovery" });
  expect(steps.map(({ action }) => action.do)).toEqual(kinds.map((kind) => kind.split(":")[0]));
  const step = (kind: string) => steps.find(({ action }) => action.do === kind);
  expect(step("clean_disposable")?.action).toMatchObject({ olderThanMs: 600_000, untilUsed: 0.8 });
  expect(step("http")?.action).toEqual({ do: "http", method: "POST", port: 0, path: "/caches/clear", body: "" });
  expect(step("verify")?.action).toMatchObject({ bound: { is: "below", value: 1000, text: "1s" }, withinMs: 30_000 });
  expect(step("restart")).toMatchObject({ timeoutMs: 60_000, onFailure: "stop", once: false });
  // A pause that is longer than the step's timeout is no hang.
  expect(step("wait")?.timeoutMs).toBe(91_000);
});

test("a condition is typed, and at least one thing is asked", () => {
  const yaml =
    "  - restart: {}\n    when:\n      any: [{figure: error_rate, above: 5%}]\n      workload: running\n      has: safe-mode\n      earlier: failed\n";
  expect(playbookOf(head + yaml, "mine.yaml", true).steps[0]?.when).toEqual({
    any: [{ figure: "error_rate", is: "above", value: 0.05, text: "5%" }],
    workload: "running",
    has: "safe_mode",
    earlier: "failed",
  });
  expect(problemsOf("  - restart: {}\n    when: {}\n")).toEqual([
    "mine.yaml:5:11 steps[0].when: a condition that asks nothing; allowed is at least one of any, workload, has, earlier",
  ]);
});

test.each([
  ["  - exec: {command: [true]}", /mine\.yaml:4:22 .*true.*quotes/],
  [
    "  - exec: {command: [rm, -rf, /tmp/x]}",
    /mine\.yaml:4:22 steps\[0\]\.exec\.command\[0\]: "rm" is no absolute path/,
  ],
  [
    '  - exec: {command: ["redis-cli -a canary ping"]}',
    /"redis-cli …" is no absolute path; allowed is the absolute path of a program; the arguments are items of their own$/,
  ],
  ["  - exec: {command: [/bin/kill, '-{pid}']}", /command\[1\]: \{pid\} inside an argument/],
  ["  - exec: {command: [/bin/kill, '{pdi}']}", /"\{pdi\}"; .*did you mean "\{pid\}"\?/],
  ["  - exec: {command: /bin/echo hello}", /a list of 1 to 64 items/],
  ["  - restart: {}\n    wait: {}", /there is restart already/],
  ["  - name: nothing", /a step that does nothing/],
  ["  - shell: rm -rf /", /unknown key/],
  ["  - verify: {figure: p95_latency_ms, above: 5, below: 7}", /both above and below/],
  ["  - verify: {below: 7}", /a bound without a figure/],
  ["  - verify: {figure: p95_latency_ms, below: fast}", /"fast"; allowed is a figure with its unit/],
  ["  - http: {path: 'http://elsewhere/'}", /a path that begins with \//],
  ["  - http: {path: /x, method: GET, body: '{}'}", /a body with GET/],
  ["  - signal: {signal: SIGKILL}", /SIGHUP, SIGUSR1 or SIGUSR2/],
])("what is wrong is told by its place: %s", (steps, problem) =>
  expect(problemsOf(`${steps}\n`).join("\n")).toMatch(problem),
);

test("a playbook without steps, with too many, or too large is refused", () => {
  expect(problemsOf("  []\n").join("\n")).toMatch(/a list of 1 to 32 items/);
  expect(problemsOf("  - restart: {}\n".repeat(33)).join("\n")).toMatch(/33 items/);
  expect(() => playbookOf(`${head}  - restart: {}\n#${" ".repeat(65_536)}`, "mine.yaml", true)).toThrow(/64 KiB/);
});

test("JSON in an argument is no placeholder", () => {
  expect(problemsOf(`  - exec: {command: [/bin/echo, '{"pid": 1}', "{}"]}\n`)).toEqual([]);
});

test("a figure is read with its unit, or as a bare number", () => {
  expect(["85%", "1000ms", "2GiB", "5", "0.5", "fast"].map(figureOf)).toEqual([0.85, 1000, 2 ** 31, 5, 0.5, undefined]);
});
