import { join } from "node:path";
import type { Clock } from "../../time/clock.ts";
import type { Log } from "../log.ts";
import type { State } from "../state.ts";
import { defaultHistory, type HistoryBound } from "../table.ts";
import { levelLog } from "./level-log.ts";
import { levelState } from "./level-state.ts";
import { openDatabase } from "./open-database.ts";

/** An embedded engine: both interfaces on one LevelDB. */
export interface LevelEngine {
  readonly state: State;
  readonly log: Log;
  /** What a person should know of the opening; empty when all was well. */
  readonly notes: readonly string[];
  /** How often the store was damaged and repaired in its life: what was acknowledged before may be missing. */
  readonly repairs: number;
  /** The error line while writes are refused; undefined while they work. */
  trouble(): string | undefined;
  /** Closes state, log and database. */
  close(): Promise<void>;
}

/**
 * Opens `dir/store` for this process alone, with its lock and marker beside it; makes it on the first run. A commit that
 * meets a failing disk throws OutcomeUnknown when it was on its way, STORE_WRITE_FAILED when it was not; writing resumes
 * by itself. The caller closes. Throws the codes of {@link openDatabase}.
 */
export async function openLevelEngine(
  dir: string,
  options: { readonly clock: Clock; readonly history?: HistoryBound },
): Promise<LevelEngine> {
  const database = await openDatabase(join(dir, "store"), { clock: options.clock });
  try {
    const state = await levelState(database, options.history ?? defaultHistory);
    return {
      state,
      log: levelLog(database),
      notes: database.notes,
      repairs: database.repairs,
      trouble: () => database.trouble(),
      async close() {
        await state.close();
        await database.close();
      },
    };
  } catch (error) {
    await database.close();
    throw error;
  }
}
