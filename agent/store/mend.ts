/**
 * Mends the store of a data directory that no agent has open, or leaves it exactly as it is.
 *
 *   look (inspect.ts) ─▶ choose the ways (mend-choice.ts, pure) ─▶ make the new store beside the old one
 *        ─▶ drop what cannot be read, keep at rest what a person stopped ─▶ swap; the old one is kept as store.damaged-<time>
 *
 * What comes out is another life of the node: the next opening gives it a new generation and the next incarnation, and
 * `meta/restored` says since when and from what. The first audit record of that life says it too.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Fault, isFault, unreachable } from "@blueflame/shared/errors/fault.ts";
import { AuditOutcome, AuditRecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { uuid7 } from "@blueflame/shared/ids/uuid7.ts";
import type { Random } from "@blueflame/shared/random/random.ts";
import { takeLock } from "@blueflame/shared/store/level/lock.ts";
import { type Place, placeOf } from "@blueflame/shared/store/level/opening.ts";
import { endSwap, type Making, type Remade, remake } from "@blueflame/shared/store/level/remake.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { create } from "@bufbuild/protobuf";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { openAgentStore } from "./agent-store.ts";
import { bookAgain } from "./booked-again.ts";
import { Codec, isDamage, textOf } from "./codec.ts";
import type { Mirror } from "./deferred-mirror.ts";
import { type Form, formOf, sealedForm, storeFormat } from "./form.ts";
import { giveUp, standingOf } from "./going-back.ts";
import { identityKey, type Stored, storedIdentity } from "./identity.ts";
import { type Inspected, inspect, unreadableIn } from "./inspect.ts";
import { encodeRing } from "./keys/ring.ts";
import { ringKey } from "./keys/ring-file.ts";
import { makeRing, openRing, storedRing } from "./keys/store-keys.ts";
import { overlayLog } from "./log-overlay.ts";
import { type Choice, choose, chooseRestore, copiesMax, tooMany, type Way } from "./mend-choice.ts";
import { heir, restAgain } from "./next-life.ts";
import { unreadable } from "./readable.ts";
import { newestGood } from "./snapshot.ts";
import { type Entry, entriesOf, snapshotsIn, verifySnapshot } from "./snapshot-file.ts";
import { checkOf, snapshotForm } from "./snapshot-form.ts";
import { fill } from "./snapshot-rehearsal.ts";
import { checkDirThere, neverThere } from "./there.ts";
import { layOver, standOf } from "./younger.ts";

const notesMax = 10;

export interface MendOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Who mends, for the audit: `agent`, `emergency`, `person:NAME`. */
  readonly actor: string;
  readonly bootId: string;
  /** Whose an empty store becomes when nothing else tells. */
  readonly defaultNodeId: string;
  readonly isAtRest: (state: unknown) => boolean;
  /** The store is an older copy that was put back and may have gone on since: nobody knows what its last seqs name at the hub. */
  readonly doubted?: boolean;
  /** What is known of the store from outside; absent: what lies beside it. */
  readonly mirror?: Mirror | undefined;
  /** Told what a person's word gives up, before anything is changed. */
  readonly tell?: (lines: readonly string[]) => void;
}

/** What a person asked for; without it, whatever the findings ask for is done. */
export type Wish =
  /** A sound store too begins a new life: what a copy that was put back by hand needs before the hub takes its word. */
  | { readonly is: "newLife" }
  /** The snapshot in this folder, or the youngest good one where a repair would take it too; `above`: a life that somebody elsewhere knows of, which must be over. */
  | { readonly is: "restore"; readonly from: string | undefined; readonly above?: bigint }
  /** An empty store: all that no snapshot holds is given up. Only a person may ask for it. */
  | { readonly is: "empty" };

/** How it ended. */
export interface Mended {
  /** `absent`: there never was one; the first start makes it. */
  readonly is: "sound" | "absent" | "mended";
  readonly by: Way | "empty" | undefined;
  readonly because: string;
  /** Where the damaged store lies now. */
  readonly kept: string | undefined;
  readonly notes: readonly string[];
}

/**
 * Throws STORE_LOCKED, STORE_NEWER, DATA_DIR_UNUSABLE, DATA_DIR_OF_ANOTHER, STORE_MISSING and STORE_DAMAGED when no way is
 * left, STORE_WRITE_FAILED when the disk refuses; for a wish also NOT_FOUND, SNAPSHOT_DAMAGED, STORE_HOLDS_MORE and LIMIT_REACHED.
 * The store is then as it was.
 */
