import type { Link } from "@blueflame/shared/audit/chain.ts";
import type { ChainHeader, ChainStand, SignedHead } from "@blueflame/shared/audit/check.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";

/** How the audit of a store stands, as it is written with each of its records. */
export interface AuditStand {
  readonly owner: string;
  /** The chain that goes on, and its newest record. */
  readonly generation: string;
  readonly number: number;
  readonly hash: string;
  /** The row of that record; rows count through all generations. */
  readonly row: number;
  /** The last row that retention took away, and the running hash there; row 0 when none was. */
  readonly anchor: Link & { readonly row: number };
  /** Rows up to here were written before there was a chain. */
  readonly chainlessTo: number;
  /** How earlier generations ended, oldest first; the newest hundred. */
  readonly earlier: readonly Link[];
  /** How many there were before those; absent: none. How one of them ended stands in the first record of the next. */
  readonly forgotten?: number;
}

/** What the hub has said of the audit. */
export interface SignedHeads {
  /** The newest of each generation, oldest first. */
  readonly heads: readonly SignedHead[];
  /** The public key of the hub's CA, PEM. */
  readonly hubKey?: string;
  /** By generation: up to which number a difference was written down. */
  readonly told: Readonly<Record<string, number>>;
}

export const standKey = "meta/audit";
export const signedKey = "meta/audit-signed";
const formatOfStand = 1;
const earlierMax = 100;
const headsMax = 16;

export function standText(stand: AuditStand): string {
  return JSON.stringify({ v: formatOfStand, ...stand });
}
/** Throws STORE_NEWER, STORE_DAMAGED. */
export function standOf(text: string): AuditStand {
  const { v, ...stand } = JSON.parse(text) as AuditStand & { v: number };
  if (v > formatOfStand) throw new Fault("STORE_NEWER", `'${standKey}' has format ${v}`);
  if (!stand.generation || !Number.isSafeInteger(stand.row))
    throw new Fault("STORE_DAMAGED", `'${standKey}' is incomplete`);
  return stand;
}

/** The stand when its generation ends and another one begins. */
export function endedBy(stand: AuditStand, generation: string): AuditStand {
  const { generation: ended, number, hash, forgotten = 0 } = stand;
  const ends = [...stand.earlier, { generation: ended, number, hash }];
  const earlier = ends.slice(-earlierMax);
  const more = forgotten + ends.length - earlier.length;
  return { ...stand, generation, number: 0, hash: "", earlier, ...(more > 0 && { forgotten: more }) };
}

/** What whoever checks the rows has to know. */
export function headerOf(nodeId: string, stand: AuditStand, signed: SignedHeads, keep: number): ChainHeader {
  const { owner, generation, number, hash, anchor, chainlessTo, forgotten = 0 } = stand;
  const heads: Link[] = [...stand.earlier, { generation, number, hash }];
  const anchored = heads.findIndex((head) => head.generation === anchor.generation);
  const isUnlisted = anchored < 0 && forgotten > 0;
  const listed = heads.map((head, at): ChainStand => {
    const link = at < anchored ? head : at === anchored ? linkOf(anchor) : undefined;
    return { generation: head.generation, head, ...(link && { anchor: link }) };
  });
  const isCut = isUnlisted && anchor.generation !== "";
  const chains = isCut ? [{ generation: anchor.generation, anchor: linkOf(anchor) }, ...listed] : listed;
  // All of them taken away, and none behind them: their running hash is still what the first record of the chain names.
  const left = chainlessTo - anchor.row;
  return {
    nodeId,
    source: "node",
    owner,
    chains,
    ...(isUnlisted && { forgotten }),
    ...(chainlessTo > 0 && left >= 0 && { chainless: { hash: anchor.hash, records: left } }),
    keep,
    signed: signed.heads,
    ...(signed.hubKey && { hubKey: signed.hubKey }),
  };
}
function linkOf({ generation, number, hash }: Link): Link {
  return { generation, number, hash };
}

/** Takes a countersigned head in; undefined when it is no news. */
export function withHead(signed: SignedHeads, head: SignedHead, hubKey: string): SignedHeads | undefined {
  const held = signed.heads.find((one) => one.generation === head.generation);
  if (held && held.number >= head.number && signed.hubKey === hubKey) return undefined;
  const others = signed.heads.filter((one) => one !== held);
  const heads = [...others, head].slice(-headsMax);
  const told = Object.entries(signed.told).filter(([generation]) => heads.some((one) => one.generation === generation));
  return { heads, hubKey, told: Object.fromEntries(told) };
}

/** Where a countersigned head and the store differ; undefined when they agree, or when that was told before. */
export function differs(
  stand: AuditStand,
  signed: SignedHeads,
  head: SignedHead,
  /** The hash of that record, empty when it is missing; undefined when retention has taken it away, or nobody can know. */
  here: string | undefined,
): { readonly action: string; readonly because: string } | undefined {
  const { generation, number } = head;
  if ((signed.told[generation] ?? 0) >= number) return undefined;
  const said = `the hub has countersigned record ${number} of generation ${generation}`;
  const known =
    generation === stand.generation ? stand.number : stand.earlier.find((one) => one.generation === generation)?.number;
  if (known === undefined)
    return { action: "audit.gap", because: `${said}, and this store knows nothing of that generation` };
  if (number > known) {
    const lost = `${number - known} records are missing here, from ${known + 1} to ${number}`;
    return { action: "audit.gap", because: `${said}, and this store has it up to ${known}: ${lost}` };
  }
  if (here === undefined || here === head.hash) return undefined;
  if (here === "") return { action: "audit.gap", because: `${said}, and that record is missing here` };
  return { action: "audit.differs", because: `${said}, and the record that is here under that number is another one` };
}
