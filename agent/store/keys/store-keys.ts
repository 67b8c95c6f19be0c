/**
 * The keys of an open store: found, kept in both places, changed while the store is used.
 *
 *   data key   made ─▶ durable in `!ring` and `store.keys` ─▶ seals from now on ─▶ sweep: the rest is sealed anew, bit by bit
 *   KEK        new one beside the old ─▶ ring wrapped for both, durable ─▶ the new one takes its place ─▶ ring for it alone
 *
 * A death between any two of these leaves a ring that what lies there opens. While it is not sure which of two KEKs lies on the disk, all is
 * wrapped for both.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import type { Database } from "@blueflame/shared/store/level/database.ts";
import type { Cancel, Clock } from "@blueflame/shared/time/clock.ts";
import type { Codec } from "../codec.ts";
import type { SealedDatabase } from "../sealed-database.ts";
import { ringOf, snapshotNumbers, snapshotsIn } from "../snapshot-file.ts";
import { entrusted, nobody } from "./entrusted.ts";
import { beginChange, endChange, findKeks, type Kek, keyFileOf, makeKeyFile } from "./key-file.ts";
import { countStep, type Entrusted, encodeRing, merged, parseRing, Ring, type StoredRing } from "./ring.ts";
import { readEscrow, readRingFile, ringKey, writeEscrow, writeRingFile } from "./ring-file.ts";
import { escrowOf } from "./wrap.ts";

/** How often the age of the key and the count of its values are looked at. */
const lookMs = 60_000;
/** A sweep takes so many rows at a time, with this pause between: a store of 100,000 rows is done in a minute. */
const sweep = { rows: 100, pauseMs: 50 } as const;
/** The keys of so many changes that the disk has refused may lie on it; no other change is begun then. */
const keksMax = 4;

/**
 * The ring of a store: what its own row and the file beside it have together, else what the youngest snapshot has; undefined
 * when it is nowhere.
 */
export function storedRing(row: Uint8Array | undefined, dataDir: string): StoredRing | undefined {
  return merged(parseRing(row), readRingFile(dataDir)) ?? snapshotRing(dataDir);
}
function snapshotRing(dataDir: string): StoredRing | undefined {
  const folder = snapshotsIn(dataDir);
  for (const number of snapshotNumbers(folder)) {
    const ring = ringOf(join(folder, String(number)));
    if (ring) return ring;
  }
  return undefined;
}

/** Opens a ring with what lies in `dataDir`. Throws STORE_KEY_MISSING, STORE_KEY_LOOSE, STORE_KEY_UNREADABLE, STORE_KEY_WRONG, STORE_NEWER. */
export function openRing(stored: StoredRing, dataDir: string): { ring: Ring; kek: Kek } {
  const [kek, ...older] = keksIn(dataDir);
  return { ring: Ring.open(stored, [kek, ...older]), kek };
}

/** Every key that lies in `dataDir`, the one in use first. Throws STORE_KEY_MISSING, STORE_KEY_LOOSE, STORE_KEY_UNREADABLE. */
export function keksIn(dataDir: string): readonly [Kek, ...Kek[]] {
  const [kek, ...older] = findKeks({ dataDir });
  if (!kek) throw new Fault("STORE_KEY_MISSING", `there is no key for the store in '${dataDir}'`);
  return [kek, ...older];
}

/** A ring for a store that has none yet, with the key that is there or, when there is none, a new one. Not yet kept anywhere. */
export function makeRing(dataDir: string, owner: string, wallMs: number): { ring: Ring; kek: Kek } {
  const kek = findKeks({ dataDir })[0] ?? makeKeyFile(dataDir);
  const escrow = readEscrow(dataDir);
  return { ring: Ring.make(owner, kek, isFault(escrow) ? undefined : escrow, wallMs), kek };
}

/** The key is another one, and the disk has refused the last of what says so: the earlier one opens the store too, for now. */
export class HalfChanged extends Fault {
  /** Of the new key. */
  readonly id: string;

