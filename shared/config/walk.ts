import { create, type DescField, type DescMessage, type Message } from "@bufbuild/protobuf";
import { type Document, isAlias, isMap, isScalar, isSeq, type LineCounter, type Node, type Scalar } from "yaml";
import { nearest, type Place, type Problem, shownMax } from "./problems.ts";
import { isPem, keyPath, quoted } from "./quote.ts";
import { allowedOf, isSection, readValue, ruleOf, type Written } from "./value.ts";

/** Aliases can multiply a small file into a huge one: both are bounded. */
const aliasesMax = 256;
const visitsMax = 200_000;
const itemsMaxDefault = 1000;

/** What a section says: its keys with their values. `undefined` as value means that nothing stands after the key. */
type Keys = ReadonlyMap<string, Node | undefined>;

/**
 * Reads one YAML document against a schema. Whatever is wrong becomes a problem and leaves its field at the default, so
 * that one run finds everything. Throws only when the document cannot be followed ({@link Abandoned}).
 */
export class Walk {
  readonly problems: Problem[] = [];
  /** Where each value that was written stands, by its path. */
  readonly places = new Map<string, Place>();
  readonly #doc: Document;
  readonly #lines: LineCounter;
  #aliases = 0;
  #visits = 0;

  constructor(doc: Document, lines: LineCounter) {
    this.#doc = doc;
    this.#lines = lines;
  }

  /** Reads the whole document. */
  root(schema: DescMessage): Message {
    this.places.set("", { line: 1, col: 1 });
    const node = this.#open(this.#doc.contents, "");
    return this.#section(schema, node, "");
  }

