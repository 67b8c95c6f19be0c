import { type DescEnum, type DescField, getOption, type Message, ScalarType } from "@bufbuild/protobuf";
import { DurationSchema, durationFromMs } from "@bufbuild/protobuf/wkt";
import { invariant } from "../errors/fault.ts";
import { type Rule, rule as ruleOption, Unit } from "../gen/blueflame/config/v1/rule_pb.ts";
import { durationForm, parseDuration, parsePercent, parseSize, percentForm, sizeForm } from "../units/units.ts";
import { isPem } from "./quote.ts";

/** A value as it stands in the file. A default of a rule is `written`: it may be of any kind. */
export interface Written {
  readonly text: string;
  readonly as: "text" | "number" | "switch" | "written";
}

/** A value ready to be stored in the message, or what is allowed instead. */
export type Read =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly allowed: string; readonly words?: readonly string[] };

/** How values of a field are written. */
type Form = "duration" | "size" | "percent" | "integer" | "decimal" | "text" | "switch" | "word";

/** The longest text a value may be: 64 KiB. */
const textMax = 65_536;

/** The schema's word on a field, read once: for each reading the library parses all options of the field anew. One entry for each field of ours. */
const rules = new WeakMap<DescField, Rule>();

export function ruleOf(field: DescField): Rule {
  const known = rules.get(field);
  if (known) return known;
  const read = getOption(field, ruleOption);
  rules.set(field, read);
  return read;
}

/** True for fields whose value, or whose items' value, is a section with keys of its own. */
export function isSection(field: DescField): boolean {
  return field.message !== undefined && field.message.typeName !== DurationSchema.typeName;
}

function formOf(field: DescField): Form {
  const { unit } = ruleOf(field);
  if (unit === Unit.BYTES) return "size";
  if (unit === Unit.PERCENT) return "percent";
  if (field.message) return "duration";
  if (field.enum) return "word";
  switch (field.scalar) {
    case ScalarType.STRING:
      return "text";
    case ScalarType.BOOL:
      return "switch";
    case ScalarType.DOUBLE:
      return "decimal";
    default:
      return "integer";
  }
}

/** What a value of this field (of one of its items, for a list or map) may be, for people. */
export function allowedOf(field: DescField): string {
  const rule = ruleOf(field);
  const form = formOf(field);
  const kind: Record<Form, string> = {
    duration: durationForm,
    size: sizeForm,
    percent: percentForm,
    integer: "a whole number",
    decimal: "a number",
    text: rule.patternMeans || (rule.path ? "the path of a file or folder" : "text"),
    switch: "true or false",
    word: `one of ${field.enum ? wordsOf(field.enum).join(", ") : ""}`,
  };
  return `allowed is ${kind[form]}${boundsOf(rule)}`;
}

function boundsOf({ min, max }: Rule): string {
  if (min && max) return `, from ${min} to ${max}`;
  if (min) return `, at least ${min}`;
  return max ? `, at most ${max}` : "";
}

/** The words of an enum as a file has them: `RESTART_POLICY_ON_FAILURE` is `on-failure`. The unspecified one is no word. */
export function wordsOf(words: DescEnum): string[] {
  return words.values.filter(({ number }) => number !== 0).map(({ name }) => wordOf(words, name));
}

function wordOf(words: DescEnum, name: string): string {
  const lower = name.toLowerCase();
  const prefix = words.sharedPrefix ?? "";
  return (lower.startsWith(prefix) ? lower.slice(prefix.length) : lower).replaceAll("_", "-");
}

/** Reads one value of a field, or of one of its items. Never throws. */
export function readValue(field: DescField, written: Written): Read {
  const refused: Read = { ok: false, allowed: allowedOf(field) };
  const rule = ruleOf(field);
  const form = formOf(field);
  if (written.text.length > textMax) return { ok: false, allowed: `allowed are at most ${textMax} characters` };
  switch (form) {
    case "duration": {
      const ms = figureWithin(rule, written, parseDuration);
      return ms === undefined ? refused : { ok: true, value: durationFromMs(ms) satisfies Message };
    }
    case "size":
      return number(field, figureWithin(rule, written, parseSize), refused);
    case "percent":
      return number(field, figureWithin(rule, written, parsePercent), refused);
    case "integer":
    case "decimal":
      if (written.as === "text") return refused;
      return number(field, figureWithin(rule, written, form === "integer" ? parseInteger : parseDecimal), refused);
    case "switch": {
      const fits = written.as !== "text" && (written.text === "true" || written.text === "false");
      return fits ? { ok: true, value: written.text === "true" } : refused;
    }
    case "text":
      return readText(rule, written, refused);
    case "word": {
      const words = field.enum;
      const word = written.text.toLowerCase().replaceAll("_", "-");
      const found = words?.values.find(({ name, number: n }) => n !== 0 && wordOf(words, name) === word);
      if (found) return { ok: true, value: found.number };
      return { ...refused, words: words ? wordsOf(words) : [] };
    }
  }
}

/** A number stands as text exactly as it was written: `PORT: 8080` is what everybody means. true and false do not. */
function readText(rule: Rule, written: Written, refused: Read): Read {
  if (written.as === "switch") {
    return { ok: false, allowed: `${refused.ok ? "" : refused.allowed}; put "${written.text}" in quotes` };
  }
  if (rule.path && (isPem(written.text) || /\p{Cc}/u.test(written.text))) return refused;
  if (written.text.includes("\0")) return { ok: false, allowed: "allowed is text without NUL characters" };
  const fits = rule.pattern === "" || new RegExp(`^(?:${rule.pattern})$`).test(written.text);
  return fits ? { ok: true, value: written.text } : refused;
}

function number(field: DescField, figure: number | undefined, refused: Read): Read {
  if (figure === undefined) return refused;
  switch (field.scalar) {
    case ScalarType.UINT64:
      return figure < 0 ? refused : { ok: true, value: BigInt(figure) };
    case ScalarType.UINT32:
      return figure < 0 || figure > 2 ** 32 - 1 ? refused : { ok: true, value: figure };
    case ScalarType.INT32:
      return Math.abs(figure) > 2 ** 31 - 1 ? refused : { ok: true, value: figure };
    case ScalarType.DOUBLE:
      return { ok: true, value: figure };
    default:
      invariant(false, `config field ${field.toString()} has a type that the loader reads`);
  }
}

type Parse = (text: string) => number | undefined;

function figureWithin({ min, max }: Rule, { text }: Written, parse: Parse): number | undefined {
  const figure = parse(text);
  if (figure === undefined) return undefined;
  const below = min !== "" && figure < (parse(min) ?? Number.NaN);
  const above = max !== "" && figure > (parse(max) ?? Number.NaN);
  return below || above ? undefined : figure;
}

function parseInteger(text: string): number | undefined {
  return /^-?\d{1,15}$/.test(text) ? Number(text) : undefined;
}

function parseDecimal(text: string): number | undefined {
  return /^-?\d{1,15}(\.\d{1,15})?$/.test(text) ? Number(text) : undefined;
}
