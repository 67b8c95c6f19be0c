import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";

const here = import.meta.dirname;
let folder = "";

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "bf-cli-"));
  await writeFile(
    join(folder, "program.ts"),
    `import { Command } from "${join(here, "../../node_modules/commander/esm.mjs")}";
import { runCli, interruption } from "${join(here, "run.ts")}";
import { formatFlag } from "${join(here, "print.ts")}";
import { Fault } from "${join(here, "../errors/fault.ts")}";
const program = new Command("sample").description("a sample").version("1.2.3");
formatFlag(program.command("nodes"));
program.command("fail").argument("<code>").action((code) => { throw new Fault(code, "something was seen\\u001b[31m"); });
program.command("config").action(() => {
  throw new Fault("CONFIG_INVALID", "a.yaml cannot be used:\\n  a.yaml:1:1: one\\u001b[31m\\n  a.yaml:2:1: two\\r\\n2 problems");
});
program.command("forged").action(() => { throw new Fault("DENIED", "a node said\\n[NOT_FOUND] a forged line"); });
program.command("warn").action(() => {
  process.emitWarning("not an address", "DeprecationWarning", "DEP0123");
  process.emitWarning("mind this", "DeprecationWarning", "BF0001");
});
program.command("crash").action(() => { throw new TypeError("broken"); });
program.command("flood").action(async () => {
  for (;;) { process.stdout.write("line\\n".repeat(1000)); await new Promise((next) => setImmediate(next)); }
});
program.command("wait").action(async () => {
  const signal = interruption();
  process.stdout.write("waiting\\n");
  const alive = setInterval(() => {}, 1000);
  await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  clearInterval(alive);
});
process.exitCode = await runCli(program, process.argv.slice(2));
if (process.exitCode >= 128) process.exit();
`,
  );
});
afterAll(() => rm(folder, { recursive: true }));

function start(...args: string[]) {
  return spawn(process.execPath, [join(folder, "program.ts"), ...args], { env: { ...process.env, NO_COLOR: "1" } });
}

async function run(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  const child = start(...args);
  let out = "";
  let err = "";
  child.stdout.on("data", (text) => (out += String(text)));
  child.stderr.on("data", (text) => (err += String(text)));
  const [code] = await once(child, "close");
  return { code, out, err };
}

test("help and version go to stdout and are no failure", async () => {
  expect(await run("--version")).toEqual({ code: 0, out: "1.2.3\n", err: "" });
  const help = await run("--help");
  expect([help.code, help.err]).toEqual([0, ""]);
  expect(help.out).toContain("Usage: sample");
});

test.each([
  [["nods"], "[USAGE] unknown command 'nods'. Did you mean nodes? See sample --help.\n"],
  [["nodes", "--outptu", "json"], "[USAGE] unknown option '--outptu'. Did you mean --output? See sample --help.\n"],
  [["nodes", "one", "two"], "[USAGE] too many arguments for 'nodes'. Expected 0 arguments but got 2"],
  [["nodes", "-o", "xml"], "Allowed choices are table, json, jsonl, yaml"],
  [[], "Usage: sample"],
])("wrong usage %j is exit 2 with the nearest right word on stderr", async (args, text) => {
  const ran = await run(...args);
  expect([ran.code, ran.out]).toEqual([2, ""]);
  expect(ran.err).toContain(text);
});

test.each([
  ["NOT_FOUND", 3],
  ["DENIED", 4],
  ["HUB_UNREACHABLE", 5],
  ["CONDITION_FALSE", 6],
  ["TIMED_OUT", 124],
  ["PORT_IN_USE", 1],
])("the fault %s is exit %i with code and remedy, and without escape sequences", async (code, exit) => {
  const ran = await run("fail", code);
  expect([ran.code, ran.out]).toEqual([exit, ""]);
  expect(ran.err).toMatch(new RegExp(`^\\[${code}\\] something was seen\\. \\S.*\\n$`));
});

test("several problems of a config stand on a line each", async () => {
  const { code, err } = await run("config");
  expect(code).toBe(2);
  const lines = err.trimEnd().split("\n");
  expect(lines.slice(0, 3)).toEqual([
    "[CONFIG_INVALID] a.yaml cannot be used:",
    "  a.yaml:1:1: one",
    expect.stringMatching(/^ {2}a\.yaml:2:1: two ?$/),
  ]);
  expect(lines[3]).toMatch(/^2 problems\. Correct the lines/);
});

test("the words of a node cannot forge a line", async () => {
  const { err } = await run("forged");
  expect(err.trimEnd().split("\n")).toHaveLength(1);
});

test("Node's warning about a hub that is named by its address does not reach people, others do", async () => {
  const { code, err } = await run("warn");
  expect(code).toBe(0);
  expect(err).not.toContain("DEP0123");
  expect(err).toContain("BF0001");
});

test("our own mistake is exit 1 and says so", async () => {
  const ran = await run("crash");
  expect(ran.code).toBe(1);
  expect(ran.err).toContain("unexpected: TypeError: broken");
});

test("a reader that goes away ends the program quietly", async () => {
  const child = start("flood");
  let err = "";
  child.stderr.on("data", (text) => (err += String(text)));
  await once(child.stdout, "data");
  child.stdout.destroy();
  const [code] = await once(child, "close");
  expect([code, err]).toEqual([0, ""]);
});

test.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const)("%s ends what waits with exit %i", async (signal, exit) => {
  const child = start("wait");
  await once(child.stdout, "data");
  child.kill(signal);
  const [code] = await once(child, "close");
  expect(code).toBe(exit);
});
