import {
  type AuditSource,
  auditFile,
  exportAudit,
  pagedAudit,
  type VerifyOptions,
  verifyAudit,
} from "@blueflame/shared/cli/audit.ts";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import { withAuditAtRest } from "../store/audit-read.ts";
import { ask } from "./ask.driver.ts";

/** The flags of `audit verify` and `audit export`. */
export interface AuditOptions extends VerifyOptions {
  readonly dataDir: string;
  readonly file?: string;
}

/** Checks the node's own audit, or an export; rejects with AUDIT_BROKEN when anything is wrong, and as the store does. */
export async function auditVerify(options: AuditOptions): Promise<void> {
  if (options.file !== undefined) return verifyAudit(await auditFile(options.file), options);
  await withAudit(options.dataDir, (source) => verifyAudit(source, options));
}

/** Prints the node's own audit as JSON lines. */
export async function auditExport({ dataDir }: AuditOptions): Promise<void> {
  await withAudit(dataDir, exportAudit);
}

/** Through the agent where one runs, because only it may have the store open; else from the store at rest. */
async function withAudit(dataDir: string, use: (source: AuditSource) => Promise<void>): Promise<void> {
  let asked = false;
  try {
    await ask(dataDir, async (desk) => {
      const source = await pagedAudit((after) => desk.readAudit({ after }));
      asked = true;
      await use(source);
    });
  } catch (error) {
    if (asked || !isFault(error, "AGENT_UNREACHABLE")) throw error;
    await withAuditAtRest(dataDir, (header, records) => use({ header, records }));
  }
}
