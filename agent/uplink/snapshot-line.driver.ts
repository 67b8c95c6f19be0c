import { SnapshotService } from "@blueflame/shared/gen/blueflame/link/v1/snapshot_service_pb.ts";
import { type Client, client, clientOptions, faultFrom } from "@blueflame/shared/rpc/definition.ts";
import type { HubTarget } from "./ports.ts";
import { ownedCredentials } from "./sockets.driver.ts";

/** One question to the hub may take so long; a part is a quarter of a megabyte. */
const answerMs = 30_000;

/** The hub's snapshot service, on a connection of its own. Whoever opened it closes it. */
export interface SnapshotLine {
  readonly service: Client<typeof SnapshotService>;
  /** For each call. */
  readonly within: { readonly timeoutMs: number };
  close(): void;
}

/** Throws when the PEM texts do not fit. */
export function snapshotLine(target: HubTarget, address: string): SnapshotLine {
  const owned = ownedCredentials(target);
  const service = client(SnapshotService, address, owned.credentials, {
    ...clientOptions,
    "grpc.enable_http_proxy": 0,
    "grpc.service_config_disable_resolution": 1,
  });
  return {
    service,
    within: { timeoutMs: answerMs },
    close() {
      service.close();
      owned.destroy();
    },
  };
}

/** What a call over a line failed with, as a Fault; what failed here, a disk say, stays what it is. */
export function lineFault(error: unknown): unknown {
  const fromCall = error instanceof Error && "details" in error;
  return fromCall ? faultFrom(error, "HUB_UNREACHABLE") : error;
}
