/** Files and folders of ours that their own user may not read or write: seen by their permission bits, without opening any. */
import { join } from "node:path";
import { places } from "../constants.ts";
import { lstatOr, namesIn } from "./disk.ts";

/** Entries that are looked at; a store has hundreds of files. */
const entriesMax = 20_000;
/** What the agent writes into; the rest it replaces, for which reading is enough. */
const written: readonly string[] = [places.store, "logs"];
/** They are judged as secrets. */
const secrets: readonly string[] = [places.guardKey, places.storeKey];

/** One entry and the mode that it needs. */
export interface Closed {
  readonly path: string;
  readonly mode: number;
}

/** Those at the known places of the data directory; a workload's own files below it are the workload's. Links are not followed. */
export function closedIn(dataDir: string): readonly Closed[] {
  const closed: Closed[] = [];
  let seen = 0;
  const walk = (path: string, bits: number) => {
    const found = lstatOr(path);
    if (!found || seen++ > entriesMax) return;
    const needs = found.isDirectory() ? 0o700 : found.isFile() ? bits : 0;
    if ((found.mode & needs) !== needs) closed.push({ path, mode: (found.mode & 0o777) | needs | (needs && 0o600) });
    if (found.isDirectory()) for (const name of namesIn(path)) walk(join(path, name), bits);
  };
  const ours = new Set([...Object.values(places), "snapshots", "logs", "pager"]);
  for (const name of ours) {
    if (secrets.includes(name) || name.includes("/")) continue;
    walk(join(dataDir, name), written.includes(name) ? 0o600 : 0o400);
  }
  return closed;
}
