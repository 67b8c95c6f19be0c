import type { Machine } from "@blueflame/shared/config/machine.ts";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import { expect, test } from "vitest";
import { ladderDefaults } from "../ladder/policy.ts";
import { type AgentConfig, agentConfigOf } from "./config.ts";

/** A machine on which every program is there but one: this file is about what a config says of recovery. */
const machine: Machine = {
  isFolder: () => true,
  findProgram: (program) =>
    program === "nowhere" ? { refused: "it is not on the PATH" } : { file: `/bin/${program}` },
  programs: () => [],
};

function read(text: string): AgentConfig {
  return agentConfigOf(text, { path: "/etc/node/agent.yaml", searchPath: "", machine });
}

const node = (more: string) => `workloads:\n  - {name: web, command: [web]}\n${more}\n`;
const workload = (more: string) => `workloads:\n  - name: web\n    command: [web]\n    ${more}\n`;
const workloadOf = (more: string) => read(workload(more)).workloads[0];

/** The problems of a config, without the file's name. */
function problemsOf(text: string): string[] {
  try {
    read(text);
  } catch (error) {
    if (!isFault(error, "CONFIG_INVALID")) throw error;
    return error.saw
      .replaceAll("/etc/node/agent.yaml:", "")
      .split("\n")
      .slice(1, -1)
      .map((line) => line.trim());
  }
  return [];
}

test("a node that says nothing is watched, learns, pages nobody and empties nothing", () => {
  const { workloads: _none, triggers: _box, sensors: _usual, ...rest } = read("");
  expect(rest).toEqual({
    site: "default",
    labels: {},
    playbooks: "",
    meta: {
      everyMs: 5000,
      critical: [],
      beatStaleMs: 30_000,
      beatDeadMs: 60_000,
      sources: [],
      ports: [],
      coherence: [],
      controlPlane: [],
    },
    jobs: [],
    pools: {},
    slo: {
      availability: 0.999,
      p95Ms: 200,
      p99Ms: 500,
      errorRate: 0.001,
      successRate: 0.995,
      windowMs: 30 * 86_400_000,
    },
    self: { memoryBytes: 512 * 1024 ** 2, oomScore: -900 },
    disposable: [],
    processes: [],
    ladder: ladderDefaults,
    learningFrozen: false,
    exorcism: { reportOnly: false, everyMs: 10_000, cpu: 0.9, stuckAfterMs: 60_000 },
    pager: [],
  });
});

test("DOL-1 what M1 to M5 look at: paths start from the config's folder, ports are taken apart", () => {
  const { meta } = read(
    node(`
meta:
  critical: [web]
  control_plane: [web]
  sources:
    - {name: prices, file: prices.json, external: true, dead: 5m}
    - {name: orders, url: "http://127.0.0.1:1/o", field: engine.updated_at, workload: web}
    - {name: trades, file: /var/trades.log, rows: true}
  ports: ["127.0.0.1:6379", "[::1]:80"]
  coherence:
    - {name: exposure, file: risk.json, field: risk.exposure, min: -5, max: 1000000.5, workload: web}
    - {name: mode, url: "http://127.0.0.1:1/s", field: mode, one_of: [paper, live], monotone: true}
`),
  );
  expect(meta.critical).toEqual(["web"]);
  expect(meta.controlPlane).toEqual(["web"]);
  const usual = { external: false, staleMs: 30_000, deadMs: 120_000, file: "", url: "", field: "", rows: false };
  expect(meta.sources).toEqual([
    { ...usual, name: "prices", file: "/etc/node/prices.json", external: true, deadMs: 300_000, workload: "" },
    { ...usual, name: "orders", url: "http://127.0.0.1:1/o", field: "engine.updated_at", workload: "web" },
    { ...usual, name: "trades", file: "/var/trades.log", rows: true, workload: "" },
  ]);
  expect(meta.ports).toEqual([
    { host: "127.0.0.1", port: 6379 },
    { host: "::1", port: 80 },
  ]);
  expect(meta.coherence).toMatchObject([
    { name: "exposure", file: "/etc/node/risk.json", min: -5, max: 1_000_000.5, oneOf: [], monotone: false },
    { name: "mode", url: "http://127.0.0.1:1/s", oneOf: ["paper", "live"], monotone: true },
  ]);
  expect(meta.coherence[1]).not.toHaveProperty("min");
});

