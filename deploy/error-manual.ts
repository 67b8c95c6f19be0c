// Prints the error catalogue into shared/errors/README.md, between its two marks. A test fails when that is out of date.
import { readFileSync, writeFileSync } from "node:fs";
import { catalogue } from "../shared/errors/fault.ts";
import { inRoot } from "./root.ts";

const begin = "<!-- catalogue: printed by `npm run generate` -->";
const end = "<!-- end of catalogue -->";

/** The manual's page with the catalogue of now. */
export function withCatalogue(page: string): string {
  const from = page.indexOf(begin);
  const to = page.indexOf(end);
  if (from < 0 || to < from) throw new Error(`shared/errors/README.md has lost its marks: ${begin} … ${end}`);
  const rows = Object.entries(catalogue).map(
    ([code, { exit, retry, remedy }]) => `| \`${code}\` | ${exit} | ${retry} | ${remedy.replaceAll("|", "\\|")} |`,
  );
  const table = ["| code | exit | try again | what to do |", "| --- | --- | --- | --- |", ...rows].join("\n");
  return `${page.slice(0, from)}${begin}\n\n${table}\n\n${page.slice(to)}`;
}

/** Where the manual's page is. */
export const errorManual = inRoot("shared", "errors", "README.md");

if (import.meta.main) writeFileSync(errorManual, withCatalogue(readFileSync(errorManual, "utf8")));