export async function mendStore(dataDir: string, options: MendOptions, wish?: Wish): Promise<Mended> {
  const place = placeOf(join(dataDir, "store"));
  checkPlaces(dataDir, wish);
  const beganWallMs = options.clock.wallMs();
  const done = await underLock(place, options, async () => {
    // Whoever names a snapshot or asks for an empty store has given up what this one holds; a key that is wrong is no damage.
    const givenUp = wish?.is === "empty" || snapshotNamed(wish) !== undefined;
    const found = await inspect(dataDir, place, givenUp, options.mirror);
    const choice = wish ? wished(wish, found, dataDir) : choose(found);
    if (choice.is === "leave") {
      const is = choice.because === "sound" ? "sound" : "absent";
      return { is, by: undefined, because: choice.because, kept: undefined, notes: found.notes } as const;
    }
    if (choice.is === "refuse") throw new Fault(choice.code, withNotes(choice.because, found.notes));
    return tryAll(choice.ways, choice.because, { dataDir, place, found, options, wish });
  });
  if (done.is === "mended") await record(dataDir, options, done, beganWallMs);
  return done;
}

/** Looks only. The same faults as {@link mendStore}, and those of a store that would have to be mended. */
export async function verifyStore(dataDir: string, options: MendOptions): Promise<Inspected> {
  const place = placeOf(join(dataDir, "store"));
  checkDirThere(dataDir);
  return underLock(place, options, () => inspect(dataDir, place));
}

/** Who brings a snapshot from elsewhere, or begins with nothing, may do so where nothing is yet. */
function checkPlaces(dataDir: string, wish: Wish | undefined): void {
  const named = snapshotNamed(wish);
  if (named === undefined) {
    if (wish?.is !== "empty") checkDirThere(dataDir);
  } else if (!existsSync(named)) throw new Fault("NOT_FOUND", `there is no snapshot '${named}'`);
}

/** The snapshot that a person has chosen himself. */
function snapshotNamed(wish: Wish | undefined): string | undefined {
  return wish?.is === "restore" ? wish.from : undefined;
}

async function underLock<T>(place: Place, { clock }: MendOptions, work: () => Promise<T>): Promise<T> {
  try {
    const lock = takeLock(place.lock);
    try {
      endSwap(place, clock.wallMs());
      return await work();
    } finally {
      lock.release();
    }
  } catch (error) {
    throw diskFault(place.path, error);
  }
}

function diskFault(path: string, error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  if (["ENOSPC", "EDQUOT", "EIO"].includes(code)) {
    return new Fault("STORE_WRITE_FAILED", `cannot mend '${path}': ${code}`, { cause: error });
  }
  if (["EACCES", "EROFS", "EPERM", "ENOTDIR"].includes(code)) {
    return new Fault("DATA_DIR_UNUSABLE", `cannot mend '${path}': ${code}`, { cause: error });
  }
  return error;
}

type Wished = Choice | { readonly is: "mend"; readonly ways: readonly (Way | "empty")[]; readonly because: string };

function wished(wish: Wish, found: Inspected, dataDir: string): Wished {
  if (found.copies >= copiesMax && found.files !== "absent") throw new Fault("LIMIT_REACHED", tooMany(found.copies));
  switch (wish.is) {
    case "newLife":
      return { is: "mend", ways: ["reopen"], because: "a new life was asked for" };
    case "restore": {
      if (wish.from !== undefined) return { is: "mend", ways: ["restore"], because: "a snapshot was asked for" };
      const choice = chooseRestore(found);
      if (choice.is !== "leave") return choice;
      return { is: "refuse", code: "NOT_FOUND", because: neverThere(dataDir) };
    }
    case "empty":
      return { is: "mend", ways: ["empty"], because: "an empty store was asked for" };
    default:
      return unreachable(wish);
  }
}

interface Task {
  readonly dataDir: string;
  readonly place: Place;
  readonly found: Inspected;
  readonly options: MendOptions;
  readonly wish: Wish | undefined;
}

async function tryAll(ways: readonly (Way | "empty")[], because: string, task: Task): Promise<Mended> {
  const notes: string[] = [...task.found.notes];
  for (const by of ways) {
    const done: string[] = [];
    try {
      const kept = await mendBy(by, task, notes, done);
      return { is: "mended", by, because, kept, notes: [...notes, ...done].slice(0, notesMax) };
    } catch (error) {
      if (!isDamage(error) && !isFault(error, "STORE_MISSING")) throw error;
      notes.push(`${by} was of no use: ${error.saw}`);
    }
  }
  if (snapshotNamed(task.wish) !== undefined) throw new Fault("SNAPSHOT_DAMAGED", withNotes(because, notes));
  const code = task.found.files === "absent" ? "STORE_MISSING" : "STORE_DAMAGED";
  throw new Fault(code, withNotes(because, notes));
}

