/** Files and folders of ours that their own user may not read or write: seen by their permission bits, without opening any. */
import { join } from "node:path";
import { places } from "../constants.ts";
import { lstatOr, namesIn } from "./disk.ts";

/** Entries that are looked at; a store has hundreds of files. */
const entriesMax = 20_000;
/** What the agent writes into; the rest it replaces, for which reading is enough. */
const written: readonly string[] = [places.store, "logs"];
const folders: readonly string[] = [...written, "snapshots", places.alerts, places.good];
/** They are judged as secrets. */
const secrets: readonly string[] = [places.guardKey, places.storeKey];

/** One entry and the mode that it needs. */
export interface Closed {
  readonly path: string;
  readonly mode: number;
}

/** Its own files and those in our folders; what lies in another folder is a workload's. Links are not followed. */
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
  for (const name of namesIn(dataDir)) {
    const path = join(dataDir, name);
    if (secrets.includes(name) || (lstatOr(path)?.isDirectory() && !folders.includes(name))) continue;
    walk(path, written.includes(name) ? 0o600 : 0o400);
  }
  return closed;
}
