import { execFileSync } from "node:child_process";
import { closeSync, fsyncSync, mkdtempSync, openSync, rmdirSync, rmSync, statfsSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A small file system of its own, to run full for real. */
export interface SmallDisk {
  readonly dir: string;
  /** Takes the space until less than `leaveBytes` are free. */
  fill(leaveBytes: number): void;
  /** Gives back what `fill` took. */
  free(): void;
  remove(): void;
}

/** Needs the right to mount; throws without it. The caller removes it. */
export function smallDisk(bytes: number): SmallDisk {
  const dir = mkdtempSync(join(tmpdir(), "bf-disk-"));
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${bytes}`, "tmpfs", dir], { stdio: "ignore" });
  } catch (error) {
    rmdirSync(dir);
    throw error;
  }
  const ballast = join(dir, "ballast");
  return {
    dir,
    fill(leaveBytes) {
      const file = openSync(ballast, "a");
      const block = Buffer.alloc(64 * 1024);
      try {
        for (;;) {
          const { bavail, bsize } = statfsSync(dir);
          if (bavail * bsize < leaveBytes + block.length) break;
          writeSync(file, block);
        }
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
    },
    free: () => rmSync(ballast, { force: true }),
    remove() {
      execFileSync("umount", [dir], { stdio: "ignore" });
      rmdirSync(dir);
    },
  };
}

/** Whether this user may mount. */
export function canMount(): boolean {
  try {
    smallDisk(1024 * 1024).remove();
    return true;
  } catch {
    return false;
  }
}
