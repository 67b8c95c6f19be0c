// Supervises one workload that runs once and fails, over the data directory in argv. When people would be told of it, the process is
// killed: what it has written down by then is all that the next agent knows.
import { join } from "node:path";
import { Untold } from "@blueflame/agent/records/untold.ts";
import { openAgentStore } from "@blueflame/agent/store/agent-store.ts";
import { realProcesses } from "@blueflame/agent/supervise/process.driver.ts";
import { superviseAll } from "@blueflame/agent/supervise/supervisor.driver.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { FakeRemedies } from "./fake-remedies.ts";
import { specOf } from "./spec.ts";

const [dir = ""] = process.argv.slice(2);
const clock = realClock();
const random = Math.random;
const specs = [specOf({ name: "migration", cwd: dir, command: ["/bin/sh", "-c", "exit 3"], restart: "never" })];
const store = await openAgentStore(dir, { clock, random, nodeId: "n1", bootId: "boot-1" });
const supervisor = await superviseAll({
  nodeId: "n1",
  site: "s",
  bootId: "boot-1",
  specs,
  store,
  processes: realProcesses({ owner: store.identity.generation, logDir: join(dir, "logs"), clock }),
  signs: { watch: () => undefined, unwatch: () => undefined },
  remedies: new FakeRemedies(specs),
  clock,
  random,
  envFor: () => ({}),
  stageAlerts: new Untold([]).stage,
  incident: () => process.kill(process.pid, "SIGKILL"),
  changed: () => undefined,
  log: () => undefined,
});
await supervisor.boot();
setTimeout(() => process.exit(1), 30_000);
