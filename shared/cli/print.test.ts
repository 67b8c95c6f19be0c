import { beforeAll, expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { loadYaml, type OutputOptions, printOne, printRows, rowStream } from "./print.ts";
import type { Column } from "./table.ts";

interface Row {
  id: string;
  beats: number;
  because: string;
}
/** Of the longest id below. */
const WIDTH = "pune-edge-0000000000000000000000000000000001".length;
const columns: Column<Row>[] = [
  { title: "NODE", value: (row) => row.id },
  { title: "BEATS", value: (row) => String(row.beats), right: true },
  { title: "BECAUSE", value: (row) => row.because },
];
const rows: Row[] = [
  { id: "pune-edge-0000000000000000000000000000000001", beats: 7, because: "beats arrive" },
  { id: "b", beats: 1200, because: "silent for 61 seconds, which is longer than the limit of 60 seconds" },
];

beforeAll(loadYaml);

function print(options: Partial<OutputOptions> & { width?: number; rows?: Row[] }): string {
  let text = "";
  const out = {
    write: (more: string) => (text += more),
    ...(options.width === undefined ? {} : { isTTY: true, columns: options.width }),
  };
  const output = options.output === undefined ? {} : { output: options.output };
  printRows(options.rows ?? rows, columns, { headers: options.headers ?? true, json: (row) => row, out, ...output });
  return text;
}

test("a table has no boxes, no trailing blanks and numbers that stand right", () => {
  expect(print({})).toBe(
    [
      `${"NODE".padEnd(WIDTH)}  BEATS  BECAUSE`,
      `${"pune-edge-0000000000000000000000000000000001".padEnd(WIDTH)}      7  beats arrive`,
      `${"b".padEnd(WIDTH)}   1200  silent for 61 seconds, which is longer than the limit of 60 seconds`,
      "",
    ].join("\n"),
  );
  expect(print({ headers: false })).not.toContain("NODE");
});

test("a terminal that is too narrow loses neither a column nor a part of an id", () => {
  const wraps = print({ width: 90 });
  expect(wraps).toContain(`\n${" ".repeat(WIDTH + 9)}longer than the limit of 60 seconds`);
  expect(Math.max(...wraps.split("\n").map((line) => line.length))).toBeLessThanOrEqual(90);
  // A value that is too long goes on below itself.
  const blocks = print({ width: 60 }).replace(/\s+/g, " ");
  for (const part of ["NODE", "BEATS", "BECAUSE", rows[0]?.id, rows[1]?.because]) expect(blocks).toContain(part);
});

test("json, jsonl and yaml carry every row; no rows are an empty array and not nothing", () => {
  expect(JSON.parse(print({ output: "json" }))).toEqual(rows);
  expect(
    print({ output: "jsonl" })
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line)),
  ).toEqual(rows);
  expect(parse(print({ output: "yaml" }))).toEqual(rows);
  expect([print({ output: "json", rows: [] }), print({ output: "jsonl", rows: [] })]).toEqual(["[]\n", ""]);
});

test("yaml keeps strings that look like something else", () => {
  const tricky = [{ id: "no", beats: 1, because: "0123: # not a comment\nsecond line" }];
  expect(parse(print({ output: "yaml", rows: tricky }))).toEqual(tricky);
});

test("one thing is a block of lines, or the one object", () => {
  let text = "";
  const out = { write: (more: string) => (text += more) };
  const [row] = rows;
  if (row === undefined) throw new Error("no row");
  printOne(row, columns, { headers: true, json: (one) => one, out }, ["", "TIMELINE"]);
  expect(text).toBe(`NODE     ${row.id}\nBEATS    7\nBECAUSE  beats arrive\n\nTIMELINE\n`);
  text = "";
  printOne(row, columns, { headers: true, json: (one) => one, out, output: "json" });
  expect(JSON.parse(text)).toEqual(row);
});

test("one thing stays within a terminal: a value that is too long goes on below itself", () => {
  let text = "";
  const out = { write: (more: string) => (text += more), isTTY: true, columns: 30 };
  const [row] = rows;
  if (row === undefined) throw new Error("no row");
  const because = "no beat came for thirty seconds";
  printOne({ ...row, because }, columns, { headers: true, json: (one) => one, out });
  expect(text).toBe(`NODE     ${row.id}\nBEATS    7\nBECAUSE  no beat came for\n         thirty seconds\n`);
});

test("a watch prints its titles once on a terminal, and JSON lines into a pipe", () => {
  let text = "";
  const write = (more: string) => (text += more);
  const screen = rowStream(columns, { headers: true, json: (row) => row, out: { write, isTTY: true, columns: 200 } });
  screen(rows);
  screen(rows);
  expect(text.match(/BECAUSE/g)).toHaveLength(1);
  text = "";
  rowStream(columns, { headers: true, json: (row) => row, out: { write } })(rows);
  expect(text.trimEnd().split("\n")).toHaveLength(2);
  text = "";
  rowStream(columns, { headers: true, json: (row) => row, output: "yaml", out: { write } })(rows);
  expect(parseAllDocuments(text).map((document) => document.toJS())).toEqual(rows);
});
