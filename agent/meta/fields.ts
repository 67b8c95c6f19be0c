/** What is known of one field of a JSON document; a list is known by its length only, so that nothing large is kept. */
export type Field =
  | { readonly is: "absent" }
  | { readonly is: "value"; readonly value: string | number | boolean | null }
  | { readonly is: "list"; readonly items: number }
  | { readonly is: "object" };

/** Longer texts are cut: a time or a word of an enumeration is far shorter. */
const textMax = 200;
/** Numbers from here on are milliseconds since 1970: as seconds they would lie in the year 5138. */
const millisFrom = 1e11;

/**
 * The field at a path like `engine.updated_at` or `bars.0.time`: names of objects and positions in lists, parted by dots. An
 * empty path means the whole document.
 */
export function fieldOf(document: unknown, path: string): Field {
  let at = document;
  for (const key of path === "" ? [] : path.split(".")) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, key)) return { is: "absent" };
    at = (at as Readonly<Record<string, unknown>>)[key];
  }
  if (Array.isArray(at)) return { is: "list", items: at.length };
  if (typeof at === "string") return { is: "value", value: at.slice(0, textMax) };
  if (typeof at === "number" || typeof at === "boolean" || at === null) return { is: "value", value: at };
  return at === undefined ? { is: "absent" } : { is: "object" };
}

/** Milliseconds since 1970 of an ISO time, or of a number of seconds or milliseconds, also as text; undefined for anything else. */
export function timeOf(field: Field): number | undefined {
  if (field.is !== "value") return undefined;
  const { value } = field;
  const number = typeof value === "string" && /^\d{1,16}(\.\d{1,9})?$/.test(value) ? Number(value) : value;
  if (typeof number === "number") {
    if (!Number.isFinite(number) || number <= 0) return undefined;
    return number >= millisFrom ? number : number * 1000;
  }
  if (typeof value !== "string") return undefined;
  // Only what begins like an ISO date: Date.parse takes "engine 7" for a day in July.
  const ms = /^\d{4}-\d\d-\d\d/.test(value) ? Date.parse(value) : Number.NaN;
  return Number.isNaN(ms) ? undefined : ms;
}

/** How many items a field stands for: a list's length, or a number itself; undefined for anything else. */
export function countOf(field: Field): number | undefined {
  if (field.is === "list") return field.items;
  return field.is === "value" && typeof field.value === "number" && Number.isFinite(field.value)
    ? field.value
    : undefined;
}
