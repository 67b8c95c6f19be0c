import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import type { KeptSnapshot } from "@blueflame/shared/gen/blueflame/link/v1/snapshot_service_pb.ts";
import { Arriving, partBytes } from "../store/snapshot-parcel.ts";
import type { HubTarget } from "./ports.ts";
import { lineFault, type SnapshotLine, snapshotLine } from "./snapshot-line.driver.ts";

/** A snapshot that was brought here. */
interface Fetched {
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

async function bring({ service, within }: SnapshotLine, one: KeptSnapshot, arriving: Arriving): Promise<void> {
  while (arriving.bytes < Number(one.bytes)) {
    const { data } = await service.getSnapshotPart({ id: one.id, offset: BigInt(arriving.bytes) }, within);
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
