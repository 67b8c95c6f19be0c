import type { DescMessage } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import { expect, test } from "vitest";
import { isFault } from "../errors/fault.ts";
import { AgentConfigSchema, ProbeUse, RestartPolicy } from "../gen/blueflame/config/v1/agent_config_pb.ts";
import { HubConfigSchema } from "../gen/blueflame/config/v1/hub_config_pb.ts";
import { configBytesMax, draftConfig, loadConfig } from "./load.ts";
import { configManual } from "./manual.ts";
import { nearest } from "./problems.ts";
import { isSection, readValue, ruleOf } from "./value.ts";

function agent(text: string) {
  return loadConfig(AgentConfigSchema, text, "agent.yaml");
}

/** The lines that the loader prints for `text`, without head and count. */
function problemsOf(text: string, load: (text: string) => unknown = agent): string[] {
  try {
    load(text);
  } catch (error) {
    if (!isFault(error, "CONFIG_INVALID")) throw error;
    return error.saw
      .split("\n")
      .slice(1, -1)
      .map((line) => line.trim());
  }
  return [];
}

test("an empty file is a config with every default", () => {
  for (const text of ["", "# nothing yet\n", "workloads:\nnode:\n"]) {
    const config = agent(text);
    expect(config.node?.site).toBe("default");
    expect(config.sensors?.every && durationMs(config.sensors.every)).toBe(5000);
    expect([config.hub, config.workloads]).toEqual([undefined, []]);
  }
});

test("values are read with their units, words and defaults", () => {
  const { workloads } = agent(`
workloads:
  - name: feed
    command: [sleep, 60]
    restart: on_failure
    start_grace: 1m30s
    env: { PORT: 8080, "A B": "yes", VERSION: 1.10 }
    output: { max_size: 2MiB }
    probes:
      - name: up
        use: readiness
        tcp: { address: "localhost:80" }
    clean: { ports: [80, 443] }
`);
  const feed = workloads[0];
  expect(feed).toMatchObject({
    command: ["sleep", "60"],
    restart: RestartPolicy.ON_FAILURE,
    env: { PORT: "8080", "A B": "yes", VERSION: "1.10" },
    output: { maxSize: 2_097_152n, files: 3 },
    clean: { ports: [80, 443] },
    starts: { max: 3 },
    stop: { signal: "SIGTERM" },
    critical: false,
  });
  expect(feed?.beat).toBeUndefined();
  expect(feed?.startGrace && durationMs(feed.startGrace)).toBe(90_000);
  expect(feed?.backoff?.cap && durationMs(feed.backoff.cap)).toBe(30_000);
  expect(feed?.probes[0]).toMatchObject({
    use: ProbeUse.READINESS,
    failures: 2,
    ask: { case: "tcp", value: { address: "localhost:80", send: "" } },
  });
});

test("a section without content has its defaults; an optional one is there once it is written", () => {
  const { workloads } = agent("workloads: [{name: a, command: [x], beat: , stop: }]");
  expect(workloads[0]?.beat?.timeout && durationMs(workloads[0].beat.timeout)).toBe(3000);
  expect(workloads[0]?.stop?.signal).toBe("SIGTERM");
});

test("percentages are ratios", () => {
  const hub = loadConfig(HubConfigSchema, "budget: {site_share: 12.5%}", "hub.yaml");
  expect([hub.escalation?.late, hub.budget?.siteShare]).toEqual([0.2, 0.125]);
});