function withNotes(because: string, notes: readonly string[]): string {
  return [because, ...notes.slice(0, notesMax)].join("; ");
}

/** `notes`: why a snapshot was not taken; `done`: what came of this way, if it comes to its end. */
async function mendBy(by: Way | "empty", task: Task, notes: string[], done: string[]): Promise<string | undefined> {
  const { dataDir, place, found, options, wish } = task;
  const source = by === "restore" ? await snapshotFor(task, notes) : undefined;
  const named = snapshotNamed(wish) !== undefined;
  const than = source !== undefined && !named ? await standOf(source, dataDir) : undefined;
  const standing = by === "restore" || by === "empty" ? await standingOf(place, found, dataDir, than) : undefined;
  const made = await remake(place, makingOf(by, found), storeFormat);
  try {
    const wallMs = options.clock.wallMs();
    const form = source ? await refill(made, source, dataDir, wallMs) : await formFor(by, made, task);
    if (standing?.younger && form.codec) done.push(...(await layOver(made.handle, form, standing.younger)));
    if (source && form.codec && !named) {
      const later = await overlayLog(made.handle, place.path, form);
      if (later > 0) done.push(`${later} later writes of its log are in it`);
    }
    if (by !== "empty") done.push(...(await bookAgain(made.handle, form)));
    if (standing) {
      const given = await giveUp(standing, made.handle, form, named ? source : undefined);
      if (wish) options.tell?.(given);
      done.push(...given);
    }
    if (form.codec) await keepRing(made, form.codec);
    await settle(made, form, by, source, task, done);
    return await made.finish(wallMs);
  } catch (error) {
    await made.drop();
    throw error;
  }
}

/** How the rows of the new store are written. Throws STORE_DAMAGED when nobody can read them, and the faults of the key. */
async function formFor(by: Way | "empty", { handle }: Remade, task: Pick<Task, "dataDir" | "options">): Promise<Form> {
  if (by === "empty") return sealedForm(emptyCodec(task));
  const form = await formOf(handle, task.dataDir);
  if (form) return form;
  throw new Fault("STORE_DAMAGED", "the data keys are gone, in the store and beside it");
}

/** The keys that are there go on; where nobody can open them any more, a person has just given up what they sealed. */
function emptyCodec({ dataDir, options }: Pick<Task, "dataDir" | "options">): Codec {
  try {
    const stored = storedRing(undefined, dataDir);
    if (stored) return new Codec(openRing(stored, dataDir).ring);
  } catch (error) {
    if (!isFault(error, "STORE_KEY_MISSING") && !isFault(error, "STORE_KEY_WRONG")) throw error;
  }
  const wallMs = options.clock.wallMs();
  return new Codec(makeRing(dataDir, uuid7(wallMs, options.random), wallMs).ring);
}

/** Also what an older key sealed may be in it: the next opening looks through all of it. */
async function keepRing({ handle }: Remade, codec: Codec): Promise<void> {
  await handle.put(ringKey, encodeRing(codec.ring.swept(0).stored), { sync: true });
}

function makingOf(by: Way | "empty", found: Inspected): Making {
  if (by === "reopen") return { by };
  if (by !== "repair") return { by: "nothing" };
  return { by, without: found.damage.filter(({ part }) => part !== "index").map(({ file }) => file) };
}

async function snapshotFor({ dataDir, wish }: Task, notes: string[]): Promise<string> {
  if (wish?.is === "restore" && wish.from !== undefined) return wish.from;
  const { place, refused } = await newestGood(snapshotsIn(dataDir), (one) => checkOf(one, dataDir));
  notes.push(...refused);
  if (place === undefined) throw new Fault("STORE_MISSING", "there is no snapshot that can be used");
  return place;
}

/** Everything of a snapshot; one with plain values is sealed on the way. */
async function refill(made: Remade, source: string, dataDir: string, wallMs: number): Promise<Form> {
  const from = await snapshotForm(source, dataDir);
  const manifest = await verifySnapshot(source, (key, sealed) => unreadable(from, key, sealed));
  if (from.codec) {
    await fill(made.handle, entriesOf(source, manifest), true);
    return from;
  }
  const stored = storedRing(undefined, dataDir);
  const { ring } = stored ? openRing(stored, dataDir) : makeRing(dataDir, manifest.owner, wallMs);
  const form = sealedForm(new Codec(ring));
  await fill(made.handle, sealing(entriesOf(source, manifest), from, form), true);
  return form;
}
async function* sealing(entries: AsyncIterable<Entry>, from: Form, to: Form): AsyncGenerator<Entry> {
  for await (const [place, bytes] of entries) {
    const { key, value } = from.open(place, bytes);
    const write = to.put(key, value);
    if (write.type === "put") yield [write.key, write.value];
  }
}