  constructor(id: string, cause: unknown) {
    const why = cause instanceof Error ? cause.message : cause;
    const saw = `the key-encryption key is ${id} from now on, but the earlier one opens the store too, until the disk takes it: ${why}`;
    super("STORE_WRITE_FAILED", saw, { cause });
    this.id = id;
  }
}

interface Parts {
  readonly raw: Database;
  readonly codec: Codec;
  readonly kek: Kek;
  readonly escrow: Entrusted;
  readonly notes: readonly string[];
  readonly dataDir: string;
  readonly clock: Clock;
}

/** See above. Whoever opens the store closes this before it. */
export class StoreKeys {
  readonly #raw: Database;
  readonly #codec: Codec;
  readonly #dataDir: string;
  readonly #clock: Clock;
  /** Whom all is wrapped for; several while it is not sure which of them a power cut leaves. The first is the newest. */
  #keks: readonly Kek[];
  #escrow: Entrusted;
  /** Values that the durable count covers. */
  #counted = countStep;
  #turn: Promise<void> = Promise.resolve();
  #cancel: Cancel = () => undefined;
  #wake: () => void = () => undefined;
  #closed = false;
  readonly #rewrapped = new Set<() => void>();

  /** What a person should know of the keys; empty when all was well. */
  readonly notes: readonly string[];

  private constructor({ raw, codec, kek, escrow, notes, dataDir, clock }: Parts) {
    this.#raw = raw;
    this.#codec = codec;
    this.#keks = [kek];
    this.notes = notes;
    this.#escrow = escrow;
    this.#dataDir = dataDir;
    this.#clock = clock;
  }

  /** Brings both copies of the ring up to date, wrapped for the key of today; drops what a change left that was cut short. */
  static async start(parts: Omit<Parts, "escrow" | "notes">): Promise<StoreKeys> {
    const { ring } = parts.codec;
    const { escrow, note } = entrusted(parts.dataDir, ring);
    const keys = new StoreKeys({ ...parts, escrow, notes: note === undefined ? [] : [note] });
    const wrapped = ring.isFor(parts.kek, escrow) ? ring : ring.rewrapped([parts.kek], escrow);
    await keys.#keep(wrapped.counted(countStep));
    rmSync(`${keyFileOf(parts.dataDir)}.new`, { force: true });
    return keys;
  }

