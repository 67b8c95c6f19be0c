import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { inRoot } from "../../deploy/root.ts";
import { ourCode, textOf } from "./sources.ts";

/**
 * The requirement rows that are built, each with where its tests have to stand. "both": at least once as a decision on virtual
 * time, where every order of events can be tried, and at least once for real, where the machine may disagree. "structure": the
 * row is about files or packages and does not happen in time, so one test that looks at them is right.
 */
const rows: Readonly<Record<string, "both" | "structure">> = {
  "CARD-1": "structure", // the language and the folders of the top level
  "CARD-2": "structure", // which packages are used, and for what
  "CARD-3": "both",
  "CARD-4": "both",
  "CARD-5": "structure", // one packaged binary, reflection and health: what is shipped, tried with real clients
  "PHX-1": "both",
  "PHX-2": "both",
  "PHX-3": "both",
  "PHX-4": "both",
  "PHX-5": "both",
  "PHX-6": "both",
  "PHX-7": "both",
  "PHX-8": "both",
  "SYN-1": "both",
  "SYN-2": "both",
  "SYN-3": "both",
  "SYN-4": "both",
  "SYN-5": "both",
  "SYN-6": "both",
  "SYN-8": "both",
  "SYN-9": "both",
  "SYN-10": "both",
  "SYN-12": "both",
  "SYN-14": "both",
  "PRA-4": "both",
  "PRA-5": "both",
  "PRA-6": "both",
  "PRA-7": "both",
  "PRA-8": "both",
  "PRA-14": "both",
  "DOL-1": "both",
  "DOL-2": "both",
  "DOL-3": "both",
  "DOL-4": "both",
  "DOL-5": "both",
  "DOL-6": "both",
  "DOL-7": "both",
  "DOL-8": "both",
  "DOL-9": "both",
  "DOL-10": "both",
  "GRC-1": "both",
  "GRC-2": "both",
  "GRC-3": "both",
  "GRC-4": "both",
  "GRC-5": "both",
  "GRC-6": "both",
  "GRC-8": "both",
  "GRC-10": "both",
  "GRC-11": "both",
  "GRC-12": "both",
  "GRC-13": "both",
  "GRC-14": "both",
  "PHX-11": "both",
  "PHX-12": "both",
  "PHX-13": "both",
  "PRA-11": "both",
  "SYN-7": "both",
  "GRC-7": "both",
  "GRC-9": "both",
};

const id = "(?:CARD|PHX|SYN|PRA|ESC|DOL|GRC)-\\d+";
// A title is a sentence in a string that begins with the rows it shows.
const title = new RegExp(`["'\`]((?:${id} )+)\\S`, "g");
const titledIn = (text: string): string[] =>
  [...text.matchAll(title)].flatMap((found) => (found[1] ?? "").trim().split(" "));

/** What a file imports for its values; types leave no trace at run time. */
const imports = (text: string): string[] =>
  [...text.matchAll(/^(?:import|export)\s+(?!type\b)([^;]*?)\s*from\s+"([^"]+)"/gm)]
    .filter(([, names = ""]) => !/^\{(\s*type\s+\w+(\s+as\s+\w+)?\s*,?)+\s*\}$/.test(names))
    .map((found) => found[2] ?? "");

/** The file in this clone that an import means; undefined for packages. */
function fileOf(from: string, importer: string): string | undefined {
  const path = from.startsWith(".") ? join(dirname(importer), from) : /^@blueflame\/(.+)$/.exec(from)?.[1];
  return path?.endsWith(".ts") && existsSync(inRoot(path)) ? path : undefined;
}

const touchesTheWorld = (from: string) =>
  /^node:(child_process|net|http|http2|tls|dgram)$|^(@grpc\/grpc-js|level|classic-level)$|\.driver\.ts$|\/store\/level\//.test(
    from,
  );

/**
 * Starts processes, opens sockets or a store, or runs on the real clock: itself, or by something of ours that it imports. What
 * makes a VirtualClock of its own is virtual all the same: it runs the shipped shell in a world of fakes.
 */
function isReal(path: string, seen = new Set<string>()): boolean {
  if (seen.has(path)) return false;
  seen.add(path);
  return imports(textOf(path)).some((from) => {
    const file = fileOf(from, path);
    return touchesTheWorld(from) || (file !== undefined && isReal(file, seen));
  });
}

const tests = ourCode.filter((path) => path.endsWith(".test.ts") && path !== "test/tidy/rows.test.ts");
const shown = { virtual: new Set<string>(), real: new Set<string>(), structure: new Set<string>() };
for (const path of tests) {
  const found = titledIn(textOf(path));
  if (found.length === 0) continue;
  const virtual = imports(textOf(path)).some((from) => from.endsWith("/virtual-clock.ts")) || !isReal(path);
  const kind = path.startsWith("test/tidy/") ? "structure" : virtual ? "virtual" : "real";
  for (const row of found) shown[kind].add(row);
}

test.each(Object.entries(rows))("%s has its test titles (%s)", (row, wanted) => {
  const anywhere = [shown.structure, shown.real, shown.virtual].some((kind) => kind.has(row));
  if (wanted === "structure") return expect(anywhere, `no test title begins with ${row}`).toBe(true);
  expect(shown.virtual.has(row), `no title in a test file that decides on virtual time begins with ${row}`).toBe(true);
  expect(shown.real.has(row), `no title in a test file that runs the real thing begins with ${row}`).toBe(true);
});

test("the rule itself: titles are found, and files are told apart by what they run", () => {
  expect(
    titledIn('test("PHX-1 GRC-7 a beat comes", f); test.each(a)(`PHX-2 the story %s`, f); const row = "PHX-3";'),
  ).toEqual(["PHX-1", "GRC-7", "PHX-2"]);
  expect(
    imports(
      'import { type A, type B } from "x.driver.ts";\nimport type { C } from "node:net";\nimport { d } from "./d.ts";',
    ),
  ).toEqual(["./d.ts"]);
  expect(isReal("agent/supervise/machine.test.ts")).toBe(false);
  expect(isReal("hub/escalation/machine.test.ts")).toBe(false);
  expect(isReal("agent/supervise/supervisor.driver.test.ts")).toBe(true);
  expect(isReal("test/e2e/fleet.test.ts")).toBe(true);
});
