import { broken, type Row, type Trial } from "../prove/trial.ts";
import { built } from "./built.ts";

/** So short a promise is no matter of one look: on a shared disk a single write takes longer. `npm run prove` holds it as it is. */
const shortMs = 10;
const oneLookMs = 1000;

/** A trial whose rows are looked at by several tests: it runs once, when the first of them asks. */
export function rowsOf(
  trial: Trial,
  rounds = 1,
): (...ids: string[]) => Promise<{ readonly names: string[]; readonly bad: Row[] }> {
  let running: Promise<Row[]> | undefined;
  const run = async () => {
    await built("blueflame-agent", "blueflame-watchdog", "blueflame-emergency", "sick");
    const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
    console.log(`${trial.name}: SEED=${seed}`);
    return trial.run({ rounds, seed, say: (line) => console.log(`  ${line}`) });
  };
  return async (...ids) => {
    running ??= run();
    const rows = (await running)
      .filter(({ name }) => ids.some((id) => name.startsWith(`${id} `)))
      .map((row) =>
        row.unit === "ms" && (row.promise ?? oneLookMs) <= shortMs ? { ...row, promise: oneLookMs } : row,
      );
    return { names: [...new Set(rows.map(({ name }) => name))].sort(), bad: broken(rows) };
  };
}
