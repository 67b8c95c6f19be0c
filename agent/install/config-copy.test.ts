import { readdirSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import type { Machine } from "@blueflame/shared/config/machine.ts";
import { expect, test } from "vitest";
import { inRoot } from "../../deploy/root.ts";
import { stamped, stampOf } from "../config/stamp.ts";
import { copyOf, personsPath } from "./config-copy.ts";

/** Programs by folder; whatever is named with a slash is there. */
const machineWith = (programs: Readonly<Record<string, readonly string[]>>): Machine => ({
  findProgram(command, cwd, path) {
    if (command.includes("/")) return { file: resolve(cwd, command) };
    const folder = path.split(":").find((one) => programs[one]?.includes(command));
    return folder === undefined ? { refused: "it is not on the PATH" } : { file: `${folder}/${command}` };
  },
  programs: () => [],
  isFolder: () => true,
});
const usual = { "/usr/bin": ["sleep", "true", "sh", "test", "touch", "redis-server", "nginx", "node"] };
const certificates = { ca: "/c/ca.crt", cert: "/c/node.crt", key: "/c/node.key" };

function copied(text: string, { hub = [] as string[], programs = {}, searchPath = "/usr/bin" } = {}): string {
  const machine = machineWith({ ...usual, ...programs });
  const source = { text, path: "/src/own.yaml", searchPath, machine };
  return copyOf(source, { path: "/etc/blueflame/agent.yaml", hub, certificates });
}

const examples = readdirSync(inRoot("examples"), { recursive: true, encoding: "utf8" }).filter(
  (name) => /(^[^/]+|\/blueflame)\.yaml$/.test(name) && name !== "hub.yaml" && !name.includes("node_modules"),
);
test.each(examples)("%s says at its place what it says where it lies, and keeps its comments", (name) => {
  const text = readFileSync(inRoot("examples", name), "utf8");
  const copy = copied(text); // would not be given when any key of it said something else
  const comments = (of: string) => of.split("\n").filter((line) => /^\s*(- )?#/.test(line));
  expect(comments(copy)).toEqual(comments(text));
  expect(copied(text, { hub: ["h:1"] })).toContain("h:1");
});

test.each([
  ["in braces", "workloads: [{name: a, command: [sleep]}]", "workloads: [{cwd: /src, name: a, command: [sleep]}]"],
  [
    "CRLF",
    "workloads:\r\n- name: a\r\n  command: [sleep]\r\n",
    "workloads:\r\n- cwd: /src\n  name: a\r\n  command: [sleep]\r\n",
  ],
  ["a mark at the beginning", "\ufeffplaybooks: p\n", "\ufeffplaybooks: /src/p\n"],
  ["a number", "playbooks: 010\n", "playbooks: /src/010\n"],
  ["quoted", "playbooks: 'a: b' # ours\n", 'playbooks: "/src/a: b" # ours\n'],
  [
    "an empty cwd",
    "workloads: [{cwd: '', name: a, command: [sleep]}]",
    "workloads: [{cwd: /src, name: a, command: [sleep]}]",
  ],
  ["an alias", "playbooks: &a p\ndisposable: [*a]\n", "playbooks: &a /src/p\ndisposable: [/src/p]\n"],
  ["absolute already", "playbooks: /p\n", "playbooks: /p\n"],
])("a path that is written %s", (_how, text, copy) => {
  expect(copied(text)).toBe(copy);
});

test("a program that only the person finds is named by its file; one that the workload's own PATH finds is not", () => {
  const programs = { "/home/u/bin": ["mine", "node"] };
  const more = { programs, searchPath: "/home/u/bin:/usr/bin" };
  const [head, tail] = ["pager: [", "]\n"];
  expect(copied(`${head}mine${tail}`, more)).toBe(`${head}/home/u/bin/mine${tail}`);
  expect(copied(`${head}node${tail}`, more)).toBe(`${head}/home/u/bin/node${tail}`);
  expect(copied(`${head}sleep${tail}`, more)).toBe(`${head}sleep${tail}`);
  expect(copied(`${head}./x${tail}`, more)).toBe(`${head}/src/x${tail}`);
  const own = "workloads: [{cwd: /w, name: a, command: [mine], env: {PATH: /home/u/bin}}]";
  expect(copied(own, more)).toBe(own);
  expect(personsPath("/clone/node_modules/.bin:/usr/bin")).toBe("/usr/bin:/clone/node_modules/.bin");
});

test("a file that ends with its checksum ends with that of the copy", () => {
  const copy = copied(stamped("playbooks: p\n"));
  expect([stampOf(copy), copy.split("\n")[0]]).toEqual(["whole", "playbooks: /src/p"]);
  expect(stampOf(copied(stamped("playbooks: p\n"), { hub: ["h:1"] }))).toBe("whole");
});

test("what stands for a path and for something else, too, is refused: its copy would say something else", () => {
  const text = "workloads: [{name: a, command: [sleep], beat: {file: &b x}, env: {AT: *b}}]";
  expect(() => copied(text)).toThrow(/^\[INSTALL_FAILED\] .*: workloads\.0\.env\.AT changes/);
});

test("a hub that was named twice: certificates of the file stay, and only what is missing is said", () => {
  expect(copied("{}\n", { hub: ["h:1"] })).toMatch(/ca: \/c\/ca\.crt/);
  const own = "hub: {addresses: [x:1], ca: ca, cert: cert, key: /k}\n";
  expect(copied(own, { hub: ["h:1"] })).toMatch(/h:1.*ca: \/src\/ca, cert: \/src\/cert, key: \/k/s);
});
