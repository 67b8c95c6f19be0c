import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ladderDefaults } from "../ladder/policy.ts";
import { catalogue } from "../triggers/trigger.ts";
import { readAgentConfig, workloadFromCommand } from "./config.driver.ts";

let folder: string;
let env: NodeJS.ProcessEnv;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "config-"));
  mkdirSync(join(folder, "bin"));
  env = { PATH: join(folder, "bin") };
  for (const name of ["trader", "other", "locked"]) {
    writeFileSync(join(folder, "bin", name), "#!/bin/sh\n");
    chmodSync(join(folder, "bin", name), name === "locked" ? 0o644 : 0o755);
  }
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function read(text: string) {
  const path = join(folder, "agent.yaml");
  writeFileSync(path, text);
  return readAgentConfig(path, env);
}

/** The problems of a config, without the folder and the file's name. */
function problemsOf(text: string): string[] {
  try {
    read(text);
  } catch (error) {
    if (!isFault(error, "CONFIG_INVALID")) throw error;
    return error.saw
      .replaceAll(`${folder}/`, "")
      .replaceAll("agent.yaml:", "")
      .split("\n")
      .slice(1, -1)
      .map((line) => line.trim());
  }
  return [];
}

test("an empty config guards nothing and works alone, with every trigger of the box", () => {
  const { nodeId, site, labels, hub, sensors, workloads, triggers } = read("");
  expect({ nodeId, site, labels, hub, sensors, workloads }).toEqual({
    nodeId: undefined,
    site: "default",
    labels: {},
    hub: undefined,
    sensors: { everyMs: 5000, historyEveryMs: 60_000 },
    workloads: [],
  });
  expect(triggers).toEqual(catalogue);
});

test("a workload gets every default; commands are found, paths start from the config's folder", () => {
  mkdirSync(join(folder, "run"));
  const { workloads, hub, nodeId } = read(`
node: {id: edge-1}
hub: {addresses: ["[::1]:7443"], ca: ca.pem, cert: /etc/b/cert.pem, key: key.pem}
workloads:
  - name: trader
    command: [trader, --fast]
    cwd: run
    restart: on-failure
    beat: {file: beat}
    clean: {files: [run/lock], sockets: [/tmp/x.sock]}
    probes:
      - {name: port, tcp: {address: "[::1]:80", send: "PING\\r\\n", expect: PONG}}
      - {name: fast, every: 500ms, exec: {command: [other, -c]}}
`);
  expect([nodeId, hub]).toEqual([
    "edge-1",
    {
      addresses: ["[::1]:7443"],
      caPath: join(folder, "ca.pem"),
      certPath: "/etc/b/cert.pem",
      keyPath: join(folder, "key.pem"),
    },
  ]);
  expect(workloads).toEqual([
    {
      name: "trader",
      command: [join(folder, "bin/trader"), "--fast"],
      cwd: join(folder, "run"),
      env: {},
      restart: "onFailure",
      starts: { max: 3, withinMs: 60_000 },
      backoff: { baseMs: 500, capMs: 30_000, resetAfterMs: 10_000, delayMs: 0 },
      startGraceMs: 10_000,
      beat: { timeoutMs: 3000, file: join(folder, "beat") },
      probes: [
        {
          name: "port",
          use: "liveness",
          everyMs: 1000,
          timeoutMs: 1000,
          failures: 2,
          ask: { by: "tcp", host: "::1", port: 80, send: "PING\r\n", expect: "PONG" },
        },
        {
          name: "fast",
          use: "liveness",
          everyMs: 500,
          timeoutMs: 500,
          failures: 2,
          ask: { by: "exec", command: [join(folder, "bin/other"), "-c"], cwd: join(folder, "run") },
        },
      ],
      stop: { signal: "SIGTERM", graceMs: 5000 },
      clean: { files: [join(folder, "run/lock")], sockets: ["/tmp/x.sock"], ports: [] },
      output: { maxBytes: 10_485_760, files: 3 },
      dependsOn: [],
      critical: false,
      probationMs: 300_000,
      // What heals it beyond a restart, at its defaults; sections.test.ts reads what may be said there.
      configFiles: [],
      limits: { memoryBytes: 0, cpu: 0, tasks: 4096 },
      ladder: ladderDefaults,
      notify: false,
      pool: "",
      artifacts: [],
      sandboxExitCodes: [],
      patterns: { error: "\\b(error|fatal|panic|exception)\\b", corruption: "", configError: "" },
    },
  ]);
});

const one = (more: string) => `workloads:\n  - name: a\n    command: [trader]\n    ${more}\n`;

