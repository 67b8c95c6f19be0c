// Opens the remedies over the folder in argv, plays one playbook under one id, prints the result and leaves. Killed at any moment, it is
// started again with the same arguments.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { openRemedies } from "@blueflame/agent/remedies/remedies.driver.ts";
import { openRemedyRig } from "./remedy-rig.ts";
import { specOf } from "./spec.ts";

const [dir = "", id = "", playbook = ""] = process.argv.slice(2);
const data = { paths: [join(dir, "data")], everyMs: 3_600_000, keep: 3, maxBytes: 2 ** 30 };
const rig = await openRemedyRig(dir, [specOf({ name: "engine", data })], { playbooks: join(dir, "playbooks") });
// What the machine of the workload would remember.
const lifeFile = join(dir, "life");
const life = existsSync(lifeFile) ? readFileSync(lifeFile, "utf8") : "life-0";
rig.stands.set("engine", { is: "well", instance: { id: life, pid: 2 ** 22 + 1, startTicks: 0 } });
const remedies = await openRemedies(rig.around);
const request = { id, workload: "engine", incidentId: "i1", budgetMs: 60_000 };
process.stdout.write("open\n");
const result =
  playbook === "restore"
    ? await remedies.prepare({ ...request, rung: "backup_restore" })
    : await remedies.play({ ...request, playbook });
process.stdout.write(`${JSON.stringify(result)}\n`);
await remedies.close();
await rig.close();
