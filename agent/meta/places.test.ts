import { expect, test } from "vitest";
import type { CoherenceSpec, SourceSpec } from "../config/sections.ts";
import { applyRule, type RuleLook, type RuleState, unseenRule } from "./coherence.ts";
import { countOf, fieldOf, timeOf } from "./fields.ts";
import { type PlaceSeen, placesOf, ruleLook, sourceLook } from "./places.ts";

const source = (over: Partial<SourceSpec>): SourceSpec => ({
  name: "s",
  external: false,
  staleMs: 30_000,
  deadMs: 120_000,
  file: "/data/a.json",
  url: "",
  field: "",
  rows: false,
  workload: "",
  ...over,
});
const rule = (over: Partial<CoherenceSpec>): CoherenceSpec => ({
  name: "r",
  file: "/data/a.json",
  url: "",
  field: "x",
  oneOf: [],
  monotone: false,
  workload: "",
  ...over,
});
const value = (it: string | number | boolean | null): RuleLook => ({ is: "read", field: { is: "value", value: it } });
const after = (spec: CoherenceSpec, ...looks: readonly RuleLook[]): RuleState =>
  looks.reduce((state, look) => applyRule(spec, state, look, 5000), unseenRule);

test("fields are found by their path, through objects and lists, and never through what a document inherits", () => {
  const document = { engine: { at: "2026-01-01", bars: [{ n: 1 }, { n: 2 }] }, off: null };
  const found = [
    "engine.at",
    "engine.bars",
    "engine.bars.1.n",
    "off",
    "engine",
    "engine.none",
    "engine.at.length",
    "toString",
  ];
  expect(found.map((path) => fieldOf(document, path))).toEqual([
    { is: "value", value: "2026-01-01" },
    { is: "list", items: 2 },
    { is: "value", value: 2 },
    { is: "value", value: null },
    { is: "object" },
    { is: "absent" },
    { is: "absent" },
    { is: "absent" },
  ]);
  expect([fieldOf([1, 2, 3], ""), fieldOf(undefined, "a")]).toEqual([{ is: "list", items: 3 }, { is: "absent" }]);
  expect(fieldOf("x".repeat(500), "")).toEqual({ is: "value", value: "x".repeat(200) });
});

test.each([
  ["2026-01-01T00:00:00Z", Date.UTC(2026, 0, 1)],
  ["2026-01-01T01:00:00+01:00", Date.UTC(2026, 0, 1)],
  [1_767_225_600, 1_767_225_600_000],
  [1_767_225_600.5, 1_767_225_600_500],
  [1_767_225_600_123, 1_767_225_600_123],
  ["1767225600", 1_767_225_600_000],
  ["engine 7", undefined],
  ["", undefined],
  [true, undefined],
  [null, undefined],
  [-5, undefined],
  [Number.NaN, undefined],
])("the time %s is %s", (text, ms) => {
  expect(timeOf({ is: "value", value: text })).toBe(ms);
});

test("a count is a list's length or a number", () => {
  expect(countOf({ is: "list", items: 4 })).toBe(4);
  expect(countOf({ is: "value", value: 7 })).toBe(7);
  expect([countOf({ is: "value", value: "7" }), countOf({ is: "absent" })]).toEqual([undefined, undefined]);
});

test.each([
  [rule({ min: 1, max: 5 }), 1, ""],
  [rule({ min: 1, max: 5 }), 5, ""],
  [rule({ min: 1, max: 5 }), 0.9, "x is 0.9, below 1"],
  [rule({ min: 1, max: 5 }), 6, "x is 6, above 5"],
  [rule({ min: 1 }), "6", 'x is "6", not a number'],
  [rule({ oneOf: ["OPEN", "CLOSED"] }), "OPEN", ""],
  [rule({ oneOf: ["true"] }), true, ""],
  [rule({ oneOf: ["OPEN", "CLOSED"] }), "HALF", 'x is "HALF", which is none of OPEN, CLOSED'],
])("DOL-1 M5 %#: what a value breaks is said", (spec, it, because) => {
  expect(after(spec, value(it))).toMatchObject({ value: because === "" ? 1 : 0, because });
});

