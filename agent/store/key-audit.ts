import {
  AuditOutcome,
  type AuditRecord,
  AuditRecordSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { uuid7 } from "@blueflame/shared/ids/uuid7.ts";
import type { Random } from "@blueflame/shared/random/random.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { nobody } from "./keys/entrusted.ts";

/** What the audit says of a changed key: its id, which tells nothing to whoever does not have it. */
export function keyChanged(change: {
  readonly which: "data" | "kek";
  /** Empty: a key was changed; else it was entrusted to this one. */
  readonly escrowPem: string;
  readonly id: string;
  readonly person: string;
  /** What is not as it should be, although the key is changed. */
  readonly but?: string;
  readonly nodeId: string;
  readonly clock: Clock;
  readonly random: Random;
}): AuditRecord {
  const { which, escrowPem, id, person, but, nodeId, clock, random } = change;
  const wallMs = clock.wallMs();
  const what = which === "kek" ? "the key-encryption key" : "the data key";
  const entrusted =
    escrowPem === nobody ? "nobody else can open the store any more" : `the holder of ${id} can open the store too`;
  const because = but ?? (escrowPem === "" ? `${what} is ${id} from now on` : entrusted);
  return create(AuditRecordSchema, {
    id: uuid7(wallMs, random),
    at: timestampFromMs(Math.round(wallMs)),
    actor: `person:${person}`,
    action: escrowPem === "" ? "store.rotate_key" : "store.entrust",
    target: `node/${nodeId}`,
    because,
    outcome: AuditOutcome.SUCCESS,
    nodeId,
  });
}