test.each([
  [
    "a command that is nowhere",
    "workloads:\n  - name: a\n    command: [tradr]\n",
    /^3:15 workloads\[0\]\.command\[0\]: "tradr" cannot be started: it is not on the PATH; allowed is an executable file; did you mean "trader"\?$/,
  ],
  [
    "a command that may not be executed",
    "workloads: [{name: a, command: [locked]}]",
    /"locked" cannot be started: bin\/locked may not be executed/,
  ],
  ["a relative command that is not there", "workloads: [{name: a, command: [./trader]}]", /there is no such file/],
  ["a folder as command", "workloads: [{name: a, command: [./bin]}]", /it is not a file/],
  [
    "a folder that is missing",
    one("cwd: nowhere"),
    /^4:10 workloads\[0\]\.cwd: there is no folder nowhere; allowed is an existing folder$/,
  ],
  [
    "a cap below the base",
    one("backoff: {base: 10s, cap: 5s}"),
    /^4:31 workloads\[0\]\.backoff\.cap: the cap of 5s is below the base of 10s; allowed is at least the base$/,
  ],
  [
    "a dependency on what is not there",
    `${one("depends_on: [bb]")}  - {name: bbb, command: [trader]}\n`,
    /^4:18 workloads\[0\]\.depends_on\[0\]: there is no workload "bb"; allowed are other workloads of this file: bbb; did you mean "bbb"\?$/,
  ],
  [
    "a dependency on itself",
    one("depends_on: [a]"),
    /^4:18 .*: a circle: a → a; allowed are dependencies without circles$/,
  ],
  [
    "a probe that asks nothing",
    one("probes: [{name: p}]"),
    /^4:14 workloads\[0\]\.probes\[0\]: a probe that asks nothing; allowed is one of exec, tcp, http, grpc$/,
  ],
  [
    "a probe that overlaps itself",
    one("probes: [{name: p, timeout: 2s, tcp: {address: 'a:1'}}]"),
    /probes\[0\]\.timeout: 2s would overlap the next question; allowed is at most `every`, which is 1s$/,
  ],
  [
    "a port that cannot be",
    one("probes: [{name: p, tcp: {address: 'a:99999'}}]"),
    /tcp\.address: port 99999; allowed is a port from 1 to 65535$/,
  ],
  ["a URL that is none", one("probes: [{name: p, http: {url: 'http://['}}]"), /http\.url: not a URL/],
  [
    "a gRPC address without a port",
    one("probes: [{name: p, grpc: {address: localhost}}]"),
    /grpc\.address: "localhost"; allowed is HOST:PORT or unix:PATH$/,
  ],
  [
    "an exec probe whose command is nowhere",
    one("probes: [{name: p, exec: {command: [othr]}}]"),
    /exec\.command\[0\]: "othr" cannot be started/,
  ],
  [
    "a variable of the agent's own",
    one("env: {BLUEFLAME_TOKEN: x}"),
    /env\.BLUEFLAME_TOKEN: a name that the agent sets itself/,
  ],
  [
    "a duplicate name",
    `${one("critical: true")}  - {name: a, command: [trader]}\n`,
    /^5:12 workloads\[1\]\.name: "a" stands in line 2 already/,
  ],
  ["a hub's port that cannot be", "hub: {addresses: ['h:0'], ca: a, cert: b, key: c}", /hub\.addresses\[0\]: port 0/],
])("%s is told with its place and what is allowed", (_, text, expected) => {
  const problems = problemsOf(text);
  expect(problems).toHaveLength(1);
  expect(problems[0]).toMatch(expected);
});

test("a circle of dependencies is named once, with everybody in it", () => {
  const text = `
workloads:
  - {name: a, command: [trader], depends_on: [b]}
  - {name: b, command: [trader], depends_on: [c, d]}
  - {name: c, command: [trader], depends_on: [b]}
  - {name: d, command: [trader]}
`;
  expect(problemsOf(text)).toEqual([
    "5:47 workloads[2].depends_on[0]: a circle: b → c → b; allowed are dependencies without circles",
  ]);
});

test("a chain of 500 workloads is no circle", () => {
  const chain = Array.from(
    { length: 500 },
    (_, i) => `  - {name: w${i}, command: [trader], depends_on: [${i ? `w${i - 1}` : ""}]}`,
  );
  expect(read(`workloads:\n${chain.join("\n")}\n`).workloads).toHaveLength(500);
});

test("problems of the schema, of the machine and between workloads are told together", () => {
  const text =
    "workloads:\n  - name: a\n    command: [nowhere]\n    cwd: 5x\n    restart: maybe\n    depends_on: [z]\n";
  expect(problemsOf(text).map((line) => line.split(":").slice(0, 2).join(":"))).toEqual([
    "4:10 workloads[0].cwd",
    "5:14 workloads[0].restart",
    "6:18 workloads[0].depends_on[0]",
  ]);
});

test("a missing file is CONFIG_NOT_FOUND, and what is no text is CONFIG_INVALID", () => {
  const code = (path: string) => {
    try {
      readAgentConfig(path, env);
    } catch (error) {
      return isFault(error) ? error.code : error;
    }
    return "read";
  };
  writeFileSync(join(folder, "binary.yaml"), Buffer.from([0xff, 0xfe, 0x80]));
  expect([code(join(folder, "none.yaml")), code(folder), code(join(folder, "binary.yaml"))]).toEqual([
    "CONFIG_NOT_FOUND",
    "CONFIG_INVALID",
    "CONFIG_INVALID",
  ]);
});

