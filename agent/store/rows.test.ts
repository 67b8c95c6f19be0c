import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AuditRecordSchema, DecisionRecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { ReadingSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { seeded } from "@blueflame/shared/random/random.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { create } from "@bufbuild/protobuf";
import { expect, test, vi } from "vitest";
import { openAgentStore } from "./agent-store.ts";
import { SealedDatabase } from "./sealed-database.ts";

test("whatever is written says how much memory it holds while it waits for the disk", async () => {
  const dir = mkdtempSync(join(tmpdir(), "bf-held-"));
  const store = await openAgentStore(dir, { clock: realClock(), random: seeded(1), nodeId: "n", bootId: "b" });
  const submitted = vi.spyOn(SealedDatabase.prototype, "submit");
  try {
    const large = "x".repeat(10_000);
    const bytes = Buffer.from(large);
    const at = { workload: "w" } as const;
    await store.saveStep({ ...at, state: { large } }, "batched");
    await store.saveStep({ ...at, memory: { key: "node", value: large } }, "batched");
    await store.saveStep({ ...at, untold: large }, "batched");
    await store.saveStep({ ...at, decision: create(DecisionRecordSchema, { because: large }) }, "batched");
    await store.saveStep({ ...at, audit: [create(AuditRecordSchema, { because: large })] }, "batched");
    await store.appendAudit([create(AuditRecordSchema, { because: large })]);
    await store.appendReadings([create(ReadingSchema, { subject: large })]);
    await store.put("w", "key", bytes, undefined);
    await store.saveConfigVersions("w", { history: [], add: new Map([["sum", bytes]]), drop: [] });
    const held = submitted.mock.calls.map(([job]) => job.bytes ?? 0);
    expect(held.filter((one) => one >= 10_000)).toHaveLength(9);
    expect(Math.max(...held)).toBeLessThan(11_000);
  } finally {
    submitted.mockRestore();
    await store.close();
    rmSync(dir, { recursive: true });
  }
});
