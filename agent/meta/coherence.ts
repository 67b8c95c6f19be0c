import type { CoherenceSpec } from "../config/sections.ts";
import type { Field } from "./fields.ts";

/** What one look at a rule's field has found. */
export type RuleLook =
  | { readonly is: "read"; readonly field: Field }
  /** The document is there and is no JSON: half written, or broken. */
  | { readonly is: "broken"; readonly because: string }
  | { readonly is: "unread"; readonly because: string }
  /** The agent itself could not look: it says nothing. */
  | { readonly is: "unasked" };

/** How a rule stands. JSON-able. */
export interface RuleState {
  /** 1 holds, 0.5 nobody could look for a while, 0 broken. */
  readonly value: number;
  /** A clause; empty while it holds. */
  readonly because: string;
  /** The last number of a monotone field. */
  readonly last?: number;
  /** Looks in a row that found no JSON. */
  readonly brokenLooks: number;
  /** How long nobody could look. */
  readonly unreadMs: number;
}

/** Nothing was seen yet; a rule holds until it is seen broken. */
export const unseenRule: RuleState = { value: 1, because: "", brokenLooks: 0, unreadMs: 0 };

/** A document that is no JSON once is being written; twice in a row it is broken. */
const brokenFrom = 2;
/** A sensor that nobody could read for this long is stale and counts half (DOL-1: 30 s). */
const staleMs = 30_000;

/** The rule after one more look, `awakeMs` after the look before. */
export function applyRule(rule: CoherenceSpec, before: RuleState, look: RuleLook, awakeMs: number): RuleState {
  if (look.is === "unasked") return before;
  if (look.is === "unread") {
    const unreadMs = before.unreadMs + awakeMs;
    if (unreadMs <= staleMs) return { ...before, unreadMs };
    return { ...before, unreadMs, value: Math.min(before.value, 0.5), because: before.because || look.because };
  }
  if (look.is === "broken") {
    const brokenLooks = before.brokenLooks + 1;
    if (brokenLooks < brokenFrom) return { ...before, brokenLooks, unreadMs: 0 };
    return { ...before, brokenLooks, unreadMs: 0, value: 0, because: look.because };
  }
  const because = broken(rule, look.field, before.last);
  const number = look.field.is === "value" && typeof look.field.value === "number" ? look.field.value : undefined;
  // The peak is kept while it is undercut: a counter that fell back is incoherent until it has caught up.
  // What breaks the rule by itself is no peak: one odd value would make all right ones after it wrong.
  const isPeak = number !== undefined && Number.isFinite(number) && broken(rule, look.field, undefined) === "";
  const last = rule.monotone && isPeak ? Math.max(number, before.last ?? number) : before.last;
  const rest = { brokenLooks: 0, unreadMs: 0, ...(last !== undefined && { last }) };
  return { value: because === "" ? 1 : 0, because, ...rest };
}

/** What is wrong with the field; empty when the rule holds. */
function broken(rule: CoherenceSpec, field: Field, last: number | undefined): string {
  const { min, max, oneOf, monotone } = rule;
  if (field.is === "absent") return `${rule.field} is missing`;
  if (field.is !== "value") return `${rule.field} is ${field.is === "list" ? "a list" : "an object"}, not a value`;
  const { value } = field;
  const numeric = min !== undefined || max !== undefined || monotone;
  if (numeric && typeof value !== "number") return `${rule.field} is ${JSON.stringify(value)}, not a number`;
  if (typeof value === "number") {
    if (min !== undefined && value < min) return `${rule.field} is ${value}, below ${min}`;
    if (max !== undefined && value > max) return `${rule.field} is ${value}, above ${max}`;
    if (monotone && last !== undefined && value < last) return `${rule.field} fell from ${last} to ${value}`;
  }
  if (oneOf.length > 0 && !oneOf.includes(String(value))) {
    return `${rule.field} is ${JSON.stringify(value)}, which is none of ${oneOf.join(", ").slice(0, 100)}`;
  }
  return "";
}
