import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  AuditRecordSchema,
  DecisionRecordSchema,
  IncidentSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { ReadingSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { seeded } from "@blueflame/shared/random/random.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { create } from "@bufbuild/protobuf";
import { expect, test, vi } from "vitest";
import { openAgentStore } from "./agent-store.ts";
import type { Page } from "./rows.ts";
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

test("three hundred decisions of 30 KB did not fit into one answer: they come page by page, each once, whole", async () => {
  const dir = mkdtempSync(join(tmpdir(), "bf-pages-"));
  const store = await openAgentStore(dir, { clock: realClock(), random: seeded(1), nodeId: "n", bootId: "b" });
  const large = "x".repeat(30_000);
  const bytesMax = 200_000;
  const count = 30;
  const idOf = (n: number) => `i${String(n).padStart(3, "0")}`;
  try {
    for (let n = 0; n < count; n++) {
      await store.saveStep(
        {
          workload: "w",
          decision: create(DecisionRecordSchema, { id: idOf(n), because: large }),
          incident: create(IncidentSchema, { id: idOf(n), revision: 1n, summary: large }),
          audit: [create(AuditRecordSchema, { id: idOf(n), because: large })],
        },
        "batched",
      );
    }
    const newestFirst = Array.from({ length: count }, (_, n) => idOf(count - 1 - n));
    type Ask = (page: Page) => Promise<readonly { readonly id: string }[]>;
    const asks: Ask[] = [
      (page) => store.decisions(page),
      (page) => store.incidents(page, true),
      async (page) => (await store.audit(page)).filter(({ id }) => id.startsWith("i0")),
    ];
    for (const ask of asks) {
      const pages: string[][] = [];
      for (let skip = 0; ; skip += pages.at(-1)?.length ?? 0) {
        const page = (await ask({ limit: 500, skip, bytesMax })).map(({ id }) => id);
        if (page.length === 0) break;
        pages.push(page);
      }
      expect(pages.flat()).toEqual(newestFirst);
      expect(Math.max(...pages.map(({ length }) => length))).toBe(6);
      // One that is larger than a page comes alone.
      expect(await ask({ limit: 500, skip: 0, bytesMax: 1 })).toHaveLength(1);
      expect(await ask({ limit: 2, skip: count - 1, bytesMax })).toHaveLength(1);
      expect(await ask({ limit: 2, skip: count + 5, bytesMax })).toEqual([]);
    }
  } finally {
    await store.close();
    rmSync(dir, { recursive: true });
  }
});
