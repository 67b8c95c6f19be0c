import { textOf } from "./codec.ts";
import { bytesIn, type Part, writeParts } from "./rows.ts";
import type { SealedDatabase } from "./sealed-database.ts";

/** What is written of a workload's config at once: all of it or nothing. */
export interface ConfigVersionsWrite {
  /** JSON-able; replaces the earlier one. */
  readonly history: unknown;
  /** Contents that are new, by their SHA-256. */
  readonly add: ReadonlyMap<string, Uint8Array>;
  /** Checksums of contents that nothing in the history needs any more. */
  readonly drop: readonly string[];
}

/** The kept versions of the workloads' configs, with what their files held. Their number and size are the writer's to bound. */
export class ConfigVersions {
  readonly #database: SealedDatabase;

  constructor(database: SealedDatabase) {
    this.#database = database;
  }
  async load(workload: string): Promise<unknown> {
    const found = await this.#database.get(historyKey(workload));
    return found && (JSON.parse(textOf(found)) as unknown);
  }
  /** The contents that are there; what is missing is left out. */
  async contents(workload: string, sums: readonly string[]): Promise<Map<string, Uint8Array>> {
    const found = new Map<string, Uint8Array>();
    for (const sum of sums) {
      const key = contentKey(workload, sum);
      const content = await this.#database.get(key);
      if (content) found.set(sum, content);
    }
    return found;
  }
  async save(workload: string, { history, add, drop }: ConfigVersionsWrite): Promise<void> {
    const puts = [...add].map(([sum, bytes]) => {
      const key = contentKey(workload, sum);
      return { type: "put", key, value: bytes } as const;
    });
    const dels = drop.map((sum) => ({ type: "del", key: contentKey(workload, sum) }) as const);
    const key = historyKey(workload);
    const value = Buffer.from(JSON.stringify(history));
    const part: Part = { writes: [{ type: "put", key, value }, ...puts, ...dels] };
    await writeParts(this.#database, true, () => [part], bytesIn([part]));
  }
  /** Everything of a workload that is no longer guarded. */
  async keysOf(workload: string): Promise<string[]> {
    const range = { gte: contentKey(workload, ""), lt: `content/${workload}\u0001` };
    return [historyKey(workload), ...(await this.#database.keys(range))];
  }
}

function historyKey(workload: string): string {
  return `config/${workload}`;
}
function contentKey(workload: string, sum: string): string {
  return `content/${workload}\0${sum}`;
}
