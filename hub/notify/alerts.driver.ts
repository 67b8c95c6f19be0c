import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { replaceFile } from "../trust/place-file.driver.ts";
import type { Alert } from "./alert.ts";

/** The newest alerts stay, older ones go; their audit records stay as long as audit does. */
const alertFilesMax = 1_000;

/** Tells people. Channels beyond the file and the log will stand beside this one. */
export interface Alerts {
  /** The alert is on disk on return, under its id; throws what the disk says. Telling it again changes nothing. */
  tell(alert: Alert): void;
}

/** Alerts as `<dir>/<id>.json`; ids sort by time. */
export function openAlerts(dir: string): Alerts {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  return {
    tell(alert) {
      replaceFile(join(dir, `${alert.id}.json`), `${JSON.stringify(alert, undefined, 2)}\n`, 0o600);
      const files = readdirSync(dir).filter((name) => name.endsWith(".json"));
      if (files.length <= alertFilesMax) return;
      for (const name of files.sort().slice(0, files.length - alertFilesMax)) rmSync(join(dir, name), { force: true });
    },
  };
}