test.each([
  [
    "unknown key",
    "workloads:\n  - name: a\n    command: [x]\n    restrat: always\n",
    /^agent.yaml:4:5 workloads\[0\]\.restrat: unknown key; allowed are name, command, .*; did you mean "restart"\?$/,
  ],
  [
    "unknown key in camel case",
    "sensors: {historyEvery: 60s}",
    /^agent.yaml:1:11 sensors\.historyEvery: unknown key; .*did you mean "history_every"\?$/,
  ],
  ["wrong type", "workloads: 5", /^agent.yaml:1:12 workloads: a number; allowed is a list of at most 500 items$/],
  ["a list for a section", "node: [a]", /^agent.yaml:1:7 node: a list; allowed are the keys id, site, labels$/],
  [
    "missing unit",
    "sensors:\n  every: 5\n",
    /^agent.yaml:2:10 sensors\.every: "5"; allowed is a duration with its unit, .* from 1s to 10m$/,
  ],
  ["out of bounds", "sensors: {every: 11m}", /"11m"; allowed is .* from 1s to 10m$/],
  [
    "wrong word",
    "workloads: [{name: a, command: [x], restart: allways}]",
    /"allways"; allowed is one of always, on-failure, never; did you mean "always"\?$/,
  ],
  [
    "duplicate key",
    "node:\n  site: a\nsensors: {}\nnode: {}\n",
    /^agent.yaml:4:1 node: the key stands in line 1 already/,
  ],
  [
    "missing required",
    "workloads:\n  - command: [x]\n",
    /^agent.yaml:2:5 workloads\[0\]\.name: missing; allowed is 1 to 63 of/,
  ],
  ["empty required", "workloads: [{name: '', command: [x]}]", /workloads\[0\]\.name: ""; allowed is 1 to 63/],
  [
    "missing list",
    "workloads:\n  - name: a\n",
    /^agent.yaml:2:5 workloads\[0\]\.command: missing; allowed is a list of 1 to 256 items$/,
  ],
  ["pattern", "node: {id: Node_1}", /node\.id: "Node_1"; allowed is 1 to 63 of a-z/],
  ["true as text", "node: {site: true}", /"true"; .*put "true" in quotes$/],
  ["no value", "node: {site: }", /node\.site: nothing stands after the key; allowed/],
  [
    "two answers to one question",
    "workloads: [{name: a, command: [x], probes: [{name: p, exec: {command: [y]}, tcp: {address: 'a:1'}}]}]",
    /probes\[0\]\.tcp: there is exec already; allowed is one of exec, tcp, http, grpc$/,
  ],
  [
    "duplicate name",
    "workloads:\n  - {name: a, command: [x]}\n  - {name: a, command: [y]}\n",
    /^agent.yaml:3:12 workloads\[1\]\.name: "a" stands in line 2 already/,
  ],
  [
    "port out of range",
    "workloads: [{name: a, command: [x], clean: {ports: [80, 65536]}}]",
    /clean\.ports\[1\]: "65536"; allowed is a whole number, from 1 to 65535/,
  ],
  [
    "a size without unit",
    "workloads: [{name: a, command: [x], output: {max_size: 100000}}]",
    /"100000"; allowed is a size with its unit/,
  ],
  [
    "a second document",
    "node: {}\n---\nnode: {}\n",
    /^agent.yaml:2:1: a second document begins; allowed is one document per file$/,
  ],
  ["a tab", "node:\n\tsite: a\n", /^agent.yaml:2:\d+: not readable as YAML/],
  ["an unclosed quote", 'node: {site: "a', /^agent.yaml:1:\d+: not readable as YAML/],
  ["a tag", "node: !secret {}", /^agent.yaml:1:\d+: not readable as YAML/],
  ["merge keys", "node: {<<: {site: a}}", /node\."<<": unknown key/],
  ["NUL in a text", 'node: {labels: {a: "x\\0y"}}', /allowed is text without NUL/],
])("%s is refused with place, what was seen and what is allowed", (_, text, expected) => {
  const problems = problemsOf(text);
  expect(problems).toHaveLength(1);
  expect(problems[0]).toMatch(expected);
});

test("every problem is told at once, in the order of the file, and counted", () => {
  const text = "node: {id: A, sight: b}\nsensors: {every: 5}\nworkloads: [{name: a}]\nextra: 1\n";
  expect(problemsOf(text).map((line) => line.split(": ")[0])).toEqual([
    "agent.yaml:1:12 node.id",
    "agent.yaml:1:15 node.sight",
    "agent.yaml:2:18 sensors.every",
    "agent.yaml:3:13 workloads[0].command",
    "agent.yaml:4:1 extra",
  ]);
  expect(() => agent(text)).toThrow(/^\[CONFIG_INVALID\] agent\.yaml cannot be used:\n(.*\n)+5 problems\. Correct/);
  const many = Array.from({ length: 80 }, (_, i) => `k${i}: 1\n`).join("");
  expect(problemsOf(many)).toHaveLength(50);
  expect(() => agent(many)).toThrow("80 problems, the first 50 are shown");
});

