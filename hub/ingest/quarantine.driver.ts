import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Messages that could not be decoded, set aside for a person with a hex dump: the newest hundred, 64 KiB of each. */
const filesMax = 100;
const bytesMax = 64 * 1024;
/** A node that sends nothing else would keep the disk busy: beyond this many a minute they are counted only. */
const perMinute = 20;

export interface Quarantine {
  keep(nodeId: string, bytes: Uint8Array, wallMs: number): void;
}

/** Sets messages aside in `<dir>/<wall ms>-<count>-<node>.bin`. Throws what the disk says. */
export function openQuarantine(dir: string): Quarantine {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  let count = 0;
  let minute = 0;
  let inMinute = 0;
  return {
    keep(nodeId, bytes, wallMs) {
      const now = Math.floor(wallMs / 60_000);
      inMinute = now === minute ? inMinute + 1 : 1;
      minute = now;
      if (inMinute > perMinute) return;
      count += 1;
      const name = `${Math.floor(wallMs)}-${String(count).padStart(6, "0")}-${nodeId}.bin`;
      writeFileSync(join(dir, name), bytes.subarray(0, bytesMax), { mode: 0o600 });
      const names = readdirSync(dir).filter((file) => file.endsWith(".bin"));
      for (const old of names.sort().slice(0, Math.max(0, names.length - filesMax)))
        rmSync(join(dir, old), { force: true });
    },
  };
}
