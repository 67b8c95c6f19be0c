import { expect, test } from "vitest";
import { ourCode, textOf } from "./sources.ts";

// Watchdog and emergency bootstrap must work when everything else is damaged.
const smallest = ourCode.filter((path) => /^agent\/(watchdog|bootstrap)\//.test(path) && !path.endsWith(".test.ts"));
const imported = (text: string) =>
  [...text.matchAll(/(?:from|import|require\()\s*"([^"]+)"/g)].map((one) => one[1] ?? "");
const allowed = (from: string) =>
  from.startsWith("node:") || /^\.\/[^/]+\.ts$/.test(from) || from === "../constants.ts";

test("watchdog and bootstrap import nothing but built-ins, their own folder and the one file of constants", () => {
  const wrong = smallest.flatMap((path) =>
    imported(textOf(path))
      .filter((from) => !allowed(from))
      .map((from) => `${path}: ${from}`),
  );
  expect(wrong).toEqual([]);
});

test("the rule itself tells ours from built-in", () => {
  const text = 'import a from "node:fs";\nimport b from "./lock.ts";\nimport c from "level";\nimport "../node.ts";';
  expect(imported(text).filter((from) => !allowed(from))).toEqual(["level", "../node.ts"]);
});
