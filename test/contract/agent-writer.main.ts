import { writeSync } from "node:fs";
import { openAgentStore } from "@blueflame/agent/store/agent-store.ts";
import { AuditRecordSchema, DecisionRecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { create } from "@bufbuild/protobuf";

/** An agent's writes without the agent: goes on until it is killed, and says each acknowledged one, one per line. */
const [dir = "", life = ""] = process.argv.slice(2);
const store = await openAgentStore(dir, {
  clock: realClock(),
  random: Math.random,
  nodeId: undefined,
  bootId: "boot-1",
});
const lane = async (workload: string) => {
  const found = (await store.workloads()).find(({ name }) => name === workload)?.state as { count: number } | undefined;
  for (let count = (found?.count ?? 0) + 1; ; count++) {
    const decision = create(DecisionRecordSchema, { id: `${workload}-${count}`, inputJson: "x".repeat(1000) });
    await store.saveStep({ workload, state: { count }, decision }, count % 3 === 0 ? "synced" : "batched");
    writeSync(1, `state/${workload} ${count}\n`);
    const id = `${life}-${workload}-${count}`;
    await store.appendAudit([create(AuditRecordSchema, { id })]);
    writeSync(1, `audit/${id} ${count}\n`);
    await store.put(workload, "k", Buffer.from(String(count)), undefined);
    writeSync(1, `kv/${workload} ${count}\n`);
  }
};
await Promise.all(Array.from({ length: 8 }, (_, at) => lane(`w${at}`)));
