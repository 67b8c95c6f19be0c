import { join } from "node:path";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import type { KeptSnapshot } from "@blueflame/shared/gen/blueflame/link/v1/snapshot_service_pb.ts";
import type { Cancel, Clock } from "@blueflame/shared/time/clock.ts";
import { durationMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { manifestOf, type SnapshotManifest, snapshotNumbers, snapshotsIn } from "../store/snapshot-file.ts";
import { type Parcel, parcelOf, partBytes } from "../store/snapshot-parcel.ts";
import type { HubTarget, LinkView, UplinkLog } from "./ports.ts";
import { lineFault, type SnapshotLine, snapshotLine } from "./snapshot-line.driver.ts";

/** Between two looks whether the hub has the youngest one. */
const lookMs = 60_000;
/** No faster than so many bytes a second, however fast hub and line are: the node has other things to say. */
const bytesPerSecond = 512 * 1024;
/** A part that brings it no further is sent so often. */
const stuckMax = 3;
const earlyMs = 1000;
/** What the hub has refused so often in a row is not offered again for so long, unless there is another one by then. */
const refusedMax = 3;
const refusedMs = 1_800_000;
/** A hub that asks for a longer break than this is wrong. */
const waitMaxMs = 60_000;

export interface SnapshotSendingOptions {
  readonly target: HubTarget;
  readonly dataDir: string;
  readonly link: () => LinkView;
  readonly clock: Clock;
  readonly log: UplinkLog;
  readonly lookMs?: number;
}

/**
 * Brings the youngest snapshot of the store to the hub while the link stands: part after part, going on where it was cut, paced by
 * both sides. One whose values are not sealed never leaves the node. Whatever fails is tried again at the next look, and said once.
 * Whoever started it closes it.
 */
export function sendSnapshots(options: SnapshotSendingOptions): { close(): Promise<void> } {
  const { clock, log } = options;
  let closed = false;
  let cancel: Cancel = () => undefined;
  let working: Promise<void> = Promise.resolve();
  let said: string | undefined;
  let line: SnapshotLine | undefined;
  let wake: () => void = () => undefined;
  const pause = (ms: number) =>
    new Promise<void>((resolve) => {
      const stop = clock.wakeAt(clock.monotonicMs() + ms, resolve);
      wake = () => {
        stop();
        resolve();
      };
    });
  let last: { readonly place: string; readonly parcel: Parcel } | undefined;
  let refused: { readonly place: string; readonly times: number; readonly untilMs: number } | undefined;
  /** Wrapping one reads all of it twice: not at every look. */
  const parcelAt = async (place: string): Promise<Parcel> => {
    const { sha256, takenWallMs } = await manifestOf(place);
    const held = last?.place === place ? last.parcel : undefined;
    if (held?.manifest.sha256 === sha256 && held.manifest.takenWallMs === takenWallMs) return held;
    last = { place, parcel: await parcelOf(place) };
    return last.parcel;
  };
  const look = async () => {
    const { state, hub } = options.link();
    if (state !== "connected") return;
    let place: string | undefined;
    try {
      const [youngest] = snapshotNumbers(snapshotsIn(options.dataDir));
      place = youngest === undefined ? undefined : join(snapshotsIn(options.dataDir), String(youngest));
      if (refused && refused.place === place && clock.monotonicMs() < refused.untilMs) return;
      line = snapshotLine(options.target, hub);
      await send(line, options.dataDir, parcelAt, pause, () => closed);
      said = undefined;
      refused = undefined;
    } catch (failed) {
      const error = lineFault(failed);
      if (place !== undefined && isFault(error, "LIMIT_REACHED")) {
        const times = (refused?.place === place ? refused.times : 0) + 1;
        refused = { place, times, untilMs: times < refusedMax ? 0 : clock.monotonicMs() + refusedMs };
      } else last = undefined; // the disk may say something else by now
      const because = isFault(error) ? error.message : String(error);
      if (because !== said && !closed) log.warn({ hub }, `no snapshot of the store is kept at the hub: ${because}`);
      said = because;
    } finally {
      line?.close();
      line = undefined;
    }
  };
  const later = (ms: number) => {
    cancel = clock.wakeAt(clock.monotonicMs() + ms, () => {
      working = look().then(() => {
        if (!closed) later(options.lookMs ?? lookMs);
      });
    });
  };
  later(options.lookMs ?? lookMs);
  return {
    async close() {
      closed = true;
      cancel();
      wake();
      line?.close(); // what is asked ends with it
      await working;
      cancel();
    },
  };
}

/** Sends what is on its way and still here, else the youngest one. */
async function send(
  { service, within }: SnapshotLine,
  dataDir: string,
  parcelAt: (place: string) => Promise<Parcel>,
  pause: (ms: number) => Promise<void>,
  left: () => boolean,
): Promise<void> {
  const numbers = snapshotNumbers(snapshotsIn(dataDir));
  if (numbers.length === 0) return;
  const { snapshots: kept, bytesMax } = await service.listSnapshots({}, within);
  checkSize(await manifestOf(join(snapshotsIn(dataDir), String(numbers[0]))), Number(bytesMax));
  const parcel = await chosen(dataDir, parcelAt, numbers, kept);
  const at = kept.find(({ id }) => id === parcel.id);
  if (at && at.storedBytes === at.bytes) return;
  const { manifest } = parcel;
  const snapshot = {
    id: parcel.id,
    takenAt: timestampFromMs(manifest.takenWallMs),
    incarnation: BigInt(manifest.incarnation),
    storeGeneration: manifest.generation,
    bytes: BigInt(parcel.bytes),
  };
  let stuck = 0;
  for (let offset = Number(at?.storedBytes ?? 0); offset < parcel.bytes && !left(); ) {
    const data = await parcel.part(offset);
    const answer = await service.putSnapshotPart({ snapshot, offset: BigInt(offset), data }, within).catch((error) => {
      // Too early: an agent before this one has sent, and how long the hub wants to wait was told to that one.
      if (!isFault(lineFault(error), "LIMIT_REACHED") || ++stuck > stuckMax) throw error;
      return undefined;
    });
    if (!answer) {
      await pause(earlyMs);
      continue;
    }
    const { storedBytes, wait } = answer;
    if (Number(storedBytes) <= offset && ++stuck > stuckMax) {
      throw new Fault("LINK_PROTOCOL", `the hub stays at ${storedBytes} of ${parcel.bytes} bytes`);
    }
    offset = Number(storedBytes);
    const ownMs = (data.byteLength * 1000) / bytesPerSecond;
    if (offset < parcel.bytes) await pause(Math.max(ownMs, Math.min(wait ? durationMs(wait) : 0, waitMaxMs)));
  }
}

/** One that the hub would refuse is neither wrapped nor offered. */
function checkSize({ bytes }: SnapshotManifest, bytesMax: number): void {
  if (bytesMax === 0 || bytes <= bytesMax) return;
  throw new Fault("LIMIT_REACHED", `the youngest has ${bytes} bytes, the hub takes at most ${bytesMax}`);
}

async function chosen(
  dataDir: string,
  parcelAt: (place: string) => Promise<Parcel>,
  numbers: readonly number[],
  kept: readonly KeptSnapshot[],
): Promise<Parcel> {
  const [youngest = 0, ...others] = numbers;
  const place = (number: number) => join(snapshotsIn(dataDir), String(number));
  const begun = kept.find(({ storedBytes, bytes }) => storedBytes < bytes && Number(bytes) > partBytes);
  for (const number of begun ? others : []) {
    const one = await parcelAt(place(number)).catch(() => undefined);
    if (one?.id === begun?.id && one) return one;
  }
  return parcelAt(place(youngest));
}