test("data that is stale only after the default of dead was refused: without a word it is dead after four times as long", () => {
  const { meta } = read(
    node("meta: {beat_stale: 2m, sources: [{name: a, file: f, stale: 5m}, {name: b, file: f, stale: 2m}]}"),
  );
  expect(meta.sources.map(({ deadMs }) => deadMs)).toEqual([1_200_000, 120_000]);
  expect([meta.beatStaleMs, meta.beatDeadMs]).toEqual([120_000, 480_000]);
});

test("DOL-8 a job runs at an interval or at a time of day, and is started by a program of this machine", () => {
  const { jobs, pager, pools, processes, disposable, playbooks } = read(
    node(`
jobs:
  - {name: report, at: weekly sun 02:30, file: report.done, command: [make-report, -q]}
  - {name: scan, every: 10m, file: /scan.done, grace: 5m}
pager: [page-me, --now]
pools: [{name: imports, max: 2}]
processes: [{name: importers, program: /usr/bin/importer, argument: --feed}]
disposable: [cache, /var/tmp/feed, /dev/shm/feed]
playbooks: playbooks
`),
  );
  expect(jobs).toEqual([
    {
      name: "report",
      at: { weekday: 0, hour: 2, minute: 30 },
      file: "/etc/node/report.done",
      graceMs: 60_000,
      command: ["/bin/make-report", "-q"],
    },
    { name: "scan", everyMs: 600_000, file: "/scan.done", graceMs: 300_000 },
  ]);
  expect(pager).toEqual(["/bin/page-me", "--now"]);
  expect(pools).toEqual({ imports: 2 });
  expect(processes).toEqual([{ name: "importers", program: "/usr/bin/importer", argument: "--feed" }]);
  expect(disposable).toEqual(["/etc/node/cache", "/var/tmp/feed", "/dev/shm/feed"]);
  expect(playbooks).toBe("/etc/node/playbooks");
});

test("SYN-3 what heals a workload beyond a restart: safe mode, config files, data, limits, its own figures and words", () => {
  const spec = read(
    `pools: [{name: imports}]
ladder: {quick_restart: 20s, recent_config: 10m}
workloads:
  - name: web
    command: [web]
    safe_mode: {command: [web, --small], env: {SMALL: "1"}}
    config_files: [web.conf]
    data: {paths: [db, /var/x], every: 10m, keep: 2, max_size: 5GiB, dump: [dump-it], verify: [check-it]}
    limits: {memory: 2GiB, cpu: 200%, tasks: 50}
    performance: {url: "http://127.0.0.1:1/p", every: 1s, timeout: 5s}
    progress: 5m
    notify: true
    slo: {p95: 50ms}
    pool: imports
    artifacts: [cache.bin]
    sandbox_exit_codes: [70, 71]
    error_pattern: "^E"
    corruption_pattern: "bad block"
    config_error_pattern: "unknown key"
`,
  ).workloads[0];
  expect(spec).toMatchObject({
    safeMode: { command: ["/bin/web", "--small"], env: { SMALL: "1" } },
    configFiles: ["/etc/node/web.conf"],
    data: {
      paths: ["/etc/node/db", "/var/x"],
      everyMs: 600_000,
      keep: 2,
      maxBytes: 5 * 1024 ** 3,
      dump: ["/bin/dump-it"],
      verify: ["/bin/check-it"],
    },
    limits: { memoryBytes: 2 * 1024 ** 3, cpu: 2, tasks: 50 },
    // A question never overlaps the next one.
    performance: { url: "http://127.0.0.1:1/p", everyMs: 1000, timeoutMs: 1000 },
    progressMs: 300_000,
    notify: true,
    slo: { p95Ms: 50, p99Ms: 500, availability: 0.999 },
    pool: "imports",
    artifacts: ["/etc/node/cache.bin"],
    sandboxExitCodes: [70, 71],
    patterns: { error: "^E", corruption: "bad block", configError: "unknown key" },
  });
  expect(spec?.ladder.budgetMs).toEqual({ ...ladderDefaults.budgetMs, quick_restart: 20_000 });
  expect(spec?.ladder.recentConfigMs).toBe(600_000);
});

