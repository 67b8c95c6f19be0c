/**
 * The keys of a store, as they lie on the disk: a root from which other keys are derived, and the data keys that seal values,
 * each wrapped for the KEK and, where there is one, for the escrow key. The same ring lies in the store (`!ring`) and beside it
 * (`store.keys`): a store whose ring is lost is lost, so each heals the other. Nothing in it is secret.
 *
 *   made ──▶ current (seals) ──▶ retired (opens) ──▶ dropped, when `keysMax` younger ones stand before it
 *                └── after 90 days or 2^31 values: the next key is made, durable, and only then current
 */
import { createHash, createSecretKey, hkdfSync, type KeyObject, randomBytes } from "node:crypto";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import type { Kek } from "./key-file.ts";
import { type Escrow, type EscrowHolder, unwrap, wrap, wrapFor } from "./wrap.ts";

/** So many data keys are kept, the current one too: snapshots that were sealed with an older one cannot be read any more. */
export const keysMax = 32;
/** NIST SP 800-38D allows 2^32 values with random nonces under one key; half of that. */
const valuesMax = 2 ** 31;
const ageMaxMs = 90 * 24 * 3_600_000;
/** How many values are counted at once: a count is written ahead of what it counts. */
export const countStep = 2 ** 18;
const version = 1;

/** One wrapped key. */
interface StoredKey {
  /** 0: the root. Data keys count from 1. */
  readonly id: number;
  readonly madeWallMs: number;
  /** At least so many values were sealed with it. */
  readonly values: number;
  /** By the id of the KEK or escrow key: base64. */
  readonly wraps: Readonly<Record<string, string>>;
}
/** The ring as JSON. */
export interface StoredRing {
  readonly version: number;
  /** Whose store it is: every value is bound to it. */
  readonly owner: string;
  /** Counts changes. */
  readonly revision: number;
  /** Every value in the store is sealed with this key or a younger one. */
  readonly swept: number;
  readonly keys: readonly StoredKey[];
  /** Whom it is entrusted to (PEM), so that a spoilt or lost file beside the store loses nobody; absent: nobody, or an earlier version wrote it. */
  readonly escrow?: string;
}

/** Whom a ring is wrapped for beside the KEK. `asBefore`: that key cannot be read here; what is wrapped for it stays so. */
export type Entrusted = Escrow | "asBefore" | undefined;
const escrowPrefix = "escrow:";

/** Whoever may open a ring. */
export type Opener = Kek | EscrowHolder;

/** A ring whose keys are open. Immutable: each change gives the next one, which has to be durable before it is used. */
export class Ring {
  readonly stored: StoredRing;
  /** The id of the key that seals. */
  readonly current: number;
  readonly #open: ReadonlyMap<number, Uint8Array>;
  readonly #ready = new Map<number, KeyObject>();
  readonly #derived = new Map<string, Uint8Array>();

  private constructor(stored: StoredRing, open: ReadonlyMap<number, Uint8Array>) {
    this.stored = stored;
    this.#open = open;
    this.current = Math.max(...stored.keys.map(({ id }) => id));
  }

  /** The ring of a new store. */
  static make(owner: string, kek: Kek, escrow: Escrow | undefined, wallMs: number): Ring {
    const told = escrow && { escrow: escrow.pem };
    const bare = new Ring({ version, owner, revision: 0, swept: 1, keys: [], ...told }, new Map());
    return bare.#with(0, wallMs, [kek], escrow).#with(1, wallMs, [kek], escrow);
  }
  /** Throws STORE_KEY_WRONG when none of `openers` opens it, STORE_NEWER. Keys that only an older KEK opened are left out. */
  static open(stored: StoredRing, openers: readonly Opener[]): Ring {
    if (stored.version > version) {
      throw new Fault("STORE_NEWER", `the store's keys have format ${stored.version}, this version knows ${version}`);
    }
    const open = new Map<number, Uint8Array>();
    for (const key of stored.keys) {
      const found = openOne(stored.owner, key, openers);
      if (found) open.set(key.id, found);
    }
    const newest = Math.max(...stored.keys.map(({ id }) => id));
    if (!open.has(0) || !open.has(newest)) {
      const known = openers.map(({ id }) => id).join(", ") || "none";
      throw new Fault("STORE_KEY_WRONG", `the store was sealed under the key ${wrappedFor(stored)}, there is ${known}`);
    }
    return new Ring(stored, open);
  }

