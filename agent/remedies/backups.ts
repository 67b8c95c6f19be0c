/** What a backup is, when one is due and which ones go. Pure. */
import { basename } from "node:path";
import type { DataSpec } from "../supervise/spec.ts";

/** Bumped when the shape of the manifest changes: an older backup is then not used. */
export const manifestFormat = 1;
/** More files, folders and links than this are not backed up: a manifest is made and read in one piece. Who has more declares a `dump`. */
export const entriesMax = 20_000;
/** A backup never leaves less than this share of its disk free. */
export const freeFloor = 0.1;

/** One thing in a copy. `at` is its path in the folder `copy`. */
export type Entry =
  | {
      readonly at: string;
      readonly is: "file";
      readonly bytes: number;
      readonly sha256: string;
      readonly mode: number;
      readonly uid: number;
      readonly gid: number;
    }
  | { readonly at: string; readonly is: "folder"; readonly mode: number; readonly uid: number; readonly gid: number }
  | { readonly at: string; readonly is: "link"; readonly target: string };

/** One declared path. `at` is where it lies in `copy`; empty: all of `copy` is its content. */
export interface Root {
  readonly path: string;
  readonly at: string;
  readonly is: "file" | "folder" | "absent";
}

/** What a backup says of itself. Kept as JSON beside its copy; written last, so that one without it is no backup. */
export interface Manifest {
  readonly format: number;
  readonly id: string;
  readonly workload: string;
  readonly wallMs: number;
  /** The workload's config when it was made. */
  readonly configVersion: string;
  readonly dumped: boolean;
  readonly roots: readonly Root[];
  readonly entries: readonly Entry[];
  readonly bytes: number;
  readonly verifiedBy: "checksums" | "command";
  /** Sockets, pipes and devices that were passed over. */
  readonly passedOver: number;
}

/** What is known of a backup without reading its manifest again: that may be megabytes. */
export type BackupFacts = Pick<Manifest, "id" | "workload" | "wallMs" | "bytes" | "configVersion">;

export function factsOfBackup({ id, workload, wallMs, bytes, configVersion }: Manifest): BackupFacts {
  return { id, workload, wallMs, bytes, configVersion };
}

/** `000012-20260301T093000Z`: the number orders them, whatever somebody did to the clock. */
export function nextId(ids: readonly string[], wallMs: number): string {
  const last = Math.max(0, ...ids.map(numberOf));
  const time = new Date(wallMs).toISOString().replaceAll(/[-:]|\.\d+/g, "");
  return `${String(last + 1).padStart(6, "0")}-${time}`;
}

export function isId(name: string): boolean {
  return /^\d{6,12}-\d{8}T\d{6}Z$/.test(name);
}

/** Oldest first. */
export function inOrder(ids: readonly string[]): string[] {
  return [...ids].sort((a, b) => numberOf(a) - numberOf(b));
}

/** Those beyond `keep`, oldest first; the newest is always kept. */
export function surplus(ids: readonly string[], keep: number): string[] {
  return inOrder(ids).slice(0, -Math.max(1, keep));
}

/** How long until the next one is due; 0: now. A last one from the future says nothing, and is taken as just made. */
export function dueInMs(
  last: { readonly wallMs: number } | undefined,
  { everyMs }: Pick<DataSpec, "everyMs">,
  wallMs: number,
): number {
  if (!last) return 0;
  return Math.max(0, everyMs - Math.max(0, wallMs - last.wallMs));
}

/** Why there is no room for so many bytes; undefined when there is. */
export function noRoom(
  bytes: number,
  disk: { readonly freeBytes: number; readonly totalBytes: number },
): string | undefined {
  const left = disk.freeBytes - bytes;
  if (left >= disk.totalBytes * freeFloor) return undefined;
  return `${bytes} bytes would leave ${Math.max(0, left)} of ${disk.totalBytes} free, and 10 % stay free`;
}

/** Where each path lies in a copy: under its base name, with a number when two have the same. */
export function placesOf(paths: readonly string[]): Map<string, string> {
  const taken = new Set<string>();
  return new Map(
    paths.map((path) => {
      const base = basename(path) || "root";
      let name = base;
      for (let n = 2; taken.has(name); n++) name = `${base}~${n}`;
      taken.add(name);
      return [path, name];
    }),
  );
}

/** A manifest that this version can use; undefined for anything else. */
export function manifestOf(text: string): Manifest | undefined {
  try {
    const read = JSON.parse(text) as Partial<Manifest> | null;
    const whole =
      read?.format === manifestFormat && read.id && Array.isArray(read.entries) && Array.isArray(read.roots);
    return whole && read.entries?.every(({ at }) => isInside(at)) ? (read as Manifest) : undefined;
  } catch {
    return undefined;
  }
}

/** A path that stays inside: what a damaged manifest says is never followed out. */
function isInside(at: unknown): boolean {
  return typeof at === "string" && !at.startsWith("/") && !at.split("/").includes("..");
}

function numberOf(id: string): number {
  const number = Number.parseInt(id, 10);
  return Number.isSafeInteger(number) ? number : 0;
}
