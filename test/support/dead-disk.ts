import { spawn, spawnSync } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A file system whose server never answers: what looks at it hangs in the kernel until it is removed. */
export interface DeadDisk {
  /** Of the test: here things answer. */
  readonly dir: string;
  /** Where the dead disk is mounted, below `dir`. */
  readonly dead: string;
  /** Lets go of whoever hangs, and removes `dir`. */
  remove(): void;
}

/** Undefined where this user may not mount, or there is no /dev/fuse. The caller removes it. */
export function deadDisk(): DeadDisk | undefined {
  const dir = mkdtempSync(join(tmpdir(), "bf-dead-"));
  const dead = join(dir, "dead");
  mkdirSync(dead);
  const device = mountDead(dead);
  const remove = () => {
    if (device !== undefined) closeSync(device);
    spawnSync("umount", ["-l", dead]);
    rmSync(dir, { recursive: true, force: true });
  };
  if (device !== undefined) return { dir, dead, remove };
  remove();
  return undefined;
}

/** Whether {@link deadDisk} makes one here. */
export function canDie(): boolean {
  const disk = deadDisk();
  disk?.remove();
  return disk !== undefined;
}

function mountDead(path: string): number | undefined {
  let device: number;
  try {
    device = openSync("/dev/fuse", "r+");
  } catch {
    return undefined;
  }
  const options = "fd=3,rootmode=40000,user_id=0,group_id=0";
  const mounted = spawnSync("mount", ["-i", "-t", "fuse", "-o", options, "dead", path], {
    stdio: ["ignore", "ignore", "ignore", device],
  });
  if (mounted.status === 0) return device;
  closeSync(device);
  return undefined;
}

/**
 * Runs a module in a process of its own, whose threads may get stuck, and gives back the JSON object that it prints at its end. Such
 * a process ends only when the disk lets go: what it printed is what counts. Rejects with what it said instead after `limitMs`.
 */
export async function runApart<T>(module: string, limitMs: number): Promise<T> {
  const args = ["--experimental-transform-types", "--no-warnings", "--input-type=module", "-e", module];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const text = await new Promise<string>((resolve) => {
    let printed = "";
    child.stdout.setEncoding("utf8").on("data", (part: string) => {
      printed += part;
      if (printed.endsWith("}")) resolve(printed);
    });
    child.stdout.on("end", () => resolve(printed));
    setTimeout(() => resolve(printed), limitMs).unref();
  });
  child.kill("SIGKILL");
  if (!text.endsWith("}")) throw new Error(`it has not come to its end: ${text}`);
  return JSON.parse(text) as T;
}
