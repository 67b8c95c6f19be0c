import { createHash } from "node:crypto";
import { alarming, codes, secretive, vocabulary } from "./vocabulary.ts";

/** What is known of a failure. */
export interface FailureFacts {
  /** The agent's own words for what it saw. */
  readonly symptom: string;
  readonly trigger?: string;
  readonly code?: number | null;
  readonly signal?: string | null;
  /** The last lines of its output, oldest first, as they are. The last 40 are looked at, 2000 characters of each. */
  readonly lines?: readonly string[];
}

/** By what one knows a failure again. Holds no secret, whatever the program printed. */
export interface Signature {
  /** Twelve hexadecimal digits; equal failures have equal ones. */
  readonly id: string;
  /** For people: at most 240 characters. */
  readonly text: string;
}

const linesMax = 40;
const lineCharactersMax = 2000;
/** Of a line this much is kept, of the lines this many: the last word before a death is mostly the cause. */
const wordsMax = 14;
const linesKept = 2;
/** No word of the list is as long; the patterns below are spared. */
const tokenMax = 64;
const textMax = 240;
/** Stands for what was left out. */
const left = "…";

/**
 * The signature of a failure: symptom, trigger, exit code or signal, and the last two different lines that speak of a failure,
 * reduced to the words of `vocabulary.ts`. What varies from one time to the next is left out by it, and so is every secret:
 * nothing passes that is not on the list, and nothing at all after words like "password" on the same line.
 */
export function signatureOf(failure: FailureFacts): Signature {
  const { symptom, trigger, code, signal } = failure;
  const end = signal ? ownWord(signal) : typeof code === "number" ? `exit ${Math.trunc(code)}` : "";
  const heads = [ownWord(symptom), trigger === undefined ? "" : ownWord(trigger), end].filter((word) => word !== "");
  const said = lastWords(failure.lines ?? []);
  const text = [heads.join(", "), ...said].join(": ").slice(0, textMax);
  return { id: createHash("sha256").update(text).digest("hex").slice(0, 12), text };
}

/** The last two different lines that speak of a failure, oldest first. */
function lastWords(lines: readonly string[]): string[] {
  const kept: string[] = [];
  for (const line of lines.slice(-linesMax).reverse()) {
    const words = normalised(line);
    const speaks = words.some((word) => alarming.has(word) || codes.has(word) || isErrorClass(word));
    const text = words.join(" ");
    if (speaks && !kept.includes(text)) kept.push(text);
    if (kept.length === linesKept) break;
  }
  return kept.reverse();
}

/** The words of a line that may be kept; each gap between them is one {@link left}. A line of a stack trace has none. */
export function normalised(line: string): readonly string[] {
  const plain = withoutQuotes(withoutColours(line.slice(0, lineCharactersMax)));
  const tokens = plain.split(/\s+/).filter((token) => token !== "");
  if (tokens[0] === "at") return [];
  const words: string[] = [];
  for (const token of tokens) {
    // What follows may be written in any words: nothing more is taken from this line.
    const secret = secretive.test(token);
    const word = secret ? left : wordOf(token);
    if (word !== left || words.at(-1) !== left) words.push(word);
    if (secret || words.length >= wordsMax) break;
  }
  return words;
}

/** The token as a known word, or {@link left}. */
function wordOf(token: string): string {
  if (token.length > tokenMax) return left;
  const core = token.replace(/^[^A-Za-z0-9]+|[^A-Za-z0-9]+$/g, "").replace(/'/g, "");
  if (codes.has(core)) return core;
  if (isKnown(core)) return core.toLowerCase();
  if (core.includes("-") && core.split("-").every(isKnown)) return core.toLowerCase(); // out-of-memory
  const last = core.slice(core.lastIndexOf(".") + 1); // java.lang.OutOfMemoryError
  return isErrorClass(last) ? errorClass(last) : left;
}

function isKnown(word: string): boolean {
  return /^[A-Za-z]+$/.test(word) && vocabulary.has(word.toLowerCase());
}

function isErrorClass(word: string): boolean {
  return /^([A-Z][a-z]+)*(Error|Exception|Failure|Fault|Timeout)$/.test(word);
}

/** The name of a class of errors, without the parts of it that are not known: MyBankError is …Error. */
function errorClass(name: string): string {
  const parts = name.match(/[A-Z][a-z]+/g) ?? [];
  const unknown = parts.findLastIndex((part) => !isKnown(part));
  return unknown < 0 ? name : `${left}${parts.slice(unknown + 1).join("")}`;
}

/** Leaves out what stands in quotes; a quote that is not closed goes on to the end of the line. An apostrophe is none. */
function withoutQuotes(line: string): string {
  let kept = "";
  let at = 0;
  while (at < line.length) {
    const mark = line.charAt(at);
    const opens = (mark === '"' || mark === "'" || mark === "`") && !/[A-Za-z0-9]/.test(line.charAt(at - 1));
    if (!opens) {
      kept += mark;
      at += 1;
      continue;
    }
    const end = line.indexOf(mark, at + 1);
    kept += `${left} `;
    at = end < 0 ? line.length : end + 1;
  }
  return kept;
}

const colour = new RegExp(`${String.fromCharCode(27)}\\[[0-9;]{0,20}[A-Za-z]`, "g");

function withoutColours(line: string): string {
  return line.replace(colour, "");
}

/** The agent's own words come from its code and config: kept, but in a form that holds nothing else. */
function ownWord(word: string): string {
  return word.replace(/[^A-Za-z0-9_.-]/g, "").slice(0, 40);
}
