import { X509Certificate } from "node:crypto";
import { accessSync, constants, readdirSync, readFileSync, rmSync, statfsSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { isNewEnough } from "@blueflame/shared/cli/launch.mjs";
import { draftConfig } from "@blueflame/shared/config/load.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { AgentConfigSchema } from "@blueflame/shared/gen/blueflame/config/v1/agent_config_pb.ts";
import { faultFrom } from "@blueflame/shared/rpc/definition.ts";
import { markVariable } from "../supervise/family.driver.ts";
import { allPids, environOf, procStat } from "../supervise/proc.driver.ts";
import { ask, stoppedAgent } from "./ask.driver.ts";
import type { Certificate, Findings } from "./checkup.ts";
import { examineRecovery } from "./examine-recovery.driver.ts";
import { socketOf } from "./place.ts";

const answerWithinMs = 3_000;
/** A data directory has few files at its top; more are not needed to see a wrong date. */
const filesMax = 1_000;

/** Looks at the machine, the data directory, the agent and, where one is named, its config. Changes nothing that stays. */
export async function examine(dataDir: string, configFile: string | undefined): Promise<Findings> {
  const proc = isReadable("/proc/self/stat");
  const { config, certificates } = configOf(configFile);
  const agent = await agentOf(dataDir);
  return {
    nodeVersion: { version: process.versions.node, newEnough: isNewEnough(process.versions.node) },
    dataDir: { path: dataDir, ...usable(dataDir) },
    disk: spaceOf(dataDir),
    agent,
    ...(config ? { config } : {}),
    certificates,
    clock: { nowMs: Date.now(), newestFileMs: newestIn(dataDir) },
    cgroup: cgroupHere(),
    proc,
    processes: proc ? processesOf(dataDir) : [],
    recovery: await examineRecovery(dataDir, agent.is === "well" ? agent.status.workloads : []),
  };
}

async function agentOf(dataDir: string): Promise<Findings["agent"]> {
  try {
    return { is: "well", status: await ask(dataDir, (desk) => desk.getStatus({}, { timeoutMs: answerWithinMs })) };
  } catch (error) {
    const stopped = stoppedAgent(dataDir);
    return { is: "away", fault: faultFrom(error, "AGENT_UNREACHABLE"), ...(stopped !== undefined && { stopped }) };
  }
}

function usable(dir: string): Pick<Findings["dataDir"], "is" | "because"> {
  const probe = join(dir, `.doctor-${process.pid}`);
  try {
    if (!statSync(dir).isDirectory()) return { is: "refused", because: "it is not a directory" };
    // Permission bits do not tell of a read-only or full disk; a file does.
    writeFileSync(probe, "well");
    rmSync(probe);
    return { is: "usable", because: "" };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT" && !isReadable(dir)) return { is: "missing", because: "" };
    rmSync(probe, { force: true });
    return { is: "refused", because: messageOf(error) };
  }
}

/** Of the directory, or of the nearest one above it that exists. */
function spaceOf(dir: string): Findings["disk"] {
  try {
    const { bavail, blocks, bsize } = statfsSync(dir);
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  } catch {
    return dirname(dir) === dir ? undefined : spaceOf(dirname(dir));
  }
}

function newestIn(dir: string): number | undefined {
  try {
    const files = readdirSync(dir).slice(0, filesMax);
    return Math.max(...files.map((file) => statSync(join(dir, file), { throwIfNoEntry: false })?.mtimeMs ?? 0));
  } catch {
    return undefined;
  }
}

function configOf(
  file: string | undefined,
): Pick<Findings, "certificates"> & { config?: NonNullable<Findings["config"]> } {
  if (file === undefined) return { certificates: [] };
  try {
    const { hub } = draftConfig(AgentConfigSchema, readFileSync(file, "utf8"), file).finish();
    const certificates = hub ? [hub.cert, hub.ca].map((path) => certificateAt(resolve(dirname(file), path))) : [];
    return { config: { file }, certificates };
  } catch (error) {
    const fault =
      error instanceof Fault ? error : new Fault("CONFIG_NOT_FOUND", `cannot read '${file}': ${messageOf(error)}`);
    return { config: { file, fault }, certificates: [] };
  }
}

function certificateAt(file: string): Certificate {
  try {
    const { validFrom, validTo } = new X509Certificate(readFileSync(file));
    return { file, fromMs: Date.parse(validFrom), toMs: Date.parse(validTo) };
  } catch (error) {
    return { file, problem: messageOf(error) };
  }
}

function cgroupHere(): Findings["cgroup"] {
  if (isReadable("/sys/fs/cgroup/cgroup.controllers") || isReadable("/sys/fs/cgroup/unified/cgroup.controllers"))
    return "v2";
  return isReadable("/sys/fs/cgroup/memory") || isReadable("/sys/fs/cgroup/pids") ? "v1" : "none";
}

/** Those that were handed this directory's socket when they were started, and their descendants. */
function processesOf(dataDir: string): Findings["processes"] {
  const socket = socketOf(dataDir);
  return allPids().flatMap((pid) => {
    if (pid === process.pid || environOf(pid, "BLUEFLAME_SOCKET") !== socket) return [];
    const stat = procStat(pid);
    if (stat === undefined || stat.state === "Z") return [];
    return [{ pid, workload: environOf(pid, markVariable)?.split(":")[1] ?? "unknown" }];
  });
}

function isReadable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
