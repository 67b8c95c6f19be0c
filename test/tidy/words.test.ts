import { basename } from "node:path";
import { expect, test } from "vitest";
import { ourCode, ourFiles, textOf } from "./sources.ts";

// Written in two halves, so that this file does not find itself.
const leftover = new RegExp(
  `\\b(${["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"].join("|")})\\b|\\bnot ${"implemented"}\\b|\\bst${"ub"}s?\\b`,
  "i",
);
const vague = /(^|[-.])(helpers?|managers?|utils?|common|misc)([-.]|$)/;
const text = ourFiles.filter(
  (path) => /\.(ts|mjs|cjs|proto|ya?ml|md|css|html)$/.test(path) && !path.startsWith("proto/grpc/"),
);
const linesMax = 400;

const where = (path: string, pattern: RegExp) =>
  textOf(path)
    .split("\n")
    .flatMap((line, index) => (pattern.test(line) ? [`${path}:${index + 1} ${line.trim()}`] : []));

test("nothing is left open in the code", () => {
  expect(text.flatMap((path) => where(path, leftover))).toEqual([]);
});

test("no file has a name that says nothing", () => {
  expect(ourCode.filter((path) => vague.test(basename(path)))).toEqual([]);
});

test(`no file is longer than ${linesMax} lines`, () => {
  const long = ourCode
    .map((path) => ({ path, lines: textOf(path).split("\n").length }))
    .filter(({ lines }) => lines > linesMax);
  expect(long).toEqual([]);
});

test("no checker is silenced without an argument beside it", () => {
  const silenced = new RegExp(`@ts-(ignore|expect-error|nocheck)|biome-ignore(?!.*: .{20,})|\\bas ${"any"}\\b(?! \\w)`);
  expect(ourCode.filter((path) => path !== "test/tidy/words.test.ts").flatMap((path) => where(path, silenced))).toEqual(
    [],
  );
});