  /** Looks after the keys from now on: a worn one is followed by the next, and the store is sealed anew behind it. */
  watch(database: SealedDatabase): void {
    const look = async () => {
      if (this.#codec.sealed > this.#counted - countStep / 2) await this.#count();
      const [kek, ...unsure] = this.#keks;
      if (kek && unsure.length === 0 && !this.#codec.ring.isFor(kek, this.#escrow)) await this.#wrapAlone(kek);
      if (this.#codec.ring.worn(this.#clock.wallMs())) await this.#rotate();
      if (this.#codec.ring.stored.swept < this.#codec.ring.current) await this.#sweep(database);
    };
    const again = (ms: number) => {
      if (this.#closed) return;
      this.#cancel = this.#clock.wakeAt(this.#clock.monotonicMs() + ms, () => {
        // What the disk refuses is said by the store; the next look tries again.
        void this.#inTurn(look).then(
          () => again(lookMs),
          () => again(lookMs),
        );
      });
    };
    again(0);
  }
  /** The next data key seals from now on. Resolves when that is durable; what is there is sealed anew by and by. */
  rotate(database: SealedDatabase): Promise<void> {
    return this.#inTurn(() => this.#rotate()).then(() => {
      this.#cancel();
      this.watch(database);
    });
  }
  /**
   * Another key-encryption key. Rejects with BAD_REQUEST when the service manager has it: then it is changed there; with
   * STORE_WRITE_FAILED when the disk refuses: the store then opens with the old key and with the new one, whichever lies there. It is
   * {@link HalfChanged} when the new one is in use all the same; the rest is tried again every minute, and at the next start.
   */
  rotateKek(): Promise<Kek> {
    return this.#inTurn(async () => {
      const before = this.#keks;
      const [old] = before;
      if (old?.is === "credential") {
        throw new Fault("BAD_REQUEST", `the key is the service manager's ('${old.from}'): change it there and restart`);
      }
      if (before.length >= keksMax) {
        throw new Fault(
          "STORE_WRITE_FAILED",
          "the disk has refused several changes: mend it and restart the agent first",
        );
      }
      const next = beginChange(this.#dataDir);
      await this.#keep(this.#codec.ring.rewrapped([next, ...before], this.#escrow));
      this.#keks = [next, ...before];
      endChange(this.#dataDir);
      this.#keks = [next];
      try {
        await this.#wrapAlone(next);
      } catch (error) {
        this.#tell(); // what was copied before does not open with the new key
        throw new HalfChanged(next.id, error);
      }
      return next;
    });
  }
  /** From now on the holder of this key can open the store too, and nobody who could before. Resolves with its id. Rejects with CONFIG_INVALID. */
  entrust(pem: string): Promise<string> {
    return this.#inTurn(async () => {
      const escrow = pem === nobody ? undefined : escrowOf(pem);
      // The file first where it goes: a ring without a holder would take the one of a file that stayed.
      if (!escrow) writeEscrow(this.#dataDir, undefined);
      await this.#keep(this.#codec.ring.rewrapped(this.#keks, escrow));
      this.#escrow = escrow;
      this.#tell();
      if (escrow) writeEscrow(this.#dataDir, escrow);
      return escrow?.id ?? nobody;
    });
  }
  /** The data key that seals. */
  get current(): number {
    return this.#codec.ring.current;
  }
  /** Called when the store got other holders: what was copied before still needs the earlier ones. Returns how to end that. */
  onRewrapped(wake: () => void): () => void {
    this.#rewrapped.add(wake);
    return () => this.#rewrapped.delete(wake);
  }
  /** Nobody but the holder of this key, and whom the store is entrusted to, opens it from now on. */
  async #wrapAlone(kek: Kek): Promise<void> {
    await this.#keep(this.#codec.ring.rewrapped([kek], this.#escrow));
    this.#tell();
  }
  #tell(): void {
    for (const wake of this.#rewrapped) wake();
  }
  /** What a snapshot has to hold beside the rows. */
  stored(): StoredRing {
    return this.#codec.ring.stored;
  }
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancel();
    this.#wake();
    await this.#turn;
    this.#cancel();
  }

  async #count(): Promise<void> {
    await this.#keep(this.#codec.ring.counted(countStep));
    this.#counted += countStep;
  }
  async #rotate(): Promise<void> {
    await this.#keep(this.#codec.ring.rotated(this.#keks, this.#escrow, this.#clock.wallMs()));
  }
  async #sweep(database: SealedDatabase): Promise<void> {
    const target = this.#codec.ring.current;
    for (let at: string | undefined = "a"; at !== undefined && !this.#closed; ) {
      at = await database.resealSome(at, sweep.rows);
      await this.#pause(sweep.pauseMs);
    }
    if (this.#closed) return;
    await this.#keep(this.#codec.ring.swept(target));
    // What the older key sealed is in files that LevelDB would drop some day.
    await this.#raw.compact({ gte: "a", lt: "\x7f" });
  }
  /** Durable in both places, then used. The file first: the store may be in trouble, and then nothing is sealed either. */
  async #keep(ring: Ring): Promise<void> {
    const bytes = encodeRing(ring.stored);
    writeRingFile(this.#dataDir, ring.stored);
    await this.#raw.submit({ build: () => [{ type: "put", key: ringKey, value: bytes }] }, true);
    this.#codec.ring = ring;
  }
  /** Ends early when the store is closed. */
  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#clock.wakeAt(this.#clock.monotonicMs() + ms, resolve);
      this.#wake = () => {
        cancel();
        resolve();
      };
    });
  }
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.then(
      () => undefined,
      () => undefined,
    );
    return done;
  }
}
