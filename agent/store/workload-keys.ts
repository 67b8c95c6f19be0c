import { Fault } from "@blueflame/shared/errors/fault.ts";
import type { Database } from "@blueflame/shared/store/level/database.ts";
import { seal, unseal } from "./codec.ts";
import { writeParts } from "./rows.ts";

/** What one workload may keep. */
const keysMax = { keys: 1000, keyBytes: 512, valueBytes: 256 * 1024 } as const;

/** The workloads' own keys, each with a revision that counts its writes from 1. */
export class WorkloadKeys {
  readonly #database: Database;
  /** How many keys each workload has. */
  readonly #counts = new Map<string, number>();
  /** The revision of each key that was asked for, 0n when there is none, as of the last batch that was built. */
  readonly #revisions = new Map<string, bigint>();

  constructor(database: Database) {
    this.#database = database;
  }
  async load(): Promise<void> {
    for (const key of await this.#database.keys({ gte: "kv/", lt: "kv0" })) {
      const workload = key.slice(3, key.indexOf("\0"));
      this.#counts.set(workload, (this.#counts.get(workload) ?? 0) + 1);
    }
  }
  async get(workload: string, key: string): Promise<{ value: Uint8Array; revision: bigint } | undefined> {
    const row = rowOf(workload, key);
    const sealed = await this.#database.get(row);
    if (!sealed) return undefined;
    const found = unseal(row, sealed);
    return { revision: revisionOf(found), value: found.subarray(8) };
  }
  async put(workload: string, key: string, value: Uint8Array, expected: bigint | undefined): Promise<bigint> {
    const row = rowOf(workload, key);
    if (value.byteLength > keysMax.valueBytes) {
      throw new Fault("BAD_REQUEST", `a value of ${value.byteLength} bytes, at most ${keysMax.valueBytes}`);
    }
    const bytes = new Uint8Array(8 + value.byteLength);
    bytes.set(value, 8);
    await this.#knowRevision(row);
    let revision = 0n;
    await writeParts(this.#database, true, () => {
      const before = this.#revisions.get(row) ?? 0n;
      if (expected !== undefined && expected !== before) {
        throw new Fault("STATE_CONFLICT", `'${key}' of '${workload}' has revision ${before}, expected was ${expected}`);
      }
      const count = this.#counts.get(workload) ?? 0;
      if (before === 0n && count >= keysMax.keys) {
        throw new Fault("LIMIT_REACHED", `'${workload}' keeps ${count} keys`);
      }
      revision = before + 1n;
      new DataView(bytes.buffer).setBigUint64(0, revision);
      this.#revisions.set(row, revision);
      if (before === 0n) this.#counts.set(workload, count + 1);
      const undo = () => {
        this.#revisions.set(row, before);
        if (before === 0n) this.#counts.set(workload, (this.#counts.get(workload) ?? 1) - 1);
      };
      return [{ writes: [{ type: "put", key: row, value: seal(row, bytes) }], undo }];
    });
    return revision;
  }

  /** Reads the revision once. While it is read another put may have made a newer one known: that one stays. */
  async #knowRevision(row: string): Promise<void> {
    if (this.#revisions.has(row)) return;
    const sealed = await this.#database.get(row);
    if (!this.#revisions.has(row)) this.#revisions.set(row, sealed ? revisionOf(unseal(row, sealed)) : 0n);
  }
}

function rowOf(workload: string, key: string): string {
  if (key === "" || key.includes("\0") || !key.isWellFormed() || Buffer.byteLength(key) > keysMax.keyBytes) {
    throw new Fault("BAD_REQUEST", `a key must have 1 to ${keysMax.keyBytes} bytes of text without NUL`);
  }
  return `kv/${workload}\0${key}`;
}
function revisionOf(found: Uint8Array): bigint {
  return new DataView(found.buffer, found.byteOffset, found.byteLength).getBigUint64(0);
}
