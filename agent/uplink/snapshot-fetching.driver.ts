import { statfs } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import type { KeptSnapshot } from "@blueflame/shared/gen/blueflame/link/v1/snapshot_service_pb.ts";
import { makeFolder } from "@blueflame/shared/store/folder.ts";
import { Arriving, arrivedBytes, parcelMax, partBytes } from "../store/snapshot-parcel.ts";
import type { HubTarget } from "./ports.ts";
import { lineFault, type SnapshotLine, snapshotLine } from "./snapshot-line.driver.ts";

/** Asked too early, so often it is asked again, a while later. */
const earlyMax = 30;
const earlyMs = 2000;

/** A snapshot that was brought here. */
export interface Fetched {
  /** The highest life of this node that the hub knows. */
  readonly highestIncarnation: bigint;
  /** Its folder, among the others. */
  readonly place: string;
  readonly id: string;
}

/**
 * Brings the last whole snapshot of this node from the hub into its data directory, or the one whose id begins with `wanted`, and checks
 * it; a try that was cut goes on where it was. Rejects with NOT_FOUND, STORE_DAMAGED, HUB_UNREACHABLE, and the hub's Fault.
 */
export function fetchSnapshot(target: HubTarget, dataDir: string, wanted: string | undefined): Promise<Fetched> {
  return atSome(target, async (line) => {
    const answer = await line.service.listSnapshots({}, line.within);
    const whole = answer.snapshots.filter(({ storedBytes, bytes }) => storedBytes === bytes);
    const one = wanted === undefined ? whole[0] : whole.find(({ id }) => id.startsWith(wanted));
    if (!one)
      throw new Fault(
        "NOT_FOUND",
        wanted === undefined
          ? "the hub keeps no snapshot of this node"
          : `the hub keeps no snapshot '${wanted}' of this node`,
      );
    await checkRoom(dataDir, Number(one.bytes), await arrivedBytes(dataDir, one.id));
    const arriving = await Arriving.begin(dataDir, one.id);
    try {
      await bring(line, one, arriving);
    } catch (error) {
      await arriving.close();
      throw error;
    }
    return { highestIncarnation: answer.highestIncarnation, place: await arriving.finish(), id: one.id };
  });
}

/** Throws when so much cannot come, of which `arrived` bytes lie here already: what a hub says is not believed. More than a store may have is no snapshot of one, and the disk is not filled with it. */
export async function checkRoom(dataDir: string, bytes: number, arrived = 0): Promise<void> {
  if (bytes < 1 || bytes > parcelMax)
    throw new Fault("STORE_DAMAGED", `the hub names a snapshot of ${bytes} bytes; there is none above ${parcelMax}`);
  makeFolder(dataDir);
  const { bavail, bsize } = await statfs(dataDir);
  // As it comes, and unwrapped.
  const needed = 2 * bytes - Math.min(arrived, bytes);
  if (bavail * bsize < needed)
    throw new Fault("STORE_WRITE_FAILED", `the snapshot needs ${needed} more bytes, ${bavail * bsize} are free`);
}

async function bring({ service, within }: SnapshotLine, one: KeptSnapshot, arriving: Arriving): Promise<void> {
  let early = 0;
  while (arriving.bytes < Number(one.bytes)) {
    const request = { id: one.id, offset: BigInt(arriving.bytes) };
    const answer = await service.getSnapshotPart(request, within).catch((error: unknown) => {
      // Another one asks under this name too: the hub gives each node so much a second.
      if (!isFault(lineFault(error), "LIMIT_REACHED") || ++early > earlyMax) throw error;
      return undefined;
    });
    if (!answer) {
      await pause(earlyMs);
      continue;
    }
    const { data } = answer;
    const expected = Math.min(partBytes, Number(one.bytes) - arriving.bytes);
    if (data.byteLength !== expected)
      throw new Fault("STORE_DAMAGED", `the hub sent ${data.byteLength} of ${expected} bytes`);
    await arriving.add(data);
  }
}

async function atSome<T>(target: HubTarget, work: (line: SnapshotLine) => Promise<T>): Promise<T> {
  let last: unknown = new Fault("HUB_UNREACHABLE", "no hub is configured");
  for (const address of target.addresses) {
    const line = snapshotLine(target, address);
    try {
      return await work(line);
    } catch (error) {
      const fault = lineFault(error);
      if (!isFault(fault, "HUB_UNREACHABLE")) throw fault;
      last = fault;
    } finally {
      line.close();
    }
  }
  throw last;
}