test("PHX-12 a bare command becomes a workload named after it, with every default and no beat", () => {
  const spec = workloadFromCommand(["bin/trader", "--port", "80: x"], folder, env);
  expect(spec).toMatchObject({
    name: "trader",
    command: [join(folder, "bin/trader"), "--port", "80: x"],
    cwd: folder,
    restart: "always",
    probes: [],
    startGraceMs: 10_000,
  });
  expect(spec.beat).toBeUndefined();
  writeFileSync(join(folder, "bin", "_My Feed!.SH"), "#!/bin/sh\n", { mode: 0o755 });
  expect(workloadFromCommand(["_My Feed!.SH"], folder, env).name).toBe("my-feed-.sh");
});

test("PHX-12 a bare command that is not there is refused with what was probably meant", () => {
  expect(() => workloadFromCommand(["tradr"], folder, env)).toThrow(/^\[SPAWN_FAILED\] .*did you mean "trader"\?/);
  expect(() => workloadFromCommand([], folder, env)).toThrow(/^\[USAGE\]/);
});

test("a command that was written as one text was quoted whole, with its password, wherever a config names one", () => {
  const whole = '["trader -a canary ping"]';
  const text = `
workloads:
  - name: a
    command: ${whole}
    safe_mode: {command: ${whole}}
    probes: [{name: p, exec: {command: ${whole}}}]
    data: {paths: [d], dump: ${whole}, verify: ${whole}}
pager: ${whole}
jobs: [{name: j, every: 1h, file: f, command: ${whole}}]
processes: [{name: o, program: trader -a canary}]
`;
  const problems = problemsOf(text);
  expect(problems).toHaveLength(8);
  expect(problems.join()).not.toContain("canary");
  expect(problems[0]).toBe(
    '4:15 workloads[0].command[0]: "trader …" cannot be started: it is not on the PATH; allowed is an executable file; ' +
      'the arguments are items of their own; did you mean "trader"?',
  );
  expect(problems.at(-1)).toMatch(
    /processes\[0\]\.program: "trader …" is no absolute path; allowed is an absolute path$/,
  );
  expect(() => workloadFromCommand(["trader -a canary"], folder, env)).toThrow(
    /^\[SPAWN_FAILED\] cannot start 'trader …': it is not on the PATH; the arguments are items of their own; did you mean "trader"\?/,
  );
});

test("a gRPC address and the name of a variable were quoted with the password in them", () => {
  const grpc = problemsOf(one('probes: [{name: p, grpc: {address: "grpc://eve:canary@h:1"}}]'));
  expect(grpc).toEqual([expect.stringMatching(/grpc\.address: "grpc:\/\/…@h:1"; allowed is HOST:PORT or unix:PATH$/)]);
  const names = problemsOf(one('env: {"BLUEFLAME_TOKEN=canary": x, "A=canary": y, "": z}'));
  expect(names.map((line) => line.split(": ")[0]?.split("env.")[1])).toEqual(['"BLUEFLAME_TOKEN…"', '"A…"', '""']);
  expect(names.join()).not.toContain("canary");
});

test("a private key that was pasted into the config was printed whole as the path that it is not", () => {
  const pem = '"-----BEGIN PRIVATE KEY-----\\ncanary\\n-----END PRIVATE KEY-----\\n"';
  const text = `
hub: {addresses: ["h:1"], ca: ${pem}, cert: "-----BEGIN CERTIFICATE----- canary", key: ${pem}}
playbooks: ${pem}
disposable: [${pem}]
jobs: [{name: j, every: 1h, file: ${pem}}]
processes: [{name: o, program: ${pem}}]
meta: {sources: [{name: s, file: ${pem}}], coherence: [{name: c, field: f, file: ${pem}}]}
workloads:
  - name: a
    command: [trader]
    cwd: ${pem}
    config_files: [${pem}]
    artifacts: [${pem}]
    data: {paths: [${pem}]}
    beat: {file: ${pem}}
    clean: {files: [${pem}], sockets: [${pem}]}
`;
  const problems = problemsOf(text);
  expect(problems.join("\n")).not.toContain("canary");
  const file = "a key or certificate itself; allowed is the path of a file or folder";
  expect(problems.filter((line) => line.endsWith(`: ${file}`))).toHaveLength(16);
  expect(problems.slice(0, 3)).toEqual([
    `2:31 hub.ca: ${file}`,
    expect.stringMatching(/^2:\d+ hub\.cert: a key or certificate itself; /),
    expect.stringMatching(/^2:\d+ hub\.key: a key or certificate itself; /),
  ]);
  expect(problemsOf(one('cwd: "canary\\nb"'))).toEqual([
    "4:10 workloads[0].cwd: text of several lines; allowed is the path of a file or folder",
  ]);
});
