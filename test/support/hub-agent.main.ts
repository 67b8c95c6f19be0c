// A node that only beats, as a process of its own: node hub-agent.mjs HOST:PORT CERT_DIR NODE_ID INCARNATION [RECORDS].
// With RECORDS it has that many audit records in its outbox, and writes `done` to stdout when all are acknowledged.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { openUplink } from "@blueflame/agent/uplink/link.driver.ts";
import { RecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { create } from "@bufbuild/protobuf";
import { memoryLog, memoryNode, memoryOutbox, testSelf } from "./link-node.ts";

const [address = "", dir = "", nodeId = "", incarnation = "1", records = "0"] = process.argv.slice(2);
const read = (name: string) => readFileSync(join(dir, name), "utf8");
const outbox = memoryOutbox();
for (let n = 1; n <= Number(records); n++) {
  const value = { id: `r${n}`, action: "test.record", actor: "agent" };
  await outbox.append(create(RecordSchema, { kind: { case: "audit", value } }));
}
const uplink = openUplink({
  target: { addresses: [address], ca: read("ca.crt"), cert: read("node.crt"), key: read("node.key") },
  self: testSelf({ nodeId, incarnation: BigInt(incarnation), bootId: `${process.pid}`, site: "here" }),
  node: memoryNode(),
  outbox,
  clock: realClock(),
  random: Math.random,
  log: memoryLog(),
  policy: { baseMs: 50, capMs: 300, slowCapMs: 300 },
});
process.on("SIGTERM", () => void uplink.close("stop", true).then(() => process.exit(0)));
if (records !== "0") {
  const look = setInterval(() => {
    if (outbox.depth() > 0n) return;
    clearInterval(look);
    process.stdout.write("done\n");
  }, 20);
}