test("an environment variable's value is never printed", () => {
  const text = "workloads: [{name: a, command: [x], env: {TOKEN: {s3cret: s3cret}, B: true, C: [s3cret]}}]";
  expect(problemsOf(text)).toHaveLength(3);
  expect(problemsOf(text).join()).not.toContain("s3cret");
  expect(problemsOf("workloads: [{env: {TOKEN: 's3cret").join()).not.toContain("s3cret");
});

test("an address that is wrong is named without the password or the key in it", () => {
  const probed = (url: string) => `workloads: [{name: a, command: [x], probes: [{name: p, http: {url: "${url}"}}]}]`;
  const named = (url: string) => /"(.*?)"/.exec(problemsOf(probed(url)).join())?.[1];
  expect(named("htp://eve:canary@host/a?key=canary")).toBe("htp://…@host/a?…");
  expect(named("eve:can/ary@host")).toBe("…@host");
  expect(named("host/health?key=canary/b@c")).toBe("host/health?…");
  expect(named("ftp://host/a")).toBe("ftp://host/a");
});

test("text that cannot be a value, a key with its value in one word and a wrong escape were quoted with the secret in them", () => {
  const workload = (more: string) => `workloads: [{name: a, command: [x], ${more}}]`;
  const told = (more: string) =>
    problemsOf(workload(more))
      .join()
      .replace(/^agent\.yaml:1:\d+ /, "");
  expect(told('probes: [{name: p, tcp: {address: "a:1", send: "AUTH canary\\0"}}]')).toBe(
    "workloads[0].probes[0].tcp.send: text; allowed is text without NUL characters",
  );
  expect(told(`stop: {signal: ${"canary ".repeat(700)}}`)).toMatch(/signal: text; allowed is SIGTERM/);
  expect(told("env: {DB_PASSWORD=canary}")).toBe(
    'workloads[0].env."DB_PASSWORD…": a key and its value in one word; allowed is KEY: VALUE',
  );
  expect(told("env: {DB_PASSWORD=canary: [x]}")).toMatch(/env\."DB_PASSWORD…": a list; allowed is text$/);
  expect(told("postgres://eve:canary@host/db: x")).toMatch(/workloads\[0\]\."postgres…": unknown key/);
  for (const slip of ['"ab\\Ucanary"', '"ab\\uqcanary"', "!canary x", "!canary! x", "!canary [x]"]) {
    const said = told(`env: {P: ${slip}}`);
    expect(said).toMatch(/not readable as YAML \((an escape|a tag)/);
    expect(said).not.toContain("canary");
  }
  expect(problemsOf("%canary\n---\nnode: {}\n").join()).toMatch(
    /\(a directive; text that begins with % is written in quotes\)/,
  );
});

test("aliases are followed, and bounded", () => {
  const shared = "workloads:\n  - {name: a, command: &c [x, y]}\n  - {name: b, command: *c}\n";
  expect(agent(shared).workloads.map(({ command }) => command)).toEqual([
    ["x", "y"],
    ["x", "y"],
  ]);
  expect(problemsOf("workloads: [{name: a, command: *none}]")).toHaveLength(1);
  expect(problemsOf("node: &n {labels: *n}")[0]).toContain("labels");
  const bomb = `workloads:\n  - {name: a, command: [&x y]}\n${"  - {name: b, command: [*x, *x, *x, *x]}\n".repeat(100)}`;
  expect(problemsOf(bomb)).toEqual([
    expect.stringMatching(/^agent.yaml:\d+:\d+: more than 256 aliases; allowed is less$/),
  ]);
});

test("a file that is too large is refused before it is read", () => {
  expect(problemsOf(`#${"x".repeat(configBytesMax)}`)).toEqual([
    "agent.yaml:1:1: larger than 1 MiB; allowed is at most 1 MiB",
  ]);
});

test("many keys in one section cost no more than reading them", () => {
  // Comparing each key with each other one would need minutes, which is more than the test has.
  expect(problemsOf(Array.from({ length: 90_000 }, (_, i) => `k${i}:\n`).join(""))).toHaveLength(50);
}, 60_000);

test("a reader's own problems stand among the others, at the value or at the section around it", () => {
  const draft = draftConfig(AgentConfigSchema, "workloads:\n  - name: a\n    command: [x]\n    cwd: /none\n", "a.yaml");
  draft.add("workloads[0].cwd", "no folder", "allowed is a folder");
  draft.add("workloads[0].backoff.cap", "too small", "allowed is more");
  expect(draft.isBroken("workloads[0].cwd")).toBe(true);
  expect(draft.isBroken("workloads[0].name")).toBe(false);
  expect(problemsOf("", () => draft.finish())).toEqual([
    "a.yaml:2:5 workloads[0].backoff.cap: too small; allowed is more",
    "a.yaml:4:10 workloads[0].cwd: no folder; allowed is a folder",
  ]);
});

test("no text makes the loader throw anything but CONFIG_INVALID", () => {
  const words = [
    "node",
    "workloads",
    "name",
    "command",
    "probes",
    "env",
    "tcp",
    ": ",
    "- ",
    "\n",
    "  ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "&a",
    "*a",
    "<<",
    "'",
    '"',
    "|",
    ">",
    "?",
    "!",
    "!!map",
    "%",
    "---",
    "...",
    "5s",
    "1",
    "null",
    "true",
    "#",
    "\t",
    "\u{feff}",
    "\0",
    "é",
    "__proto__",
  ];
  const soup = fc.array(fc.constantFrom(...words), { maxLength: 40 }).map((parts) => parts.join(""));
  const json = fc.json().map((text) => `workloads: [${text}]`);
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit: "binary" }), soup, json), (text) => {
      problemsOf(text);
    }),
    { numRuns: 500 },
  );
  problemsOf("[".repeat(50_000));
  problemsOf("- ".repeat(50_000));
}, 120_000);

