import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { inRoot } from "../../deploy/root.ts";
import { ourCode, ourFiles, textOf } from "./sources.ts";

const folders = [...new Set(ourCode.map((path) => dirname(path)))].filter((folder) => folder !== ".").sort();
const pages = ourFiles.filter((path) => path.endsWith(".md"));

test("every folder says in its README what goes in, what comes out and where to start", () => {
  expect(folders.filter((folder) => !existsSync(inRoot(folder, "README.md")))).toEqual([]);
});

test("every command that a page names exists", () => {
  const { scripts } = JSON.parse(textOf("package.json"));
  const wrong = pages.flatMap((page) =>
    [...textOf(page).matchAll(/npm (?:run )?([a-z][a-z-]*)/g)]
      .map((found) => found[1] ?? "")
      .filter(
        (name) => !(name in scripts) && !["ci", "install", "run", "workspaces", "pack", "registry"].includes(name),
      )
      .map((name) => `${page}: npm run ${name}`),
  );
  expect(wrong).toEqual([]);
});

test("every file that a page links to exists", () => {
  const wrong = pages.flatMap((page) =>
    [...textOf(page).matchAll(/\]\((?!https?:|#)([^)#\s]+)[^)]*\)/g)]
      .map((found) => found[1] ?? "")
      .filter((link) => !existsSync(inRoot(join(dirname(page), link))))
      .map((link) => `${page}: ${link}`),
  );
  expect(wrong).toEqual([]);
});
