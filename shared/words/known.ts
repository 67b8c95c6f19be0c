/** What of a program's output may be told: words that are on the list, and nothing else. Pure. */
import { codes, secretive, vocabulary } from "./vocabulary.ts";

const lineCharactersMax = 2000;
/** Of a line this much is kept. */
const wordsMax = 14;
/** No word of the list is as long; the patterns below are spared. */
const tokenMax = 64;
/** Stands for what was left out. */
const left = "…";

/**
 * The last line of a program's output that holds a known word, reduced to such words; empty when there is none. `tail` is the end of the
 * output; with `cut` its first line is not whole and not looked at: nobody knows what stood before.
 */
export function lastKnownWords(tail: string, cut: boolean): string {
  const lines = tail.split(/[\r\n]+/).slice(cut ? 1 : 0);
  for (const line of lines.reverse()) {
    const words = normalised(line);
    if (words.some((word) => word !== left)) return words.join(" ");
  }
  return "";
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

/** `TypeError`, `DiskFailure`: the name of a class of errors. */
export function isErrorClass(word: string): boolean {
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
