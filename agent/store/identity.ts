import { Fault } from "@blueflame/shared/errors/fault.ts";
import type { Database } from "@blueflame/shared/store/level/database.ts";
import { sealText, unsealText } from "./codec.ts";
import type { StoreIdentity } from "./ports.ts";

const key = "meta/identity";

/** What a process brings along when it opens the store. */
export interface Opener {
  /** Undefined: whoever the store belongs to, and `defaultNodeId` when it is new. */
  readonly nodeId: string | undefined;
  readonly defaultNodeId: string;
  readonly bootId: string;
  /** For the generation of a new or repaired store. */
  readonly newId: () => string;
}
interface Stored {
  readonly nodeId: string;
  readonly generation: string;
  readonly incarnation: string;
  readonly session: string;
  readonly bootId: string;
  /** How often the store had been repaired. */
  readonly repairs: number;
}

/** Counts this open and makes it durable. Throws DATA_DIR_OF_ANOTHER, STORE_DAMAGED, STORE_WRITE_FAILED. */
export async function countOpen(database: Database, opener: Opener): Promise<StoreIdentity> {
  const stored = await read(database);
  if (!stored && database.repairs > 0) throw new Fault("STORE_DAMAGED", "the repaired store does not say whose it is");
  if (stored && opener.nodeId !== undefined && stored.nodeId !== opener.nodeId) {
    throw new Fault("DATA_DIR_OF_ANOTHER", `the store belongs to '${stored.nodeId}', this node is '${opener.nodeId}'`);
  }
  // A repaired store may lack what it acknowledged: it goes on as a new life, so that nobody takes it for the old one.
  const goesOn = stored?.repairs === database.repairs ? stored : undefined;
  const identity: StoreIdentity = {
    nodeId: stored?.nodeId ?? opener.nodeId ?? opener.defaultNodeId,
    generation: goesOn?.generation ?? opener.newId(),
    incarnation: goesOn ? BigInt(goesOn.incarnation) : BigInt(stored?.incarnation ?? 0) + 1n,
    session: goesOn ? BigInt(goesOn.session) + 1n : 1n,
    previousBootId: stored?.bootId ?? "",
  };
  const next: Stored = {
    nodeId: identity.nodeId,
    generation: identity.generation,
    incarnation: String(identity.incarnation),
    session: String(identity.session),
    bootId: opener.bootId,
    repairs: database.repairs,
  };
  const value = sealText(key, JSON.stringify(next));
  await database.submit({ build: () => [{ type: "put", key, value }] }, true);
  return identity;
}

async function read(database: Database): Promise<Stored | undefined> {
  const sealed = await database.get(key);
  if (!sealed) return undefined;
  try {
    const found = JSON.parse(unsealText(key, sealed)) as Partial<Stored>;
    const { nodeId, generation, incarnation, session, bootId, repairs } = found;
    if (nodeId && generation && incarnation && session && bootId !== undefined && repairs !== undefined) {
      return { nodeId, generation, incarnation, session, bootId, repairs };
    }
  } catch (cause) {
    throw new Fault("STORE_DAMAGED", `'${key}' cannot be read`, { cause });
  }
  throw new Fault("STORE_DAMAGED", `'${key}' is incomplete`);
}