  get owner(): string {
    return this.stored.owner;
  }
  /** A data key; undefined when there is none of this id. */
  key(id: number): KeyObject | undefined {
    const known = this.#ready.get(id);
    const secret = known || id === 0 ? undefined : this.#open.get(id);
    if (!secret) return known;
    const made = createSecretKey(secret); // what the cipher takes fastest
    this.#ready.set(id, made);
    return made;
  }
  /** A key of 32 bytes for another purpose than sealing values; it stays the same through every rotation. */
  derive(purpose: string): Uint8Array {
    const known = this.#derived.get(purpose);
    if (known) return known;
    const root = this.#open.get(0) ?? new Uint8Array();
    const made = Buffer.from(hkdfSync("sha256", root, this.owner, `blueflame ${purpose}`, 32));
    this.#derived.set(purpose, made);
    return made;
  }
  /** Why the current key should be followed by another one; undefined while it is good. */
  worn(wallMs: number): "age" | "values" | undefined {
    const key = this.#stored(this.current);
    if (key.values >= valuesMax) return "values";
    return wallMs - key.madeWallMs >= ageMaxMs ? "age" : undefined;
  }
  /** With a next data key; the oldest beyond the bound is dropped. */
  rotated(keks: readonly Kek[], escrow: Entrusted, wallMs: number): Ring {
    const next = this.#with(this.current + 1, wallMs, keks, escrow);
    const keys = next.stored.keys.filter(({ id }) => id === 0 || id > next.current - keysMax);
    return new Ring({ ...next.stored, keys }, next.#open);
  }
  /** So many values more were sealed with the current key. */
  counted(values: number): Ring {
    const { current } = this;
    const keys = this.stored.keys.map((key) => (key.id === current ? { ...key, values: key.values + values } : key));
    return new Ring({ ...this.stored, revision: this.stored.revision + 1, keys }, this.#open);
  }
  /** Every value is sealed with the current key; `from`: only with that one or a younger one is sure. */
  swept(from = this.current): Ring {
    return new Ring({ ...this.stored, revision: this.stored.revision + 1, swept: from }, this.#open);
  }
  /** Every key wrapped for these and nobody else. */
  rewrapped(keks: readonly Kek[], escrow: Entrusted): Ring {
    const { owner } = this;
    const { escrow: before, ...rest } = this.stored;
    const pem = escrow === "asBefore" ? before : escrow?.pem;
    const keys = this.stored.keys.map((key) => {
      const secret = this.#open.get(key.id);
      return secret ? { ...key, wraps: wrapsOf(owner, key, secret, keks, escrow) } : key;
    });
    return new Ring({ ...rest, ...(pem && { escrow: pem }), revision: this.stored.revision + 1, keys }, this.#open);
  }
  /** True when it is wrapped for exactly these, and says so. */
  isFor(kek: Kek, escrow: Entrusted): boolean {
    const known = escrow !== "asBefore";
    if (known && this.stored.escrow !== escrow?.pem) return false;
    const wanted = [kek.id, ...(known && escrow ? [escrow.id] : [])].sort().join();
    const counts = (id: string) => known || !id.startsWith(escrowPrefix);
    return this.stored.keys.every(
      ({ id, wraps }) => !this.#open.has(id) || Object.keys(wraps).filter(counts).sort().join() === wanted,
    );
  }
  /** Whom it was entrusted to by its newest key: the id of an escrow key; undefined when to nobody. */
  get entrustedTo(): string | undefined {
    return Object.keys(this.#stored(this.current).wraps).find((id) => id.startsWith(escrowPrefix));
  }

  #with(id: number, wallMs: number, keks: readonly Kek[], escrow: Entrusted): Ring {
    const { stored } = this;
    const secret = randomBytes(32);
    const key = { id, madeWallMs: Math.round(wallMs), values: 0 };
    const added = { ...key, wraps: wrapsOf(stored.owner, { ...key, wraps: {} }, secret, keks, escrow) };
    const next = { ...stored, revision: stored.revision + 1, keys: [...stored.keys, added] };
    return new Ring(next, new Map(this.#open).set(id, secret));
  }
  #stored(id: number): StoredKey {
    const key = this.stored.keys.find((one) => one.id === id);
    if (!key) throw new Error(`invariant broken: no key ${id}`);
    return key;
  }
}

/** Two copies of one ring as one: of each key and each wrap what either has. Undefined copies count for nothing. */
export function merged(one: StoredRing | undefined, other: StoredRing | undefined): StoredRing | undefined {
  if (!one || !other) return one ?? other;
  if (one.owner !== other.owner) return one;
  const [newer, older] = one.revision >= other.revision ? [one, other] : [other, one];
  const oldest = Math.min(...newer.keys.filter(({ id }) => id > 0).map(({ id }) => id));
  const missing = older.keys.filter(({ id }) => (id === 0 || id > oldest) && !newer.keys.some((key) => key.id === id));
  return { ...newer, keys: [...newer.keys, ...missing].sort((a, b) => a.id - b.id) };
}

/** Undefined when these bytes are no ring, or not the one that was written. */
export function parseRing(bytes: Uint8Array | undefined): StoredRing | undefined {
  if (!bytes) return undefined;
  try {
    const { sum, ...ring } = JSON.parse(Buffer.from(bytes).toString()) as StoredRing & { sum: string };
    return sum === sumOf(ring) ? ring : undefined;
  } catch {
    return undefined;
  }
}
export function encodeRing(ring: StoredRing): Uint8Array {
  return Buffer.from(JSON.stringify({ ...ring, sum: sumOf(ring) }));
}
/** Against what happens to bytes by itself; against people the keys are wrapped with a tag. */
function sumOf(ring: StoredRing): string {
  return createHash("sha256").update(JSON.stringify(ring)).digest("hex");
}

/** Who can open its newest key, as one word to compare. */
export function holdersOf({ keys }: StoredRing): string {
  return Object.keys(keys.at(-1)?.wraps ?? {})
    .sort()
    .join();
}

function openOne(owner: string, key: StoredKey, openers: readonly Opener[]): Uint8Array | undefined {
  for (const opener of openers) {
    const text = key.wraps[opener.id];
    if (text === undefined) continue;
    const wrapped = Buffer.from(text, "base64");
    const place = placeOf(owner, key);
    const found = "bytes" in opener ? unwrap(opener, place, wrapped) : opener.open(place, wrapped);
    if (found) return found;
  }
  return undefined;
}

function wrapsOf(
  owner: string,
  key: Omit<StoredKey, "values">,
  secret: Uint8Array,
  keks: readonly Kek[],
  escrow: Entrusted,
): Record<string, string> {
  const place = placeOf(owner, key);
  const wraps = keks.map((kek) => [kek.id, base64(wrap(kek, place, secret))] as const);
  if (!escrow) return Object.fromEntries(wraps);
  if (escrow === "asBefore") {
    const before = Object.entries(key.wraps).filter(([id]) => id.startsWith(escrowPrefix));
    return Object.fromEntries([...wraps, ...before]);
  }
  return Object.fromEntries([...wraps, [escrow.id, base64(wrapFor(escrow, place, secret))]]);
}

function placeOf(owner: string, { id, madeWallMs }: Pick<StoredKey, "id" | "madeWallMs">): string {
  return `blueflame key ${version}\0${owner}\0${id}\0${madeWallMs}`;
}
function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}
function wrappedFor({ keys }: StoredRing): string {
  return Object.keys(keys.at(-1)?.wraps ?? {}).join(" or ") || "of nobody";
}