  #problem(path: string, place: Place, saw: string, allowed: string, meant?: string): void {
    this.problems.push({ ...place, path, saw, allowed, ...(meant === undefined ? {} : { meant }) });
  }

  #placeOf(node: Node | null | undefined, otherwise: Place): Place {
    return node?.range ? this.#lines.linePos(node.range[0]) : otherwise;
  }

  /** Follows an alias; undefined for nothing at all. Notes where the value stands. */
  #open(node: Node | null | undefined, path: string): Node | undefined {
    if (++this.#visits > visitsMax) {
      throw new Abandoned(this.#at(path), `more than ${visitsMax} values, aliases included`, "allowed is less");
    }
    let opened: Node | null | undefined = node;
    if (isAlias(opened)) {
      const place = this.#placeOf(opened, this.#at(path));
      this.places.set(path, place);
      if (++this.#aliases > aliasesMax)
        throw new Abandoned(place, `more than ${aliasesMax} aliases`, "allowed is less");
      opened = opened.resolve(this.#doc);
      if (!opened) throw new Abandoned(place, "an alias without an anchor before it", "allowed is a plain value");
      return opened;
    }
    if (opened?.range) this.places.set(path, this.#lines.linePos(opened.range[0]));
    if (!opened || (isScalar(opened) && opened.value === null)) return undefined;
    return opened;
  }

  #at(path: string): Place {
    return this.places.get(path) ?? { line: 1, col: 1 };
  }

  #section(schema: DescMessage, node: Node | undefined, path: string): Message {
    const keys = this.#keys(schema, node, path);
    const message = create(schema);
    const values = message as unknown as Record<string, unknown>;
    const chosen = new Map<string, string>();
    for (const field of schema.fields) {
      const key = keyPath(path, field.name);
      if (!field.oneof) {
        const value = this.#field(field, keys, path, key);
        if (value !== undefined) values[field.localName] = value;
      } else if (keys.has(field.name)) {
        const first = chosen.get(field.oneof.name);
        if (first !== undefined) {
          this.#problem(key, this.#at(key), `there is ${first} already`, `allowed is one of ${oneOf(field)}`);
          continue;
        }
        chosen.set(field.oneof.name, field.name);
        values[field.oneof.localName] = { case: field.localName, value: this.#field(field, keys, path, key) };
      }
    }
    return message;
  }

  /** The keys of a section; unknown and doubled ones become problems. */
  #keys(schema: DescMessage, node: Node | undefined, path: string): Keys {
    const known = schema.fields.map(({ name }) => name);
    const keys = this.#pairs(node, path, `allowed are the keys ${known.join(", ")}`);
    const allowed = `allowed are ${known.join(", ")}`;
    const unknown = [...keys.keys()].filter((key) => !known.includes(key));
    for (const [n, key] of unknown.entries()) {
      // They stand in the order of the file: of these, no more are ever shown.
      const meant = n < shownMax ? nearest(key, known) : undefined;
      this.#problem(keyPath(path, key), this.#at(`${keyPath(path, key)}#`), "unknown key", allowed, meant);
    }
    return keys;
  }

  #pairs(node: Node | undefined, path: string, allowed: string): Keys {
    const keys = new Map<string, Node | undefined>();
    if (!node) return keys;
    if (!isMap(node)) {
      this.#problem(path, this.#at(path), describe(node), allowed);
      return keys;
    }
    for (const pair of node.items) {
      const keyNode = pair.key as Node;
      const place = this.#placeOf(keyNode, this.#at(path));
      if (!isScalar(keyNode) || keyNode.value === null) {
        this.#problem(path, place, `${describe(keyNode)} as a key`, allowed);
        continue;
      }
      const key = writtenOf(keyNode).text;
      const at = keyPath(path, key);
      if (keys.has(key)) {
        const first = this.#at(`${at}#`);
        this.#problem(at, place, `the key stands in line ${first.line} already`, "allowed is one of each");
        continue;
      }
      this.places.set(`${at}#`, place);
      this.places.set(at, place);
      keys.set(key, this.#open(pair.value as Node | null, at));
    }
    return keys;
  }

  /** The value of one field; its default when it is absent or wrong. */
  #field(field: DescField, keys: Keys, parent: string, path: string): unknown {
    const rule = ruleOf(field);
    const node = keys.get(field.name);
    const given = keys.has(field.name);
    if (!given && rule.required) this.#missing(path, parent, allowedOf(field));
    if (field.fieldKind === "list") return this.#list(field, node, given ? path : parent, path);
    if (field.fieldKind === "map") return this.#map(field, node, path);
    if (isSection(field) && field.message) {
      if (!given && (rule.optional || field.oneof)) return undefined;
      // Its problems point to the key when it was written without content, and to the section around it when it was not.
      if (!given) this.places.set(path, this.#at(parent));
      return this.#section(field.message, node, path);
    }
    const value = given ? this.#value(field, node, path) : undefined;
    if (value === "" && rule.required) this.#missing(path, path, allowedOf(field));
    return value ?? this.#default(field);
  }

  #missing(path: string, at: string, allowed: string): void {
    this.#problem(path, this.#at(at), "missing", allowed);
  }

  #default(field: DescField): unknown {
    const { default: text } = ruleOf(field);
    if (text === "") return undefined;
    const read = readValue(field, { text, as: "written" });
    return read.ok ? read.value : undefined;
  }

  #value(field: DescField, node: Node | undefined, path: string): unknown {
    if (!isScalar(node)) {
      this.#problem(path, this.#at(path), node ? describe(node) : "nothing stands after the key", allowedOf(field));
      return undefined;
    }
    const written = writtenOf(node);
    const read = readValue(field, written);
    if (read.ok) return read.value;
    // What stands in a map may be a secret, such as an environment variable.
    const saw = (field.fieldKind === "map" ? undefined : quoted(written.text)) ?? describe(node);
    this.#problem(path, this.#at(path), saw, read.allowed, nearest(written.text, read.words ?? []));
    return undefined;
  }

  #list(field: DescField & { fieldKind: "list" }, node: Node | undefined, at: string, path: string): unknown[] {
    const rule = ruleOf(field);
    const max = rule.maxItems || itemsMaxDefault;
    const size = rule.minItems > 0 ? `a list of ${rule.minItems} to ${max} items` : `a list of at most ${max} items`;
    const items = isSeq(node) ? node.items : [];
    if (node && !isSeq(node)) this.#problem(path, this.#at(path), describe(node), `allowed is ${size}`);
    else if (items.length < rule.minItems)
      this.#problem(path, this.#at(at), node ? "too short" : "missing", `allowed is ${size}`);
    if (items.length > max) this.#problem(path, this.#at(path), `${items.length} items`, `allowed is ${size}`);
    const values: unknown[] = [];
    const seen = new Map<unknown, Place>();
    for (const [index, item] of items.slice(0, max).entries()) {
      const itemPath = `${path}[${index}]`;
      this.places.set(itemPath, this.#at(path));
      const opened = this.#open(item as Node | null, itemPath);
      const value =
        field.message && isSection(field)
          ? this.#section(field.message, opened, itemPath)
          : this.#value(field, opened, itemPath);
      if (value === undefined) continue;
      values.push(value);
      if (rule.unique) this.#unique(rule.unique, value, itemPath, seen);
    }
    return values;
  }

  #unique(by: string, item: unknown, path: string, seen: Map<unknown, Place>): void {
    const name = (item as Record<string, unknown>)[by];
    const place = this.#at(`${path}.${by}`);
    const first = seen.get(name);
    if (name === "" || name === undefined) return;
    if (!first) seen.set(name, place);
    else
      this.#problem(
        `${path}.${by}`,
        place,
        `"${name}" stands in line ${first.line} already`,
        `allowed is each ${by} once`,
      );
  }

  #map(field: DescField & { fieldKind: "map" }, node: Node | undefined, path: string): Record<string, unknown> {
    const max = ruleOf(field).maxItems || itemsMaxDefault;
    const keys = this.#pairs(node, path, "allowed are keys with a value each");
    if (keys.size > max) this.#problem(path, this.#at(path), `${keys.size} keys`, `allowed are at most ${max}`);
    const values: [string, unknown][] = [];
    for (const [key, item] of [...keys].slice(0, max)) {
      const at = keyPath(path, key);
      if (item === undefined && key.includes("=")) {
        this.#problem(at, this.#at(at), "a key and its value in one word", "allowed is KEY: VALUE");
        continue;
      }
      const value = this.#value(field, item, at);
      if (value !== undefined) values.push([key, value]);
    }
    // Not by assignment: a key may be called __proto__.
    return Object.fromEntries(values);
  }
}

/** The document cannot be followed further: it multiplies itself beyond the bounds, or an alias leads nowhere. */
export class Abandoned extends Error {
  readonly problem: Problem;

  constructor(place: Place, saw: string, allowed: string) {
    super(saw);
    this.problem = { ...place, path: "", saw, allowed };
  }
}

function oneOf(field: DescField): string {
  return field.oneof?.fields.map(({ name }) => name).join(", ") ?? "";
}

function writtenOf({ value, source }: Scalar): Written {
  if (typeof value === "string") return { text: value, as: "text" };
  return { text: source ?? String(value), as: typeof value === "boolean" ? "switch" : "number" };
}

function describe(node: Node): string {
  if (isMap(node)) return "a section with keys";
  if (isSeq(node)) return "a list";
  if (!isScalar(node)) return "an alias";
  if (node.value === null) return "nothing";
  const { as, text } = writtenOf(node);
  if (as === "text" && isPem(text)) return "a key or certificate itself";
  if (as === "text") return text.trim().includes("\n") ? "text of several lines" : "text";
  return as === "switch" ? "true or false" : "a number";
}
