import { auditFile, exportAudit, pagedAudit, type VerifyOptions, verifyAudit } from "@blueflame/shared/cli/audit.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import type { Command } from "commander";
import { type HubClient, withHub } from "./hub-client.ts";

export interface AuditVerifyOptions extends VerifyOptions {
  readonly file?: string;
}

/** `blueflame audit verify NODE`, or of an export. Rejects with AUDIT_BROKEN when anything is wrong. */
export async function auditVerify(
  command: Command,
  node: string | undefined,
  options: AuditVerifyOptions,
): Promise<void> {
  const { file } = options;
  if ((node === undefined) === (file === undefined)) throw new Fault("USAGE", "give a node, or --file with an export");
  if (file !== undefined) return verifyAudit(await auditFile(file), options);
  await withHub(command, async (hub) => verifyAudit(await source(hub, node ?? ""), options));
}

/** `blueflame audit export NODE`. */
export async function auditExport(hub: HubClient, node: string): Promise<void> {
  await exportAudit(await source(hub, node));
}

function source(hub: HubClient, nodeId: string) {
  return pagedAudit((after) => hub.ask((client, signal) => client.readAudit({ nodeId, after }, { signal })));
}
