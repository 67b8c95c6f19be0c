import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { errorManual, withCatalogue } from "../../deploy/error-manual.ts";
import { catalogue } from "../../shared/errors/fault.ts";
import { ourCode, textOf } from "./sources.ts";

const product = ourCode.filter(
  (path) =>
    /^(agent|hub|shared|examples)\//.test(path) && !path.endsWith(".test.ts") && path !== "shared/errors/fault.ts",
);
const text = product.map(textOf).join("\n");

test.each(Object.keys(catalogue))("the code %s is used: a code that nothing throws is no promise", (code) => {
  expect(text).toContain(`"${code}"`);
});

test("the manual prints the catalogue as it is; `npm run generate` writes it", () => {
  const page = readFileSync(errorManual, "utf8");
  expect(page).toBe(withCatalogue(page));
});

test.each(Object.entries(catalogue))("%s says what to do in a whole sentence", (_code, { remedy }) => {
  expect(remedy).toMatch(/^[A-Z].{15,}\.$/);
});
