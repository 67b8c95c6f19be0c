import { readFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Around } from "./around.ts";
import type { Backups } from "./backups.driver.ts";
import { spaceOf } from "./desk.driver.ts";
import { replaceFile } from "./files.driver.ts";
import { done, type Outcome, type StepContext } from "./performer.ts";
import type { Permission } from "./permission.driver.ts";
import { lastLines } from "./tail.driver.ts";
import type { Versions } from "./versions.driver.ts";

/** A bundle has at most this many bytes; the last lines of output go first, then the workloads that it is not about. */
const bundleBytesMax = 256 * 1024;
const linesBytes = 8 * 1024;
/** Of the node: more workloads than this are only counted. */
const workloadsMax = 50;
const waitMs = 2000;

/**
 * Writes what is known now into `<dataDir>/diagnostics/`, mode 0600: for people at the node. The last lines of output may hold
 * secrets of the workload, so a bundle never leaves the node by itself.
 */
export async function writeBundle(
  around: Around,
  versions: Versions,
  backups: Backups,
  permission: Permission,
  context: StepContext,
): Promise<Outcome> {
  const { workload, name, incidentId } = context;
  const folder = join(around.dataDir, "diagnostics");
  const at = new Date(around.clock.wallMs());
  const time = at.toISOString().replaceAll(/[-:]|\.\d+/g, "");
  const path = join(folder, `${time}-${workload || "node"}-${Math.floor(around.random() * 36 ** 4).toString(36)}.json`);
  await permission.deed("diagnose", workload, { does: "write_own", path });
  const names = workload === "" ? around.specs.map((spec) => spec.name) : [workload];
  const shown = names.slice(0, workloadsMax);
  const about = await Promise.all(
    shown.map(async (one) => ({
      name: one,
      stands: around.stand(one),
      figures: around.figures(one),
      process: processOf(around, one),
      config: versions.facts(one),
      backups: backups
        .all(one)
        .slice(0, 3)
        .map(({ id, bytes, wallMs }) => ({ id, bytes, made_at: new Date(wallMs).toISOString() })),
      exhausted: around.exhausted(one),
      last_lines: await linesOf(around, one),
    })),
  );
  const bundle = {
    at: at.toISOString(),
    because: name,
    incident: incidentId,
    kill_switch: around.killSwitch(),
    node: { figures: around.figures(""), disks: await disksOf(around) },
    workloads: about,
    not_shown: names.length - shown.length,
  };
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await replaceFile(path, Buffer.from(bounded(bundle)));
  return done(`what is known now lies in ${path}`);
}

async function linesOf(around: Around, workload: string): Promise<string[]> {
  const lines = await lastLines(around.outputDir, workload, linesBytes, waitMs);
  return lines ?? ["(the disk of its output does not answer)"];
}

/** A few lines of the process table, for ours only. */
function processOf({ stand }: Around, workload: string): Record<string, string> | undefined {
  const { instance } = stand(workload);
  if (!instance) return undefined;
  try {
    const status = readFileSync(`/proc/${instance.pid}/status`, "latin1");
    const wanted = ["State", "PPid", "Threads", "FDSize", "VmRSS", "VmSwap", "VmSize", "voluntary_ctxt_switches"];
    const rows = wanted.map((key) => [key, new RegExp(`^${key}:\\s*(.*)$`, "m").exec(status)?.[1] ?? ""]);
    return { pid: String(instance.pid), ...Object.fromEntries(rows) };
  } catch {
    return { pid: String(instance.pid) };
  }
}

async function disksOf({ dataDir, specs }: Around) {
  const paths = [...new Set([dataDir, ...specs.flatMap(({ cwd, data }) => [cwd, ...(data?.paths ?? [])])])].slice(
    0,
    20,
  );
  return Promise.all(
    paths.map(async (path) => {
      const flight = await spaceOf(path, waitMs);
      if (flight.is !== "answered") return { path, free_bytes: "it does not answer" };
      const { bsize, bavail, blocks, ffree } = flight.value;
      return { path, free_bytes: bavail * bsize, total_bytes: blocks * bsize, free_inodes: ffree };
    }),
  );
}

/** Lines first, then workloads: what it is about stays. */
function bounded(bundle: { readonly workloads: readonly { readonly last_lines: readonly string[] }[] }): string {
  for (const lines of [200, 20, 0]) {
    const workloads = bundle.workloads.map((one) => ({
      ...one,
      last_lines: one.last_lines.slice(-lines || one.last_lines.length),
    }));
    const text = `${JSON.stringify({ ...bundle, workloads }, null, 2)}\n`;
    if (Buffer.byteLength(text) <= bundleBytesMax) return text;
  }
  return `${JSON.stringify({ ...bundle, workloads: bundle.workloads.slice(0, 1) }).slice(0, bundleBytesMax - 1)}\n`;
}
