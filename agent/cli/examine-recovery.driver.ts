import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import type { WorkloadStatus } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import { verifyGoodCopy } from "../bootstrap/good-copy.ts";
import { lastGood } from "../config/last-good.driver.ts";
import { places } from "../constants.ts";
import { koffi } from "../libc.driver.ts";
import { KillSwitch } from "../recovery/kill-switch.driver.ts";
import { snapshotNumbers, snapshotsIn, verifySnapshot } from "../store/snapshot-file.ts";
import { checkOf } from "../store/snapshot-form.ts";
import { knock } from "../watchdog/door.ts";
import { readKey } from "../watchdog/key.ts";
import { identify, lookAt } from "../watchdog/process.ts";
import { wordOf } from "../watchdog/word.ts";
import type { RecoveryFindings } from "./checkup-recovery.ts";

/** Files of cgroup version 2 in which a limit stands; of version 1 the folder alone tells. */
const kernelFiles = { tasks: "pids.max", memory: "memory.max", cpu: "cpu.max" } as const;
const kernelNames = { tasks: "pids", memory: "memory", cpu: "cpu" } as const;

/** Looks at what keeps the node coming back. `running` are the workloads as the agent tells; none when it is away. Never rejects. */
export async function examineRecovery(
  dataDir: string,
  running: readonly Pick<WorkloadStatus, "name" | "pid">[],
): Promise<RecoveryFindings> {
  const killed = new KillSwitch(dataDir).killed();
  const word = wordOf(dataDir);
  return {
    ...(killed && { killed }),
    ...(word && { word }),
    watchdog: await watchdogOf(dataDir),
    goodCopy: goodCopyOf(dataDir),
    snapshots: await snapshotsOf(dataDir),
    limits: limitsOf(dataDir, running),
    native: koffi() !== undefined,
  };
}

/** Asked as a person asks: it answers who it is, and nothing changes. */
async function watchdogOf(dataDir: string): Promise<RecoveryFindings["watchdog"]> {
  const key = readKey(dataDir);
  if (!key) return { is: "none" };
  const knocked = await knock(key, dataDir, { ...identify(process.pid), role: "person" });
  if (knocked.is === "open") {
    knocked.line.end();
    return { is: "answers", pid: knocked.peer.pid, init: knocked.welcome.init };
  }
  if (knocked.is === "silent") {
    const { holder } = knocked;
    const stopped = holder !== undefined && lookAt(holder).sight === "stopped";
    return { is: "silent", ...(holder && { pid: holder.pid }), ...(stopped && { stopped }) };
  }
  return { is: knocked.is === "nobody" ? "none" : "silent" };
}

function goodCopyOf(dataDir: string): RecoveryFindings["goodCopy"] {
  if (!existsSync(join(dataDir, places.good)) && !existsSync(join(dataDir, `${places.good}.old`)))
    return { is: "absent" };
  const found = verifyGoodCopy(dataDir);
  if (!found.ok) return { is: "damaged", because: found.because };
  return { is: "sound", version: found.manifest.version, files: found.manifest.files.length };
}

/** The youngest is read to its end. */
async function snapshotsOf(dataDir: string): Promise<RecoveryFindings["snapshots"]> {
  const folder = snapshotsIn(dataDir);
  let count = 0;
  try {
    const numbers = snapshotNumbers(folder);
    count = numbers.length;
    if (numbers[0] === undefined) return { count };
    const place = join(folder, String(numbers[0]));
    const { takenWallMs } = await verifySnapshot(place, await checkOf(place, dataDir));
    return { count, takenWallMs };
  } catch (error) {
    return { count, problem: isFault(error) ? error.saw : String(error) };
  }
}

/** By the config in use, and by the cgroups in which the processes really are. */
function limitsOf(
  dataDir: string,
  running: readonly Pick<WorkloadStatus, "name" | "pid">[],
): RecoveryFindings["limits"] {
  const specs = lastGood(dataDir)?.config.workloads ?? [];
  return running.flatMap(({ name, pid }) => {
    const limits = specs.find((spec) => spec.name === name)?.limits;
    if (!limits || pid === 0) return [];
    const limited = { tasks: limits.tasks, memory: limits.memoryBytes, cpu: limits.cpu };
    const cgroups = textOf(`/proc/${pid}/cgroup`);
    return (["tasks", "memory", "cpu"] as const)
      .filter((what) => limited[what] > 0)
      .map((what) => {
        const by = isHeld(cgroups, name, what) ? "cgroup" : what === "cpu" ? "nobody" : "watching";
        return { workload: name, what, by } as const;
      });
  });
}

/** A family has a cgroup of its own, named after it, below one of ours. */
function isHeld(cgroups: string, workload: string, what: keyof typeof kernelFiles): boolean {
  return cgroups.split("\n").some((line) => {
    const [, controllers = "", path = ""] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (!/\/blueflame-[0-9a-f]{12}\/[^/]+$/.test(path) || !path.endsWith(`/${workload}`)) return false;
    if (controllers !== "") return controllers.split(",").includes(kernelNames[what]);
    return ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].some((mount) =>
      /^\d/.test(textOf(`${mount}${path}/${kernelFiles[what]}`)),
    );
  });
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
