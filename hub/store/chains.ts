import {
  type Begun,
  canonical,
  genesis,
  hashOf,
  jsonOf,
  type Link,
  previousOf,
} from "@blueflame/shared/audit/chain.ts";
import type { ChainStand, Heard } from "@blueflame/shared/audit/check.ts";
import type { AuditRecord } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import type { JsonObject } from "@bufbuild/protobuf";
import { rowBytes, rowOf } from "./rows.ts";

/** How far the hub has one generation of a node's chained audit. */
export interface Chain extends Link {
  /** The outbox seq of that record: what comes again is known by it. */
  readonly seq: bigint;
  /** When it arrived, wall milliseconds. */
  readonly atMs: number;
  /** The record before the first one that came, where that was not the first of all: this hub did not know the node yet. */
  readonly first?: Link;
  /** Numbers that the node never sent; the first hundred. */
  readonly gaps: readonly { readonly from: number; readonly to: number }[];
  /** Why no head of it is countersigned any more. */
  readonly broken?: string;
}

const gapsMax = 100;

/**
 * The chain with one more record of the node's, in the order of its outbox. A record that does not hang on the one before
 * breaks it: the records are kept all the same, but the hub puts its name under none of them.
 */
export function followed(chain: Chain | undefined, record: AuditRecord, seq: bigint, atMs: number): Chain {
  const { generation } = record;
  const number = Number(record.number);
  const next = { generation, number, hash: hashOf(canonical(record)), seq, atMs };
  if (!chain) return begun(record, next);
  if (seq <= chain.seq) return chain; // sent again: the hub died between its logs and this row
  const { gaps, first, broken } = chain;
  const kept = { gaps, ...(first && { first }) };
  if (broken !== undefined) return { ...(number > chain.number ? next : chain), ...kept, broken };
  if (number <= chain.number) {
    return { ...chain, broken: `record ${number} came after record ${chain.number}` };
  }
  if (number > chain.number + 1) {
    const gap = { from: chain.number + 1, to: number - 1 };
    return { ...next, ...kept, gaps: [...gaps, gap].slice(0, gapsMax) };
  }
  if (previousOf(record) !== chain.hash) {
    return {
      ...next,
      ...kept,
      broken: `record ${number} was written upon another record ${chain.number} than the one that is here`,
    };
  }
  return { ...next, ...kept };
}

/**
 * True for the record that hangs on the last one of a whole chain. Such a one is taken from the outbox of a later life too: what was
 * not sent when the store began anew comes then. Any other of an earlier life came before, or is nobody's.
 */
export function isNext(chain: Chain | undefined, record: AuditRecord): boolean {
  if (!chain || chain.broken !== undefined) return false;
  return Number(record.number) === chain.number + 1 && previousOf(record) === chain.hash;
}

function begun(record: AuditRecord, next: Omit<Chain, "gaps">): Chain {
  const previous = previousOf(record);
  if (next.number > 1) {
    return { ...next, gaps: [], first: { generation: next.generation, number: next.number - 1, hash: previous } };
  }
  const owner = jsonOf<Begun>(record.afterJson)?.owner ?? "";
  if (previous === genesis(owner, next.generation)) return { ...next, gaps: [] };
  return { ...next, gaps: [], broken: `its first record is not the beginning of generation ${next.generation}` };
}

/**
 * Where a node's own word about its audit and the hub's differ; undefined when they agree, cannot be compared, or when that was told:
 * `heard` is the last word that differed.
 */
export function compared(
  chain: Chain | undefined,
  own: Link | undefined,
  heard: Heard | undefined,
): string | undefined {
  if (!chain || chain.broken !== undefined || !own || chain.generation !== own.generation) return undefined;
  if (heard && heard.number === own.number && heard.hash === own.hash) return undefined;
  if (own.number < chain.number) {
    const lost = chain.number - own.number;
    return `the audit of its store ends with record ${own.number}, but ${chain.number} are here: its last ${lost} records were cut off`;
  }
  if (own.number > chain.number || own.hash === chain.hash) return undefined;
  return `the last record of its audit, ${own.number}, is another one than the one that is here`;
}

/** What a reader of the records has to know of it. `trimmed` is the last record that retention took away. */
function standOf(chain: Chain, trimmed: Link | undefined, heard: Heard | undefined): ChainStand {
  const { generation, number, hash, first, gaps } = chain;
  const anchor = (trimmed?.number ?? 0) > (first?.number ?? 0) ? trimmed : first;
  return { generation, head: { generation, number, hash }, ...(anchor && { anchor }), gaps, ...(heard && { heard }) };
}

export function linkBytes({ generation, number, hash }: Link): Uint8Array {
  return rowBytes({ generation, number, hash });
}
export function linkOf(bytes: Uint8Array): Link | undefined {
  return rowOf(bytes) as unknown as Link | undefined;
}
export function heardBytes({ generation, number, hash, here, atMs }: Heard): Uint8Array {
  return rowBytes({ generation, number, hash, here, atMs });
}
export function heardOf(bytes: Uint8Array): Heard | undefined {
  return rowOf(bytes) as unknown as Heard | undefined;
}
export function chainBytes(chain: Chain): Uint8Array {
  return rowBytes({ ...(chain as unknown as JsonObject), seq: `${chain.seq}` });
}
export function chainOf(bytes: Uint8Array): Chain | undefined {
  const row = rowOf(bytes);
  return row && ({ ...row, seq: BigInt(String(row.seq)) } as unknown as Chain);
}

/** The chains of all nodes, in memory: two small rows for each life of a store. */
export class Chains {
  readonly #byNode = new Map<string, Map<string, Chain>>();
  readonly #anchors = new Map<string, Link>();
  readonly #heard = new Map<string, Heard>();

  get(nodeId: string, generation: string): Chain | undefined {
    return this.#byNode.get(nodeId)?.get(generation);
  }
  set(nodeId: string, chain: Chain): void {
    const own = this.#byNode.get(nodeId) ?? new Map<string, Chain>();
    own.set(chain.generation, chain);
    this.#byNode.set(nodeId, own);
  }
  anchor(nodeId: string, generation: string): Link | undefined {
    return this.#anchors.get(`${nodeId}/${generation}`);
  }
  setAnchor(nodeId: string, link: Link): void {
    this.#anchors.set(`${nodeId}/${link.generation}`, link);
  }
  heard(nodeId: string, generation: string): Heard | undefined {
    return this.#heard.get(`${nodeId}/${generation}`);
  }
  setHeard(nodeId: string, heard: Heard): void {
    this.#heard.set(`${nodeId}/${heard.generation}`, heard);
  }
  stands(nodeId: string): ChainStand[] {
    return this.of(nodeId).map((chain) =>
      standOf(chain, this.anchor(nodeId, chain.generation), this.heard(nodeId, chain.generation)),
    );
  }
  /** All of one life. */
  forget(nodeId: string, generation: string): void {
    const own = this.#byNode.get(nodeId);
    own?.delete(generation);
    if (own?.size === 0) this.#byNode.delete(nodeId);
    this.#anchors.delete(`${nodeId}/${generation}`);
    this.#heard.delete(`${nodeId}/${generation}`);
  }
  nodes(): string[] {
    return [...this.#byNode.keys()];
  }
  /** The one that grew last comes last. */
  of(nodeId: string): Chain[] {
    return [...(this.#byNode.get(nodeId)?.values() ?? [])].sort(
      (a, b) => a.atMs - b.atMs || (a.generation < b.generation ? -1 : 1),
    );
  }
}
