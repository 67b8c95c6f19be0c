import { readFileSync } from "node:fs";
import { HubMemory, startLinkHub } from "./link-hub.ts";

/** The test hub as a process of its own, for SIGSTOP and SIGKILL. argv: papers.json, memory file, port, batches before it dies. */
const [papersPath = "", memoryPath = "", port = "0", dieAfter = "0"] = process.argv.slice(2);
let batches = 0;
const hub = await startLinkHub(
  JSON.parse(readFileSync(papersPath, "utf8")),
  new HubMemory(memoryPath),
  {
    window: 50,
    beforeAck() {
      batches += 1;
      // Between "durable" and "acknowledged", in the only way that runs no further line of this process.
      if (batches === Number(dieAfter)) process.kill(process.pid, "SIGKILL");
    },
  },
  Number(port),
);
process.stdout.write(`${hub.port}\n`);
