import { createHash } from "node:crypto";
import { isErrorClass, normalised } from "@blueflame/shared/words/known.ts";
import { alarming, codes } from "@blueflame/shared/words/vocabulary.ts";

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
/** Of the lines this many are kept: the last word before a death is mostly the cause. */
const linesKept = 2;
const textMax = 240;

/**
 * The signature of a failure: symptom, trigger, exit code or signal, and the last two different lines that speak of a failure,
 * reduced to known words (shared/words). What varies from one time to the next is left out by it, and so is every secret:
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

/** The agent's own words come from its code and config: kept, but in a form that holds nothing else. */
function ownWord(word: string): string {
  return word.replace(/[^A-Za-z0-9_.-]/g, "").slice(0, 40);
}
