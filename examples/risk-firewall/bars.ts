/** One daily bar, in integer cents so that sums are exact and replay gives the same bytes on every machine. */
export interface Bar {
  /** YYYY-MM-DD, as the data set writes it. */
  readonly date: string;
  /** YYYY-MM: a month is a session. */
  readonly session: string;
  readonly closeCents: number;
}

/** More bars than a century of trading days are not a data set for this program. */
const barsMax = 40_000;

/**
 * Reads the CSV of daily bars: a header that names at least `date` and `close`, then one bar a line, oldest first. Throws an
 * Error that names the line for anything else: a risk program does not guess at prices.
 */
export function parseBars(csv: string): Bar[] {
  const lines = csv.split(/\r?\n/).filter((line) => line !== "");
  const header = (lines[0] ?? "").split(",");
  const dateAt = header.indexOf("date");
  const closeAt = header.indexOf("close");
  if (dateAt < 0 || closeAt < 0) throw new Error("line 1: the header must name the columns date and close");
  if (lines.length - 1 > barsMax)
    throw new Error(`the file has ${lines.length - 1} bars; at most ${barsMax} are taken`);

  const bars: Bar[] = [];
  for (const [index, line] of lines.slice(1).entries()) {
    const fields = line.split(",");
    const date = fields[dateAt] ?? "";
    const closeCents = Math.round(Number(fields[closeAt]) * 100);
    const before = bars.at(-1);
    if (!/^\d{4}-\d{2}-\d{2}$/.test(date)) throw new Error(`line ${index + 2}: '${date}' is no date like 2000-01-31`);
    if (!Number.isSafeInteger(closeCents) || closeCents <= 0) {
      throw new Error(`line ${index + 2}: '${fields[closeAt] ?? ""}' is no price`);
    }
    if (before !== undefined && before.date >= date)
      throw new Error(`line ${index + 2}: ${date} does not follow ${before.date}`);
    bars.push({ date, session: date.slice(0, 7), closeCents });
  }
  if (bars.length === 0) throw new Error("the file has no bars");
  return bars;
}
