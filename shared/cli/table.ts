import { clean, displayWidth, paint, type Tone } from "./text.ts";

/** One column of a table. `value` is cleaned and measured here; it may be any text, also from a node. */
export interface Column<Row> {
  /** In capitals, like `LAST BEAT`. */
  readonly title: string;
  value(row: Row): string;
  /** Numbers and ages stand right. */
  readonly right?: boolean;
  tone?(row: Row): Tone | undefined;
}

const GAP = "  ";

/** What a table looks like when it is printed in parts: widths only grow, so that later rows line up where they can. */
export interface TableLayout {
  readonly widths: readonly number[];
}

/** Widths for `rows` below their titles, at least those of `earlier`. */
export function layOut<Row>(rows: readonly Row[], columns: readonly Column<Row>[], earlier?: TableLayout): TableLayout {
  return {
    widths: columns.map((column, at) =>
      rows.reduce(
        (most, row) => Math.max(most, displayWidth(clean(column.value(row)))),
        Math.max(displayWidth(column.title), earlier?.widths[at] ?? 0),
      ),
    ),
  };
}

/**
 * Lines without boxes and without trailing blanks. Nothing is ever left out: with `width` (of a terminal) a last column
 * that is too long goes on below itself, and a table that is too wide even so becomes one block per row.
 */
export function tableLines<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  layout: TableLayout,
  options: { readonly headers: boolean; readonly width?: number },
): string[] {
  const fixed = layout.widths.slice(0, -1).reduce((sum, width) => sum + width + GAP.length, 0);
  const room = options.width === undefined ? Number.POSITIVE_INFINITY : options.width - fixed;
  const last = layout.widths.at(-1) ?? 0;
  if (room < Math.min(last, 24))
    return rows.flatMap((row, at) => [...(at > 0 ? [""] : []), ...blockLines(row, columns, options.width)]);
  const lines: string[] = [];
  if (options.headers) {
    const titles = columns.map((column, at) => padTo(column.title, layout.widths[at] ?? 0, column.right));
    lines.push(paint("faint", titles.join(GAP).trimEnd()));
  }
  for (const row of rows) lines.push(...rowLines(row, columns, layout, fixed, room));
  return lines;
}

/**
 * One row as `TITLE  value` lines: for a single thing, and for terminals that are too narrow for a table. With `width` (of a
 * terminal) a value that is too long goes on below itself.
 */
export function blockLines<Row>(row: Row, columns: readonly Column<Row>[], width?: number): string[] {
  const title = Math.max(...columns.map((column) => displayWidth(column.title)));
  const room = width === undefined ? Number.POSITIVE_INFINITY : Math.max(16, width - title - GAP.length);
  return columns.flatMap((column) =>
    fold(clean(column.value(row)), room).map((text, at) => {
      const before = at === 0 ? paint("faint", padTo(column.title, title)) : " ".repeat(title);
      return `${before}${GAP}${paint(column.tone?.(row), text)}`.trimEnd();
    }),
  );
}

function rowLines<Row>(
  row: Row,
  columns: readonly Column<Row>[],
  layout: TableLayout,
  fixed: number,
  room: number,
): string[] {
  const cells = columns.map((column) => clean(column.value(row)));
  const folded = fold(cells.at(-1) ?? "", room);
  const first = columns.map((column, at) => {
    const text = at === columns.length - 1 ? (folded[0] ?? "") : (cells[at] ?? "");
    const padded = padTo(text, layout.widths[at] ?? 0, column.right);
    // Painting the padding too would underline or shade blanks; trailing blanks go altogether.
    return padded.replace(text, () => (text === "" ? "" : paint(column.tone?.(row), text)));
  });
  return [first.join(GAP).trimEnd(), ...folded.slice(1).map((line) => " ".repeat(fixed) + line)];
}

/** Breaks at blanks into lines of at most `room` columns; a word that is longer stays whole, so ids can be copied. */
export function fold(text: string, room: number): string[] {
  if (displayWidth(text) <= room) return [text];
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    const longer = line === "" ? word : `${line} ${word}`;
    if (line !== "" && displayWidth(longer) > room) {
      lines.push(line);
      line = word;
    } else line = longer;
  }
  return [...lines, line];
}

function padTo(text: string, width: number, right = false): string {
  const blanks = " ".repeat(Math.max(0, width - displayWidth(text)));
  return right ? blanks + text : text + blanks;
}
