// Starts a command and leaves it running: `detach.ts LOGFILE READY… -- COMMAND…`. Exit code 0 once the READY command passes, 1 when it
// does not within 8 s. The hub's respawn entry of `npm start` uses it: a respawn must end, and an agent must not. A frozen agent
// still holds its store, so one that runs by the same command line and is not READY is ended first.
import { setTimeout as pause } from "node:timers/promises";
import { processesLike, run, signalIfThere, startDetached } from "./running.ts";

const [logFile, ...rest] = process.argv.slice(2);
const split = rest.indexOf("--");
if (logFile === undefined || split < 1) {
  console.error("usage: detach.ts LOGFILE READY… -- COMMAND…");
  process.exit(2);
}
const ready = rest.slice(0, split);
const command = rest.slice(split + 1);
const passes = async () => (await run(ready, 2_000, process.cwd())).code === 0;

let isReady = await passes(); // somebody was faster
if (!isReady) {
  for (const pid of processesLike(command)) signalIfThere(pid, "SIGKILL");
  for (let waitedMs = 0; processesLike(command).length > 0 && waitedMs < 2_000; waitedMs += 20) await pause(20);
  startDetached(command, logFile, process.cwd()).unref();
}
for (const endMs = performance.now() + 8_000; !isReady && performance.now() < endMs; await pause(200)) {
  isReady = await passes();
}
process.exit(isReady ? 0 : 1);