test("did-you-mean knows slips, swaps, case and dashes, and keeps silent about strangers", () => {
  const words = ["start_grace", "starts", "restart", "command"];
  expect(["startGrace", "restrat", "comand", "START", "banana"].map((word) => nearest(word, words))).toEqual([
    "start_grace",
    "restart",
    "command",
    "starts",
    undefined,
  ]);
});

test("the manual has every key with its bounds and default", () => {
  const manual = configManual(AgentConfigSchema);
  expect(manual).toMatch(/^workloads\[\]\.restart +one of always, on-failure, never; default always$/m);
  expect(manual).toMatch(/^workloads\[\]\.probes\[\]\.tcp\.address +HOST:PORT; required$/m);
  expect(manual).toMatch(/^workloads\[\]\.output\.max_size +a size, from 4KiB to 10GiB; default 10MiB$/m);
  // How a duration is written stands once, above.
  expect(manual.split("\n")[0]).toBe("A duration is written with its unit, such as 500ms, 15s, 5m, 2h or 1h30m.");
  expect(manual.match(/1h30m/g)).toHaveLength(1);
  expect(configManual(HubConfigSchema)).toMatch(/^escalation\.late +a share, .*; default 20%$/m);
});

test("the manual fits a terminal of 80 columns", () => {
  for (const schema of [AgentConfigSchema, HubConfigSchema])
    for (const line of configManual(schema, 80).split("\n")) expect(line.length, line).toBeLessThanOrEqual(80);
});

test("every default, minimum and maximum of the schemas keeps its own rule", () => {
  const broken: string[] = [];
  let seen = 0;
  const walk = (schema: DescMessage): void => {
    for (const field of schema.fields) {
      const { default: text, min, max } = ruleOf(field);
      for (const figure of [text, min, max].filter((given) => given !== "")) {
        seen += 1;
        if (!readValue(field, { text: figure, as: "written" }).ok) broken.push(`${field.toString()} ${figure}`);
      }
      if (isSection(field) && field.message) walk(field.message);
    }
  };
  walk(AgentConfigSchema);
  walk(HubConfigSchema);
  expect(broken).toEqual([]);
  expect(seen).toBeGreaterThan(80);
});
