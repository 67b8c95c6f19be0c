import { appendFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AuditRecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { openAgentStore } from "../store/agent-store.ts";
import { auditExport, auditVerify } from "./audit.ts";

let dir = "";
let printed = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "bf-audit-cli-"));
  printed = "";
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    printed += String(text);
    return true;
  });
  const store = await openAgentStore(dir, { clock: realClock(), random: Math.random, nodeId: "n1", bootId: "b" });
  for (let n = 0; n < 20; n++)
    await store.appendAudit([create(AuditRecordSchema, { id: `r${n}`, action: "test.act" })]);
  await store.close();
});
afterEach(async () => {
  vi.restoreAllMocks();
  await rm(dir, { recursive: true, force: true });
});

test("PHX-11 the audit of a node without an agent is verified and exported, and a change of the export is named", async () => {
  const options = { dataDir: dir, headers: true };
  await auditVerify(options);
  expect(printed).toMatch(/AUDIT\s+whole/);
  printed = "";
  await auditExport(options);
  const file = join(dir, "export.jsonl");
  await writeFile(file, printed);
  expect(printed.trim().split("\n")).toHaveLength(22); // the header, audit.begin and twenty
  await auditVerify({ ...options, file });

  const lines = (await readFile(file, "utf8")).trim().split("\n");
  const verified = async (changed: readonly string[]) => {
    await writeFile(file, "");
    await appendFile(file, `${changed.join("\n")}\n`);
    return auditVerify({ ...options, file }).then(
      () => "whole",
      (error: Error) => error.message,
    );
  };
  const edited = lines.with(8, lines[8]?.replace("test.act", "test.act2") ?? "");
  expect(await verified(edited)).toMatch(/AUDIT_BROKEN.*record 8 /);
  expect(await verified(lines.toSpliced(8, 1))).toMatch(/AUDIT_BROKEN.*record 8 /);
  expect(await verified(lines.slice(0, 15))).toMatch(/AUDIT_BROKEN.*record 15 /);
});
