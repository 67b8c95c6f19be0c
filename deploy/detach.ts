// Starts a command and leaves it running: `detach.ts LOGFILE READY… -- COMMAND…`. Exit code 0 once the READY command passes, 1 when it
// does not within 8 s. The hub's respawn entry of `npm start` uses it: a respawn must end, and an agent must not.
import { setTimeout as pause } from "node:timers/promises";
import { run, startDetached } from "./running.ts";

const [logFile, ...rest] = process.argv.slice(2);
const split = rest.indexOf("--");
if (logFile === undefined || split < 1) {
  console.error("usage: detach.ts LOGFILE READY… -- COMMAND…");
  process.exit(2);
}
const ready = rest.slice(0, split);
const child = startDetached(rest.slice(split + 1), logFile, process.cwd());
child.unref();

let isReady = false;
for (const endMs = performance.now() + 8_000; !isReady && performance.now() < endMs; await pause(200)) {
  isReady = (await run(ready, 2_000, process.cwd())).code === 0;
}
process.exit(isReady ? 0 : 1);
