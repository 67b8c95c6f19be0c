import type { DescField, DescMessage } from "@bufbuild/protobuf";
import { allowedOf, isSection, ruleOf } from "./value.ts";

/** Every key of a config schema with what is allowed and its default, one per line, as text for `--help config`. Pure. */
export function configManual(schema: DescMessage): string {
  const rows = rowsOf(schema, "");
  const width = Math.max(...rows.map(([path]) => path.length));
  return rows.map(([path, means]) => `${path.padEnd(width)}  ${means}\n`).join("");
}

function rowsOf(schema: DescMessage, prefix: string): [path: string, means: string][] {
  return schema.fields.flatMap((field) => {
    const path = `${prefix}${field.name}${field.fieldKind === "list" ? "[]" : field.fieldKind === "map" ? ".KEY" : ""}`;
    const row: [string, string] = [path, meansOf(field)];
    return isSection(field) && field.message ? [row, ...rowsOf(field.message, `${path}.`)] : [row];
  });
}

function meansOf(field: DescField): string {
  const rule = ruleOf(field);
  const means: string[] = [];
  if (field.fieldKind === "list")
    means.push(`a list of ${rule.minItems > 0 ? `${rule.minItems} to` : "at most"} ${rule.maxItems || 1000}`);
  if (field.fieldKind === "map") means.push(`at most ${rule.maxItems || 1000} keys`);
  if (rule.unique) means.push(`each ${rule.unique} once`);
  if (!isSection(field)) means.push(allowedOf(field).replace(/^allowed is /, ""));
  else if (field.fieldKind !== "list") means.push("a section");
  if (field.oneof) means.push(`one of ${field.oneof.fields.map(({ name }) => name).join(", ")}`);
  if (rule.required) means.push("required");
  if (rule.optional) means.push("absent stays absent");
  if (rule.default) means.push(`default ${rule.default}`);
  return means.join("; ");
}
