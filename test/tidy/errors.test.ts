import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { errorManual, withCatalogue } from "../../deploy/error-manual.ts";
import { catalogue } from "../../shared/errors/fault.ts";
import { ourFiles, textOf } from "./sources.ts";

const product = ourFiles.filter(
  (path) =>
    /^(agent|hub|shared|examples)\/.*\.(ts|mjs)$/.test(path) && !/\.test\.ts$|^shared\/errors\/fault\.ts$/.test(path),
);
const text = product.map(textOf).join("\n");

test("every code is used: one that nothing throws is no promise", () => {
  expect(Object.keys(catalogue).filter((code) => !text.includes(`"${code}"`))).toEqual([]);
});

test("the manual prints the catalogue as it is; `npm run generate` writes it", () => {
  const page = readFileSync(errorManual, "utf8");
  expect(page).toBe(withCatalogue(page));
});

test("every remedy is a whole sentence", () => {
  expect(Object.values(catalogue).filter(({ remedy }) => !/^[A-Z].+\.$/.test(remedy))).toEqual([]);
});
