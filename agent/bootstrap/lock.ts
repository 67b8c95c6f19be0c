import { linkSync, readFileSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { bootId, living } from "./proc.ts";

/**
 * Makes this process the only emergency of the data directory. Returns what lets go of it, the number of the process that is
 * at work already, or undefined where the disk takes no lock: two may then work at once, and every step bears that. The lock
 * of a dead process is known by its boot and start, and taken over.
 */
export function alone(path: string): { readonly release: () => void } | { readonly pid: number } | undefined {
  const own = JSON.stringify({ pid: process.pid, started: living(process.pid)?.startTicks ?? "", boot: bootId() });
  const draft = `${path}.${process.pid}`;
  try {
    writeFileSync(draft, own, { mode: 0o600 });
    for (let attempt = 0; attempt < 3; attempt++) {
      try {
        linkSync(draft, path); // whole or not at all
        return { release: () => read(path) === own && rmSync(path, { force: true }) };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      }
      const pid = holderOf(read(path));
      if (pid !== undefined) return { pid };
      rmSync(path, { force: true });
    }
  } catch {
    // A disk that refuses.
  } finally {
    try {
      unlinkSync(draft);
    } catch {
      // It was never written.
    }
  }
  return undefined;
}

function holderOf(text: string): number | undefined {
  try {
    const { pid, started, boot } = JSON.parse(text) as { pid: number; started: string; boot: string };
    return boot === bootId() && living(pid)?.startTicks === started ? pid : undefined;
  } catch {
    return undefined;
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