test("what a section leaves out has its default; a section that is left out is not there", () => {
  expect(workloadOf("data: {paths: [db]}")?.data).toEqual({
    paths: ["/etc/node/db"],
    everyMs: 3_600_000,
    keep: 5,
    maxBytes: 1024 ** 3,
  });
  expect(workloadOf("performance: {url: 'https://a/'}")?.performance).toMatchObject({ everyMs: 5000, timeoutMs: 2000 });
  expect(workloadOf("safe_mode: {env: {A: b}}")?.safeMode).toEqual({ env: { A: "b" } });
  for (const absent of ["safeMode", "data", "performance", "progressMs", "slo"])
    expect(workloadOf("critical: true")).not.toHaveProperty(absent);
});

test("numbers below nothing are read where they are allowed", () => {
  expect(read("self: {oom_score: -1000}").self.oomScore).toBe(-1000);
  expect(read("self: {oom_score: 0}").self.oomScore).toBe(0);
});

const source = (more: string) => node(`meta: {sources: [{name: a, ${more}}]}`);
const rule = (more: string) => node(`meta: {coherence: [{name: a, field: f, ${more}}]}`);

test.each([
  [
    "a critical workload that is not there",
    node("meta: {critical: [wbe]}"),
    '3:19 meta.critical[0]: there is no workload "wbe"; allowed is the name of a workload of this file; did you mean "web"?',
  ],
  ["a control plane that is not there", node("meta: {control_plane: [x]}"), /control_plane\[0\]: there is no workload/],
  ["a source of a workload that is not there", source("file: f, workload: x"), /sources\[0\]\.workload: there is no/],
  ["a rule of a workload that is not there", rule("file: f, workload: x"), /coherence\[0\]\.workload: there is no/],
  ["a source without a place", source("rows: true"), /sources\[0\]: neither file nor url; allowed is exactly one/],
  ["a source with two", source("file: f, url: 'http://a', field: f"), /sources\[0\]: both file and url/],
  ["a rule without a place", rule("min: 1"), /coherence\[0\]: neither file nor url/],
  ["a page without a field", source("url: 'http://a'"), /sources\[0\]\.field: a url without a field/],
  ["a page that is no URL", source("url: 'http://[', field: f"), /sources\[0\]\.url: not a URL/],
  ["a page by another protocol", rule("url: 'ftp://a'"), /coherence\[0\]\.url: not a URL; allowed is an http/],
  [
    "data that is dead before it is stale",
    source("file: f, stale: 2m, dead: 1m"),
    "3:54 meta.sources[0].dead: dead after 1m, and stale only after 2m; allowed is at least `stale`",
  ],
  [
    "beats that are dead before they are stale",
    node("meta: {beat_dead: 10s}"),
    /meta\.beat_dead: dead after 10s, and stale only/,
  ],
  ["a rule that nothing can obey", rule("file: f, min: 5, max: 1"), /coherence\[0\]\.max: 1 is below the min of 5/],
  ["a port that cannot be", node("meta: {ports: ['a:0']}"), /meta\.ports\[0\]: port 0; allowed is a port from/],
  [
    "a job without a time",
    node("jobs: [{name: a, file: f}]"),
    "3:8 jobs[0]: neither every nor at; allowed is exactly one of every and at",
  ],
  ["a job with two", node("jobs: [{name: a, file: f, every: 1h, at: daily 01:00}]"), /jobs\[0\]: both every and at/],
  ["a time that no day has", node("jobs: [{name: a, file: f, at: daily 25:00}]"), /jobs\[0\]\.at: "daily 25:00"/],
  ["a day that no week has", node("jobs: [{name: a, file: f, at: weekly son 01:00}]"), /jobs\[0\]\.at: .*weekly DAY/],
  [
    "a job whose command is nowhere",
    node("jobs: [{name: a, file: f, every: 1h, command: [nowhere]}]"),
    /jobs\[0\]\.command\[0\]: "nowhere" cannot be started: it is not on the PATH/,
  ],
  ["a pager that is nowhere", node("pager: [nowhere]"), /^3:9 pager\[0\]: "nowhere" cannot be started/],
  ["a program without its path", node("processes: [{name: a, program: x}]"), /program: "x" is no absolute path/],
  ["the system as disposable", node("disposable: [/tmp/x, /]"), /^3:22 disposable\[1\]: \/ is the system's/],
  ["a pool that holds nothing", node("pools: [{name: a, max: 0}]"), /pools\[0\]\.max: "0"; allowed is a whole number/],
  ["a share of more than all", node("slo: {availability: 101%}"), /slo\.availability: "101%"/],
  ["a share without its sign", node("exorcism: {cpu: 90}"), /exorcism\.cpu: "90"; allowed is a share with a percent/],
  ["too little memory to live on", node("self: {memory: 1MiB}"), /self\.memory: "1MiB"; .* from 64MiB to 64GiB/],
  ["a score that the kernel does not know", node("self: {oom_score: -1001}"), /oom_score: "-1001"; .* -1000 to 1000/],
  ["a rung without time", node("ladder: {safe_mode: 0s}"), /ladder\.safe_mode: "0s"/],
  [
    "a pool that is not there",
    `pools: [{name: imports}]\n${workload("pool: inports")}`,
    /workloads\[0\]\.pool: there is no pool "inports"; .* did you mean "imports"\?$/,
  ],
  ["a broken error pattern", workload("error_pattern: '('"), /error_pattern: Invalid regular expression.*Unterminated/],
  ["a pattern of every line", workload("error_pattern: ''"), /error_pattern: an expression that every line matches/],
  ["a broken corruption pattern", workload("corruption_pattern: '[a'"), /^4:25 .*corruption_pattern: Invalid/],
  ["a broken pattern of config errors", workload("config_error_pattern: '*'"), /config_error_pattern: Invalid/],
  ["a page of figures that is no URL", workload("performance: {url: 'http://['}"), /performance\.url: not a URL/],
  ["data without paths", workload("data: {every: 1h}"), /data\.paths: missing; allowed is a list of 1 to 32 items/],
  ["a dump that is nowhere", workload("data: {paths: [a], dump: [nowhere]}"), /data\.dump\[0\]: "nowhere" cannot/],
  ["a check that is nowhere", workload("data: {paths: [a], verify: [nowhere]}"), /data\.verify\[0\]: "nowhere" cannot/],
  ["a safe mode that is nowhere", workload("safe_mode: {command: [nowhere]}"), /safe_mode\.command\[0\]: "nowhere"/],
  [
    "a variable of the agent's own in safe mode",
    workload("safe_mode: {env: {BLUEFLAME_TOKEN: x}}"),
    /safe_mode\.env\.BLUEFLAME_TOKEN: a name that the agent sets itself/,
  ],
  ["an empty name among the critical ones", node("meta: {critical: ['']}"), /critical\[0\]: there is no workload ""/],
  ["a page with one slash", source("url: 'http:/a', field: f"), /sources\[0\]\.url: not a URL/],
  [
    "a program that everybody runs",
    node("processes: [{name: a, program: /bin/bash}]"),
    /processes\[0\]: .*run by others/,
  ],
  [
    "an empty path as disposable",
    node("disposable: ['']"),
    /^3:14 disposable\[0\]: an empty path; allowed is a file or/,
  ],
  ["the config's own folder as disposable", node("disposable: [.]"), /\/etc\/node holds this config file/],
  ["somebody's home as disposable", node("disposable: [/home/anna]"), /\/home\/anna is somebody's home/],
  ["a tree of the kernel as disposable", node("disposable: [/proc/1/fd]"), /\/proc\/1\/fd is the system's/],
  [
    "what holds a workload's data as disposable",
    `${workload("data: {paths: [/srv/web/db]}")}disposable: [/srv/web]`,
    /disposable\[0\]: \/srv\/web holds data of "web"; allowed is a folder that may be emptied/,
  ],
  ["artifacts that hold where it works", workload("artifacts: [/etc]"), /artifacts\[0\]: \/etc is the system's/],
  [
    "artifacts that are its data",
    workload("artifacts: [a]\n    data: {paths: [a]}"),
    /artifacts\[0\]: \/etc\/node\/a holds data of "web"/,
  ],
  ["an empty artifact", workload("artifacts: [' ']"), /artifacts\[0\]: an empty path/],
  ["an empty config file", workload("config_files: ['']"), /config_files\[0\]: an empty path/],
  ["empty data", workload("data: {paths: ['']}"), /data\.paths\[0\]: an empty path/],
  ["the system as data", workload("data: {paths: [/var]}"), /data\.paths\[0\]: \/var is the system's/],
  [
    "data within data",
    workload("data: {paths: [db, db/log]}"),
    /paths\[1\]: \/etc\/node\/db\/log lies in \/etc\/node\/db/,
  ],
  [
    "data that is named twice",
    workload("data: {paths: [db, ./db]}"),
    /data\.paths\[1\]: .* lies in \/etc\/node\/db already/,
  ],
  [
    "memory for nobody",
    workload("limits: {memory: 512B}"),
    /limits\.memory: 512 B; allowed is 0B \(none\), or at least 1MiB/,
  ],
  ["CPU for nobody", workload("limits: {cpu: 0.5%}"), /limits\.cpu: 0\.5%; allowed is 0% \(none\), or at least 1%/],
  [
    "a pattern of corruption in every line",
    workload("corruption_pattern: '.*'"),
    /corruption_pattern: .* every line matches/,
  ],
  [
    "a p99 faster than the p95",
    workload("slo: {p95: 90ms, p99: 80ms}"),
    /slo\.p99: 99 of 100 within 80ms, and 95 of 100/,
  ],
  ["a rule with no number", rule("file: f, min: .nan"), /coherence\[0\]\.min/],
  ["no task at all", workload("limits: {tasks: 0}"), /limits\.tasks: "0"; allowed is a whole number, from 1/],
  ["an exit code that is success", workload("sandbox_exit_codes: [0]"), /sandbox_exit_codes\[0\]: "0"/],
])("%s is told with its place and what is allowed", (_, text, expected) => {
  const problems = problemsOf(text);
  expect(problems).toHaveLength(1);
  expect(problems[0]).toMatch(expected);
});

test("a p99 that is left out is never below the p95 that was written", () => {
  expect(workloadOf("slo: {p95: 2s}")?.slo).toMatchObject({ p95Ms: 2000, p99Ms: 2000 });
});

test("safe mode's own PATH is where its program is looked for", () => {
  const paths: string[] = [];
  const looking: Machine = {
    ...machine,
    findProgram: (program, _cwd, searchPath) => {
      paths.push(`${program} ${searchPath}`);
      return { file: `/x/${program}` };
    },
  };
  const text = workload("safe_mode: {command: [small], env: {PATH: /safe}}");
  agentConfigOf(text, { path: "/etc/node/agent.yaml", searchPath: "/full", machine: looking });
  expect(paths).toEqual(["web /full", "small /safe"]);
});

test("problems of several sections are told together, each once", () => {
  const text = node("meta: {critical: [x], beat_dead: 1s, every: 0s}\njobs: [{name: a}]\npager: [nowhere]");
  expect(problemsOf(text).map((line) => line.split(": ")[0])).toEqual([
    "3:19 meta.critical[0]",
    "3:34 meta.beat_dead",
    "3:45 meta.every",
    "4:8 jobs[0].file",
    "5:9 pager[0]",
  ]);
});
