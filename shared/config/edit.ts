import { type Document, isAlias, isCollection, isMap, isScalar, type Node, parseDocument } from "yaml";

/**
 * The config with these addresses of a hub, and with `otherwise` (key → value of the hub section) where it does not say a key of it;
 * everything else, comments too, stays as it is. The text was checked before.
 */
export function withHub(
  text: string,
  addresses: readonly string[],
  otherwise: Readonly<Record<string, string>>,
): string {
  const file = parseDocument(text);
  file.setIn(["hub", "addresses"], file.createNode([...addresses]));
  for (const [key, value] of Object.entries(otherwise))
    if (!file.hasIn(["hub", key])) file.setIn(["hub", key], file.createNode(value));
  return file.toString({ lineWidth: 0 });
}

/** One value or section of a config's text. */
export interface Written {
  /** A text as the config's reader has it: what looks like a number is exactly what was written. Undefined for a section or list. */
  readonly text: string | undefined;
  readonly node: Node;
}

/** A config's text in which values are replaced; all the rest stays as it is, to the letter. The text was checked before. */
export class ConfigText {
  readonly #text: string;
  readonly #doc: Document;
  /** By where they begin: what several aliases stand for is met more than once. */
  readonly #edits = new Map<number, { readonly to: number; readonly text: string }>();

  constructor(text: string) {
    this.#text = text;
    this.#doc = parseDocument(text, { uniqueKeys: false });
  }

  /** Everything at `place` below `top`, like `workloads.*.cwd`, where `*` is each of a list and a number one of them; aliases are followed. */
  at(place: string, top?: Written): Written[] {
    return this.#at(top ? top.node : this.#doc.contents, place.split("."));
  }

  replace({ node }: Written, value: string): void {
    const [from, to] = node.range ?? [0, 0];
    this.#edits.set(from, { to, text: quoted(value) });
  }

  /** Adds a key that the section does not have; one without any key is left as it is. */
  add(section: Written, key: string, value: string): void {
    const map = this.#opened(section.node);
    const at = isMap(map) ? (map.items[0]?.key as Node | undefined)?.range?.[0] : undefined;
    if (!isMap(map) || at === undefined) return;
    const indent = " ".repeat(at - (this.#text.lastIndexOf("\n", at - 1) + 1));
    this.#edits.set(at, { to: at, text: `${key}: ${quoted(value)}${map.flow ? ", " : `\n${indent}`}` });
  }

  toString(): string {
    const fromTheEnd = [...this.#edits].sort(([a], [b]) => b - a);
    return fromTheEnd.reduce((text, [from, edit]) => text.slice(0, from) + edit.text + text.slice(edit.to), this.#text);
  }

  #at(top: Node | null | undefined, place: readonly string[]): Written[] {
    const [key, ...rest] = place;
    if (key === undefined) return top ? [{ node: top, text: this.#textOf(top) }] : [];
    const node = this.#opened(top);
    if (!isCollection(node)) return [];
    if (key === "*") return isMap(node) ? [] : node.items.flatMap((item) => this.#at(item as Node | null, rest));
    return this.#at(node.get(isMap(node) ? key : Number(key), true) as Node | null | undefined, rest);
  }

  #opened(node: Node | null | undefined): Node | null | undefined {
    return isAlias(node) ? node.resolve(this.#doc) : node;
  }

  #textOf(node: Node): string | undefined {
    const found = this.#opened(node);
    if (!isScalar(found)) return undefined;
    return typeof found.value === "string" ? found.value : (found.source ?? String(found.value));
  }
}

function quoted(value: string): string {
  return /^[\w./+-]+$/.test(value) ? value : JSON.stringify(value);
}
