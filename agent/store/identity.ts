import { Fault } from "@blueflame/shared/errors/fault.ts";
import { textOf } from "./codec.ts";
import { lastSeqIn } from "./outbox.ts";
import { type Life, unknownLife, waitingLives } from "./outbox-lives.ts";
import type { StoreIdentity } from "./ports.ts";
import type { SealedDatabase } from "./sealed-database.ts";

/** Where a store says whose it is. */
export const identityKey = "meta/identity";

/** What a process brings along when it opens the store. */
export interface Opener {
  /** Undefined: whoever the store belongs to, and `defaultNodeId` when it is new. */
  readonly nodeId: string | undefined;
  readonly defaultNodeId: string;
  readonly bootId: string;
  /** Whose values the store holds: what its ring says. */
  readonly owner: string;
  /** For the generation of a new or repaired store. */
  readonly newId: () => string;
  /** What is known of the last open from outside the store; undefined when nothing is. */
  readonly witness?: { readonly generation: string; readonly session: string } | undefined;
}
/** The row as it is stored. */
export interface Stored {
  readonly nodeId: string;
  readonly generation: string;
  /** Absent in a store that was made before there was one: its generation then. */
  readonly owner?: string;
  readonly incarnation: string;
  readonly session: string;
  readonly bootId: string;
  /** How often the store had been repaired. */
  readonly repairs: number;
  /** Which earlier lives made records that still wait for the hub, oldest first; absent: none. */
  readonly lives?: readonly Life[];
  /** The life that ended was an older copy that had gone on: what it numbered since may stand under other numbers at the hub. */
  readonly doubted?: boolean;
}

/** Who this store belongs to, and which earlier lives made what waits in its outbox. */
export interface Counted {
  readonly identity: StoreIdentity;
  readonly lives: readonly Life[];
}

/** Counts this open and makes it durable. Throws DATA_DIR_OF_ANOTHER, STORE_DAMAGED, STORE_WRITE_FAILED. */
export async function countOpen(database: SealedDatabase, opener: Opener): Promise<Counted> {
  const stored = await read(database);
  if (!stored && database.repairs > 0) throw new Fault("STORE_DAMAGED", "the repaired store does not say whose it is");
  if (stored && opener.nodeId !== undefined && stored.nodeId !== opener.nodeId) {
    throw new Fault("DATA_DIR_OF_ANOTHER", `the store belongs to '${stored.nodeId}', this node is '${opener.nodeId}'`);
  }
  // A repaired store may lack what it acknowledged: it goes on as a new life, so that nobody takes it for the old one.
  // So does one that has forgotten an open: its last writes are gone with it, and their numbers must not be given again.
  const forgot =
    stored?.generation === opener.witness?.generation && Number(stored?.session) < Number(opener.witness?.session);
  const goesOn = stored?.repairs === database.repairs && !forgot ? stored : undefined;
  // The first generation of a store is its owner.
  const generation = goesOn?.generation ?? (stored ? opener.newId() : opener.owner);
  const identity: StoreIdentity = {
    nodeId: stored?.nodeId ?? opener.nodeId ?? opener.defaultNodeId,
    generation,
    owner: stored ? (stored.owner ?? stored.generation) : generation,
    incarnation: goesOn ? BigInt(goesOn.incarnation) : BigInt(stored?.incarnation ?? 0) + 1n,
    session: goesOn ? BigInt(goesOn.session) + 1n : 1n,
    previousBootId: stored?.bootId ?? "",
  };
  const lives = stored ? livesNow(stored, generation, await lastSeqIn(database)) : [];
  const next: Stored = {
    nodeId: identity.nodeId,
    generation,
    owner: identity.owner,
    incarnation: String(identity.incarnation),
    session: String(identity.session),
    bootId: opener.bootId,
    repairs: database.repairs,
    ...(lives.length > 0 && { lives }),
  };
  const value = Buffer.from(JSON.stringify(next));
  await database.submit({ build: () => [{ type: "put", key: identityKey, value }] }, true);
  return { identity, lives };
}

function livesNow(
  { generation, lives, doubted }: Stored,
  now: string,
  outbox: { last: number; acked: number },
): Life[] {
  const ended = { generation: doubted ? unknownLife : generation, through: outbox.last };
  return waitingLives(generation === now ? (lives ?? []) : [...(lives ?? []), ended], outbox.acked);
}

async function read(database: SealedDatabase): Promise<Stored | undefined> {
  const found = await database.get(identityKey);
  return found && storedIdentity(found);
}

/** What the row says. Throws STORE_DAMAGED. */
export function storedIdentity(bytes: Uint8Array): Stored {
  try {
    const found = JSON.parse(textOf(bytes)) as Partial<Stored>;
    const { nodeId, generation, owner, incarnation, session, bootId, repairs, lives, doubted } = found;
    if (nodeId && generation && incarnation && session && bootId !== undefined && repairs !== undefined) {
      const more = { ...(owner && { owner }), ...(lives && { lives }), ...(doubted && { doubted }) };
      return { nodeId, generation, incarnation, session, bootId, repairs, ...more };
    }
  } catch (cause) {
    throw new Fault("STORE_DAMAGED", `'${identityKey}' cannot be read`, { cause });
  }
  throw new Fault("STORE_DAMAGED", `'${identityKey}' is incomplete`);
}
