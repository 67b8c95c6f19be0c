import { appendFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
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

test("audit verify of a directory that never was made it, with an empty store in it, and called that one damaged", async () => {
  const code = (error: { code?: string }) => error.code;
  const never = join(dir, "never");
  for (const command of [auditVerify, auditExport]) {
    const refused: unknown = await command({ dataDir: never, headers: true }).catch((error: unknown) => error);
    expect(String(refused)).toMatch(/\[DATA_DIR_UNUSABLE\].*--data-dir/);
  }
  expect(await readdir(dir)).not.toContain("never");
  await mkdir(never);
  const refused: unknown = await auditVerify({ dataDir: never, headers: true }).catch((error: unknown) => error);
  expect(String(refused)).toMatch(/\[NOT_FOUND\].*--data-dir/);
  expect(await readdir(never)).toEqual([]);
  await rm(join(dir, "store"), { recursive: true });
  expect(await auditVerify({ dataDir: dir, headers: true }).catch(code)).toBe("STORE_MISSING");
  expect(await readdir(dir)).not.toContain("store");
});

test("audit verify --file of a directory ended with an error that nobody expected", async () => {
  const refused: unknown = await auditVerify({ dataDir: dir, headers: true, file: dir }).catch((error) => error);
  expect(String(refused)).toMatch(/\[NOT_FOUND\] '.*' cannot be read: it is a directory/);
});
