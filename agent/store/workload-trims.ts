import { stateMax } from "../state/bounds.ts";
import type { Operation, Request } from "../state/commit.ts";
import type { LogMeta } from "../state/space.ts";
import type { SealedDatabase } from "./sealed-database.ts";
import { entryRow, indexOf, readEntry } from "./workload-keys.ts";

/**
 * The operations of a request, each trim cut to what one commit may take, and how many bytes its log has up to there: a trim needs to
 * know what it takes away. `through` is by log and index; without an entry there is nothing to trim.
 */
export async function trimsIn(
  database: Pick<SealedDatabase, "entries">,
  workload: string,
  logs: ReadonlyMap<string, LogMeta>,
  request: Pick<Request, "operations">,
): Promise<{ operations: readonly Operation[]; through: Map<string, number> }> {
  const through = new Map<string, number>();
  if (request.operations.every(({ is }) => is !== "trim")) return { operations: request.operations, through };
  const operations: Operation[] = [];
  for (const operation of request.operations) {
    if (operation.is !== "trim") {
      operations.push(operation);
      continue;
    }
    const { log } = operation;
    const meta = logs.get(log);
    const to = Math.min(operation.through, meta?.last ?? 0, (meta?.first ?? 1) + stateMax.trimmed - 1);
    if (meta && to >= 1) through.set(`${log}\0${to}`, await bytesThrough(database, { workload, log, to, meta }));
    operations.push({ ...operation, through: to });
  }
  return { operations, through };
}

/** In a mended store the entry may be missing: then the next one says where it begins. */
async function bytesThrough(
  database: Pick<SealedDatabase, "entries">,
  { workload, log, to, meta }: { workload: string; log: string; to: number; meta: LogMeta },
): Promise<number> {
  const range = { gte: entryRow(workload, log, to), lt: entryRow(workload, log, meta.last + 1), limit: 1 };
  const [found] = await database.entries(range);
  if (!found) return meta.appended;
  const { through, data } = readEntry(found[1]);
  return indexOf(found[0]) === to ? through : through - data.length;
}
