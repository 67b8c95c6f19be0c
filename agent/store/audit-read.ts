import { join } from "node:path";
import type { ChainHeader } from "@blueflame/shared/audit/check.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { type AuditRecord, AuditRecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { takeLock } from "@blueflame/shared/store/level/lock.ts";
import { type Handle, placeOf, reopenHandle } from "@blueflame/shared/store/level/opening.ts";
import { fromBinary } from "@bufbuild/protobuf";
import { keeps } from "./agent-store.ts";
import { headerOf, type SignedHeads, signedKey, standKey, standOf } from "./audit-stand.ts";
import { textOf } from "./codec.ts";
import { type Form, formOf } from "./form.ts";
import { identityKey, storedIdentity } from "./identity.ts";
import { checkStoreThere } from "./there.ts";

/**
 * The audit in a data directory that no agent has open: how its chain stands, and its records, oldest first; nothing is written.
 * Throws NOT_FOUND and STORE_MISSING where there is no store, STORE_LOCKED, STORE_DAMAGED and the faults of a record, STORE_NEWER, DATA_DIR_UNUSABLE, and those of the store's keys.
 */
export async function withAuditAtRest<T>(
  dataDir: string,
  use: (header: ChainHeader, records: AsyncIterable<AuditRecord>) => Promise<T>,
): Promise<T> {
  checkStoreThere(dataDir);
  const place = placeOf(join(dataDir, "store"));
  const lock = takeLock(place.lock);
  try {
    const handle = await reopenHandle(place, {});
    try {
      const form = await formOf(handle, dataDir);
      if (!form) throw new Fault("STORE_DAMAGED", "the keys of the store are gone, and its values with them");
      return await use(await headerAtRest(handle, form, place.path), recordsAtRest(handle, form));
    } finally {
      await handle.close();
    }
  } finally {
    lock.release();
  }
}

async function headerAtRest(handle: Handle, form: Form, path: string): Promise<ChainHeader> {
  const read = async (key: string) => {
    const bytes = await handle.get(key);
    return bytes && form.open(key, bytes).value;
  };
  const identity = await read(identityKey);
  if (!identity) throw new Fault("STORE_DAMAGED", `'${path}' does not say whose it is`);
  const { nodeId } = storedIdentity(identity);
  const stand = await read(standKey);
  const signed = await read(signedKey);
  if (stand) {
    const heads = signed ? (JSON.parse(textOf(signed)) as SignedHeads) : { heads: [], told: {} };
    return headerOf(nodeId, standOf(textOf(stand)), heads, keeps.audit);
  }
  let records = 0;
  for await (const _ of handle.keys(all)) records += 1;
  return { nodeId, source: "node", chains: [], chainless: { hash: "", records }, signed: [] };
}

async function* recordsAtRest(handle: Handle, form: Form): AsyncGenerator<AuditRecord> {
  for await (const [place, bytes] of handle.iterator(all)) {
    yield fromBinary(AuditRecordSchema, form.open(place, bytes).value);
  }
}

const all = { gte: "audit/", lt: "audit0" };
