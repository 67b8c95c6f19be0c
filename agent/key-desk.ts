import type { AuditRecord } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import type { Random } from "@blueflame/shared/random/random.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { keyChanged } from "./store/key-audit.ts";
import { HalfChanged } from "./store/keys/store-keys.ts";
import type { AgentStore } from "./store/ports.ts";

/** What was done while the disk refused is tried to be written down for an hour; after that it stood in the error of whoever did it only. */
const auditAgainMs = 5_000;
const auditTries = 720;

interface Parts {
  readonly store: AgentStore;
  readonly clock: Clock;
  readonly random: Random;
}

/**
 * Changes a key of the open store for a person, and tells the audit: also when the change came only so far, as soon as the disk takes that.
 * Resolves with the new key's id. Rejects as `AgentStore.rotateKey` and `entrust` do.
 */
export async function changeStoreKey(
  { store, clock, random }: Parts,
  change: { readonly which: "data" | "kek"; readonly escrowPem: string; readonly person: string },
): Promise<string> {
  const told = { ...change, nodeId: store.identity.nodeId, clock, random };
  try {
    const id = await (change.escrowPem === "" ? store.rotateKey(change.which) : store.entrust(change.escrowPem));
    await store.appendAudit([keyChanged({ ...told, id })]);
    return id;
  } catch (error) {
    if (error instanceof HalfChanged)
      auditLater(store, clock, keyChanged({ ...told, id: error.id, but: error.saw }), auditTries);
    throw error;
  }
}

function auditLater(store: AgentStore, clock: Clock, record: AuditRecord, tries: number): void {
  store.appendAudit([record]).catch(() => {
    if (tries > 1) clock.wakeAt(clock.monotonicMs() + auditAgainMs, () => auditLater(store, clock, record, tries - 1));
  });
}