test("DOL-1 M5 a monotone field that falls is incoherent until it has caught up", () => {
  const spec = rule({ monotone: true });
  expect(after(spec, value(5), value(5), value(7))).toMatchObject({ value: 1, last: 7 });
  expect(after(spec, value(5), value(7), value(3))).toMatchObject({ value: 0, because: "x fell from 7 to 3" });
  expect(after(spec, value(5), value(7), value(3), value(6))).toMatchObject({ value: 0 });
  expect(after(spec, value(5), value(7), value(3), value(7))).toMatchObject({ value: 1 });
});

test("a field that is missing breaks its rule; one that nobody can read is stale after 30 s and counts half", () => {
  expect(after(rule({}), { is: "read", field: { is: "absent" } })).toMatchObject({ value: 0, because: "x is missing" });
  const unread: RuleLook = { is: "unread", because: "its disk does not answer" };
  expect(after(rule({}), ...Array(6).fill(unread))).toMatchObject({ value: 1 });
  expect(after(rule({}), ...Array(7).fill(unread))).toMatchObject({ value: 0.5, because: "its disk does not answer" });
  expect(after(rule({}), ...Array(7).fill(unread), value(1))).toMatchObject({ value: 1, because: "" });
  expect(after(rule({ max: 1 }), value(2), ...Array(7).fill(unread))).toMatchObject({ value: 0 });
  expect(after(rule({}), ...Array(70).fill({ is: "unasked" }))).toEqual(unseenRule);
});

test("a document that is half written breaks no rule; one that stays broken does", () => {
  const broken: RuleLook = { is: "broken", because: "it is no JSON" };
  expect(after(rule({}), value(1), broken)).toMatchObject({ value: 1 });
  expect(after(rule({}), value(1), broken, value(2), broken)).toMatchObject({ value: 1 });
  expect(after(rule({}), value(1), broken, broken)).toMatchObject({ value: 0, because: "it is no JSON" });
});

test("each file and page is looked at once for all that want something of it", () => {
  const places = placesOf(
    [source({}), source({ field: "at" }), source({ rows: true }), source({ file: "", url: "http://h/", rows: true })],
    [rule({}), rule({ field: "at" }), rule({ file: "/data/b.json" })],
  );
  expect(places).toEqual([
    { file: "/data/a.json", url: "", fields: ["at", "x"], lines: true },
    { file: "", url: "http://h/", fields: [""], lines: false },
    { file: "/data/b.json", url: "", fields: ["x"], lines: false },
  ]);
});

test("a look at a place says of each source and rule what it is about", () => {
  const seen: PlaceSeen = {
    reached: true,
    writtenWallMs: 5,
    lines: 9,
    fields: { at: { is: "value", value: 1_767_225_600 }, bars: { is: "list", items: 3 } },
  };
  expect(sourceLook(source({}), seen)).toEqual({ is: "made", stamp: 5, madeWallMs: 5, by: "file" });
  expect(sourceLook(source({ field: "at" }), seen)).toMatchObject({ stamp: 1_767_225_600_000, by: "field" });
  expect(sourceLook(source({ rows: true }), seen)).toEqual({ is: "counted", rows: 9, madeWallMs: 5 });
  expect(sourceLook(source({ field: "bars", rows: true }), seen)).toMatchObject({ is: "counted", rows: 3 });
  expect(sourceLook(source({ field: "bars" }), seen)).toEqual({ is: "unread", because: "bars is no time" });
  expect(sourceLook(source({ field: "at" }), { ...seen, problem: { is: "broken", because: "it is no JSON" } })).toEqual(
    {
      is: "unread",
      because: "it is no JSON",
    },
  );
  expect(ruleLook(rule({}), seen)).toEqual({ is: "read", field: { is: "absent" } });
  // A page that answers 503 need not have the field; it is not incoherent.
  expect(ruleLook(rule({}), { ...seen, unwell: "HTTP 503" })).toEqual({ is: "unread", because: "HTTP 503" });
  expect(ruleLook(rule({}), { reached: false, because: "", unasked: true })).toEqual({ is: "unasked" });
});