/** Makes the rows of the new store those of its next life. */
async function settle(
  made: Remade,
  form: Form,
  by: Way | "empty",
  source: string | undefined,
  task: Task,
  notes: string[],
): Promise<void> {
  const { found, options } = task;
  const { handle } = made;
  const put = (key: string, text: string) => form.put(key, Buffer.from(text));
  const broken = await unreadableIn(handle, form);
  for (const { key } of broken) await handle.del(key);
  if (broken.length > 0)
    notes.push(`${broken.length} values could not be read and are not in it, as ${broken[0]?.saw}`);
  const sealed = await handle.get(identityKey);
  const stored = sealed && storedIdentity(form.open(identityKey, sealed).value);
  const doubted = options.doubted === true || task.wish?.is === "newLife";
  const identity = { ...heirOf(stored, task, by), ...(doubted && { doubted }) };
  const changes = restAgain(
    await statesIn(made, form),
    found.mirror?.resting ?? {},
    options.isAtRest,
    isOlder(by, found.mirror),
  );
  const restored = { wallMs: Math.floor(options.clock.wallMs()), by, ...(source && { from: source }) };
  await handle.batch(
    [
      put(identityKey, JSON.stringify(identity)),
      put("meta/restored", JSON.stringify(restored)),
      ...changes.map(({ workload, state }) =>
        state === undefined
          ? ({ type: "del", key: `workload/${workload}` } as const)
          : put(`workload/${workload}`, JSON.stringify(state)),
      ),
    ],
    { sync: true } as object,
  );
}

/** Without a mirror nothing tells what was started since. */
function isOlder(by: Way | "empty", mirror: Mirror | undefined): boolean {
  return by === "restore" && mirror !== undefined;
}

function heirOf(stored: Stored | undefined, { found, wish, options }: Task, by: Way | "empty"): Stored {
  if (stored && found.mirror && stored.nodeId !== found.mirror.nodeId) {
    const saw = `the snapshot belongs to '${stored.nodeId}', this directory to '${found.mirror.nodeId}'`;
    throw new Fault("DATA_DIR_OF_ANOTHER", saw);
  }
  const known = heir(stored, found.mirror);
  const above = wish?.is === "restore" ? (wish.above ?? 0n) : 0n;
  if (known) return BigInt(known.incarnation) < above ? { ...known, incarnation: String(above) } : known;
  if (wish?.is !== "empty") throw new Fault("STORE_DAMAGED", `after ${by} nothing says whose the store is`);
  const generation = uuid7(options.clock.wallMs(), options.random);
  return {
    nodeId: options.defaultNodeId,
    generation,
    owner: generation,
    incarnation: "0",
    session: "0",
    bootId: "",
    repairs: -1,
  };
}

async function statesIn({ handle }: Remade, form: Form): Promise<Map<string, unknown>> {
  const rows = await handle.iterator({ gte: "workload/", lt: "workload0" }).all();
  return new Map(
    rows.map(([place, sealed]) => {
      const { key, value } = form.open(place, sealed);
      return [key.slice("workload/".length), JSON.parse(textOf(value))];
    }),
  );
}

/** The first words of the new life. A disk that refuses them has the mended store all the same. */
async function record(dataDir: string, options: MendOptions, done: Mended, beganWallMs: number): Promise<void> {
  const { clock, random, bootId, actor } = options;
  const store = await openAgentStore(dataDir, { clock, random, bootId, nodeId: undefined });
  const wallMs = clock.wallMs();
  try {
    const { nodeId, generation, incarnation } = store.identity;
    await store.appendAudit([
      create(AuditRecordSchema, {
        id: uuid7(wallMs, random),
        at: timestampFromMs(Math.round(wallMs)),
        actor,
        action: `store.${done.by}`,
        target: `node/${nodeId}`,
        because: withNotes(done.because, done.notes),
        outcome: AuditOutcome.SUCCESS,
        took: durationFromMs(Math.max(0, Math.round(wallMs - beganWallMs))),
        beforeJson: JSON.stringify({ life: Number(incarnation) - 1 }),
        afterJson: JSON.stringify({ life: Number(incarnation), generation }),
        nodeId,
      }),
    ]);
  } finally {
    await store.close();
  }
}
