/**
 * Canaries: secrets that nobody can write by chance, and the search for them in anything. What is searched for is a canary's words,
 * so that one that was cut, or that a compression has broken up, is found by what is left of it; each in every form that a program
 * gives to text without meaning to hide it.
 */
import type { Random } from "@blueflame/shared/random/random.ts";

/** What a canary was planted as. */
export type Kind =
  | "key name"
  | "value"
  | "log name"
  | "log entry"
  | "trade id"
  | "trade data"
  | "session name"
  | "lock reason"
  | "session's end"
  | "request id"
  | "environment"
  | "safe mode"
  | "probe"
  | "config file"
  | "data file"
  | "output"
  | "answer"
  | "argument"
  | "token"
  | "wrong token"
  | "refused name"
  | "key file"
  | "data key"
  | "escrow key";

export interface Canary {
  readonly kind: Kind;
  /** As it is planted. */
  readonly bytes: Uint8Array;
  /** Random parts of it, of at least eleven bytes: any of them gives it away. */
  readonly words: readonly Uint8Array[];
}

/** A table of LevelDB leaves out of a key what it shares with the key before: a word is searched for without its first bytes. */
const sharedBytes = 3;
/** A word that is shorter would be found by chance: the other eight of 62 letters are found so once in 10^14 places. */
const leastBytes = sharedBytes + 8;
/** Of a long canary: the first, the last and those between are searched for in pieces of this size. */
const pieceBytes = 24;
const piecesMax = 5;
const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/** What JSON, URLs, shells and logs each write in another way. */
const odd = `${letters}"\\/%&+ <>'\t\n{}äß€`;

/** Random text; a seed repeats it. */
export function word(chance: Random, length: number, alphabet = letters): string {
  const all = [...alphabet];
  return Array.from({ length }, () => all[Math.floor(chance() * all.length)]).join("");
}

/** A canary that is one random name: what an API takes as a name. */
export function named(kind: Kind, chance: Random, length: number): Canary {
  return canaryOf(kind, Buffer.from(word(chance, length)));
}

/** A canary that is all random bytes, or text that was made elsewhere. */
export function canaryOf(kind: Kind, bytes: Uint8Array): Canary {
  return { kind, bytes, words: piecesOf(bytes) };
}

/** A canary of one of the shapes that programs keep, from eleven bytes to `longest`. */
export function shaped(kind: Kind, chance: Random, shape: number, longest = 60_000): Canary {
  const [one, other, strange] = [word(chance, 16), word(chance, 24), word(chance, 3) + word(chance, 14, odd)];
  const texts: (() => Canary)[] = [
    () => named(kind, chance, leastBytes),
    () => of(kind, `/srv/${one}/${other}.db`, one, other),
    () => of(kind, JSON.stringify({ user: one, password: other, limits: [1, 2, 3] }), one, other),
    () => of(kind, `-----BEGIN KEY-----\n${one}\n${other}\n-----END KEY-----\n`, one, other),
    () => of(kind, strange, strange),
    () => of(kind, `postgres://risk:${one}@127.0.0.1/book?sslpassword=${other}`, one, other),
    () => canaryOf(kind, Buffer.from(Array.from({ length: 48 }, () => Math.floor(chance() * 256)))),
    () => named(kind, chance, 300 + Math.floor(chance() * (longest - 300))),
  ];
  return (texts[shape % texts.length] as () => Canary)();
}

/** How many shapes there are; the last two are no text that a config or an environment can hold. */
export const shapes = { all: 8, text: 6 } as const;

/** `text` with these random words in it. */
export function of(kind: Kind, text: string, ...words: readonly string[]): Canary {
  return { kind, bytes: Buffer.from(text), words: words.map((one) => Buffer.from(one)) };
}

function piecesOf(bytes: Uint8Array): Uint8Array[] {
  if (bytes.length < leastBytes) throw new Error(`a canary of ${bytes.length} bytes would be found by chance`);
  const pieces = Math.min(piecesMax, Math.ceil(bytes.length / pieceBytes));
  const step = pieces === 1 ? 0 : (bytes.length - pieceBytes) / (pieces - 1);
  return Array.from({ length: pieces }, (_, at) => bytes.subarray(at * step, at * step + pieceBytes));
}

/** Every form of what is searched for, as bytes. */
function formsOf(bytes: Uint8Array): Buffer[] {
  const raw = Buffer.from(bytes);
  const text = raw.toString("utf8");
  const base64 = [0, 1, 2].map((before) => base64Of(raw, before));
  const escaped = JSON.stringify(text).slice(1, -1);
  const texts = [
    raw.toString("hex"),
    raw.toString("hex").toUpperCase(),
    ...base64,
    ...base64.map((one) => one.replaceAll("+", "-").replaceAll("/", "_")),
    escaped,
    JSON.stringify(escaped).slice(1, -1),
    encodeURIComponent(text.toWellFormed()),
    new URLSearchParams({ k: text }).toString().slice("k=".length),
  ];
  const all = [raw, Buffer.from(text, "utf16le"), ...texts.map((one) => Buffer.from(one))];
  return [...new Map(all.map((one) => [one.toString("latin1"), one])).values()];
}

/** The letters that are sure, whatever stands beside it, when `before` bytes of a group of three do. */
function base64Of(bytes: Buffer, before: number): string {
  const whole = Buffer.concat([Buffer.alloc(before), bytes]);
  return whole.toString("base64").slice(Math.ceil((before * 8) / 6), Math.floor((whole.length * 8) / 6));
}

interface Needle {
  readonly form: Buffer;
  readonly canary: Canary;
}

/** Finds canaries in bytes; one pass, however many there are. */
export class Search {
  /** By the first four bytes. */
  readonly #needles = new Map<number, Needle[]>();
  /** Which two bytes any of them begins with: the quick no. */
  readonly #begins = new Uint8Array(65_536);
  readonly #known = new Set<string>();

  add(canary: Canary): void {
    for (const form of canary.words.flatMap((one) => formsOf(one.subarray(sharedBytes)))) {
      const id = `${canary.kind} ${form.toString("latin1")}`;
      if (this.#known.has(id)) continue;
      this.#known.add(id);
      const head = form.readUInt32LE(0);
      this.#needles.set(head, [...(this.#needles.get(head) ?? []), { form, canary }]);
      this.#begins[form.readUInt16LE(0)] = 1;
    }
  }

  /** Every canary that stands in it. */
  in(bytes: Buffer): Set<Canary> {
    const found = new Set<Canary>();
    for (let at = 0; at + 4 <= bytes.length; at++) {
      if (this.#begins[(bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8)] === 0) continue;
      for (const { form, canary } of this.#needles.get(bytes.readUInt32LE(at)) ?? []) {
        if (bytes.compare(form, 0, form.length, at, Math.min(at + form.length, bytes.length)) === 0) found.add(canary);
      }
    }
    return found;
  }
}
