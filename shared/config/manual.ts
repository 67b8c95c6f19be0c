import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import { type Column, fold, layOut, tableLines } from "../cli/table.ts";
import { durationForm, percentForm, sizeForm } from "../units/units.ts";
import { allowedOf, isSection, ruleOf } from "./value.ts";

type Row = readonly [path: string, means: string];

const columns: readonly Column<Row>[] = [
  { title: "", value: ([path]) => path },
  { title: "", value: ([, means]) => means },
];
/** How values are written stands once, above the keys. */
const forms = [
  [durationForm, "a duration"],
  [sizeForm, "a size"],
  [percentForm, "a share"],
] as const;

/**
 * Every key of a config schema with what is allowed and its default, one per line, as text for `--help config`; on a terminal of
 * `width` columns a line that is too long goes on below itself. Pure.
 */
export function configManual(schema: DescMessage, width?: number): string {
  const rows = rowsOf(schema, "");
  const legend = forms
    .map(([form, short]) => `A${short.slice(1)} is written${form.slice(short.length)}.`)
    .flatMap((line) => fold(line, width ?? Number.POSITIVE_INFINITY));
  const room = width === undefined ? {} : { width };
  const keys = tableLines(rows, columns, layOut(rows, columns), { headers: false, ...room });
  return `${[...legend, "", ...keys].join("\n")}\n`;
}

function rowsOf(schema: DescMessage, prefix: string): Row[] {
  return schema.fields.flatMap((field) => {
    const path = `${prefix}${field.name}${field.fieldKind === "list" ? "[]" : field.fieldKind === "map" ? ".KEY" : ""}`;
    const row: Row = [path, meansOf(field)];
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
  if (!isSection(field)) means.push(valueWords(field));
  else if (field.fieldKind !== "list") means.push("a section");
  if (field.oneof) means.push(`one of ${field.oneof.fields.map(({ name }) => name).join(", ")}`);
  if (rule.required) means.push("required");
  if (rule.optional) means.push("not there unless written");
  if (rule.default) means.push(`default ${rule.default}`);
  else if (field.fieldKind === "scalar" && field.scalar === ScalarType.BOOL) means.push("default false");
  return means.join("; ");
}

function valueWords(field: DescField): string {
  const allowed = allowedOf(field).replace(/^allowed is /, "");
  return forms.reduce((text, [form, short]) => text.replace(form, short), allowed);
}
