/**
 * Versions of a workload's config: of what it is started with, and of what its own config files hold. Pure.
 *
 *   a change is seen ─▶ in use, nothing known ── well through its probation ─▶ healthy (kept, whatever comes after it)
 *                              └── rolled back ─▶ bad: not taken again until its content changes (design.md, section 7, rule 13)
 *
 * Bad is told of the part that was taken back, spec or files: when only one of them comes again, it is known all the same.
 */
import { createHash } from "node:crypto";
import type { WorkloadSpec } from "../supervise/spec.ts";

/** What a version says of how the workload is run. All else of its spec is about the node, and is always the config's. */
const runsBy = [
  "command",
  "cwd",
  "env",
  "startGraceMs",
  "beat",
  "probes",
  "stop",
  "clean",
  "safeMode",
  "configFiles",
  "limits",
  "progressMs",
  "notify",
] as const satisfies readonly (keyof WorkloadSpec)[];

/** The part of a spec that a rollback takes back. */
export type RunPart = Pick<WorkloadSpec, (typeof runsBy)[number]>;

/** One config file as it was seen. `unkept`: its content is not here (too large, unreadable), so it cannot be written back. */
export type FileSeen =
  | { readonly is: "file"; readonly sha256: string; readonly bytes: number }
  | { readonly is: "absent" }
  | { readonly is: "unkept"; readonly mark: string };

/** One version. */
export interface ConfigVersion {
  /** 12 hexadecimal digits of both parts. */
  readonly id: string;
  readonly specPart: string;
  readonly filesPart: string;
  readonly spec: RunPart;
  /** By absolute path. */
  readonly files: Readonly<Record<string, FileSeen>>;
  readonly sinceWallMs: number;
  /** The last time that it was known to be good. */
  readonly healthyWallMs?: number;
}

/** A moment that can be compared with one of another boot, roughly. */
export interface VersionMoment {
  readonly bootId: string;
  readonly bootMs: number;
  readonly wallMs: number;
}

/** What was taken back. */
export interface BadPart {
  readonly part: string;
  readonly wallMs: number;
  readonly because: string;
}

/** Everything that is kept of one workload. JSON-able. */
export interface ConfigHistory {
  /** In the order in which they came into use; the last one is on the disk now. */
  readonly versions: readonly ConfigVersion[];
  /** When the last one replaced another; absent: it is the first. */
  readonly changed?: VersionMoment;
  /** What the instance that runs was started with. */
  readonly startedAs?: string;
  /** The run part of this version is used instead of the config's. */
  readonly pinned?: string;
  readonly bad: readonly BadPart[];
}

/** How much is kept; the oldest goes first, but never what is in use and never the newest healthy ones. */
export const versionsKeep = { versions: 10, bytes: 8 * 1024 * 1024, bad: 32 } as const;

/** So long a verdict is not written down anew. */
const provedForMs = 3_600_000;

export const noHistory: ConfigHistory = { versions: [], bad: [] };

/** The version that `spec` and `files` are. */
export function versionOf(
  spec: WorkloadSpec,
  files: Readonly<Record<string, FileSeen>>,
  wallMs: number,
): ConfigVersion {
  const part = runPartOf(spec);
  const specPart = fingerprint(part);
  const filesPart = fingerprint(files);
  return { id: fingerprint([specPart, filesPart]), specPart, filesPart, spec: part, files, sinceWallMs: wallMs };
}

/** The spec with the run part of a version instead of its own. */
export function withRunPart(spec: WorkloadSpec, part: RunPart): WorkloadSpec {
  const rest: Record<string, unknown> = { ...spec };
  // What the older version did not have, it does not have now.
  for (const key of runsBy) delete rest[key];
  return { ...(rest as Omit<WorkloadSpec, keyof RunPart>), ...part };
}

export function current(history: ConfigHistory): ConfigVersion | undefined {
  return history.versions.at(-1);
}

/** This is on the disk now. The same as before changes nothing. */
export function noticed(history: ConfigHistory, seen: ConfigVersion, now: VersionMoment): ConfigHistory {
  const last = current(history);
  if (last?.id === seen.id) return history;
  const known = history.versions.find(({ id }) => id === seen.id);
  const others = history.versions.filter(({ id }) => id !== seen.id);
  const version = known ? { ...known, sinceWallMs: now.wallMs } : seen;
  return pruned({ ...history, versions: [...others, version], ...(last && { changed: now }) });
}

/** A process was started with what is on the disk now. */
export function started(history: ConfigHistory): ConfigHistory {
  const now = current(history);
  return now && now.id !== history.startedAs ? { ...history, startedAs: now.id } : history;
}

/**
 * What runs has proved itself. Only what it was started with is meant: a file that changed since may not have been read. Of a
 * process that is older than our memory, the only version that was ever seen is what it runs with.
 */
export function proved(history: ConfigHistory, wallMs: number): ConfigHistory {
  const last = current(history);
  const startedAs = history.startedAs ?? (history.versions.length === 1 ? last?.id : undefined);
  if (!last || startedAs !== last.id || isBad(history, last)) return history;
  const versions = history.versions.map((one) => (one.id === last.id ? { ...one, healthyWallMs: wallMs } : one));
  return { ...history, versions };
}

/** What is in use is known to be good, and was said to be so within the last hour. */
export function isProved(history: ConfigHistory, wallMs: number): boolean {
  const last = current(history);
  if (!last || history.startedAs !== last.id || last.healthyWallMs === undefined) return false;
  return Math.abs(wallMs - last.healthyWallMs) < provedForMs;
}

/** The newest other version that was healthy, is not bad and can be put back; undefined when there is none. */
export function healthyBefore(history: ConfigHistory): ConfigVersion | undefined {
  const now = current(history);
  return history.versions.findLast(
    (one) => one.id !== now?.id && one.healthyWallMs !== undefined && !isBad(history, one) && canReplace(one, now),
  );
}

/** Either part of it was rolled back. */
export function isBad(
  history: ConfigHistory,
  { specPart, filesPart }: Pick<ConfigVersion, "specPart" | "filesPart">,
): boolean {
  return history.bad.some(({ part }) => part === specPart || part === filesPart);
}

/** What is in use is older than a version that was rolled back: whoever wrote that one has not written another since. */
export function isBehind(history: ConfigHistory): boolean {
  const now = current(history);
  if (!now || isBad(history, now)) return false;
  return history.versions.some((one) => one.sinceWallMs > now.sinceWallMs && isBad(history, one));
}

/** `from` was taken back in favour of `to`: what differs is bad, and `to` is in use. */
export function rolledBack(
  history: ConfigHistory,
  from: ConfigVersion,
  to: ConfigVersion,
  because: string,
  now: VersionMoment,
): ConfigHistory {
  const parts = [
    ...(from.specPart === to.specPart ? [] : [from.specPart]),
    ...(from.filesPart === to.filesPart ? [] : [from.filesPart]),
  ].filter((part) => !history.bad.some((one) => one.part === part));
  const bad = [...history.bad, ...parts.map((part) => ({ part, wallMs: now.wallMs, because }))].slice(
    -versionsKeep.bad,
  );
  const { pinned: _earlier, ...rest } = history;
  const pin = from.specPart === to.specPart ? history.pinned : to.id;
  const versions = [...history.versions.filter(({ id }) => id !== to.id), to];
  return pruned({ ...rest, versions, bad, changed: now, ...(pin !== undefined && { pinned: pin }) });
}

/**
 * The version whose run part is to be used instead of `configured`, the config's; undefined: the config's own. A pin ends when
 * the config says something that was not taken back.
 */
export function pinFor(history: ConfigHistory, configured: WorkloadSpec): ConfigVersion | undefined {
  const part = fingerprint(runPartOf(configured));
  if (!history.bad.some((one) => one.part === part)) return undefined;
  const pinned = history.versions.find(({ id }) => id === history.pinned);
  return pinned ?? history.versions.findLast((one) => one.healthyWallMs !== undefined && !isBad(history, one));
}

/** How long ago the version in use replaced another; undefined when it is the first that was seen. */
export function changedAgoMs({ changed }: ConfigHistory, now: VersionMoment): number | undefined {
  if (!changed) return undefined;
  if (changed.bootId === now.bootId) return Math.max(0, now.bootMs - changed.bootMs);
  // Of another boot: at least as long ago as this boot lasts, whatever somebody did to the clock.
  return Math.max(now.bootMs, now.wallMs - changed.wallMs, 0);
}

/** Checksums of all contents that the history needs. */
export function contentsOf(history: ConfigHistory): Map<string, number> {
  const needed = new Map<string, number>();
  for (const { files } of history.versions) {
    for (const file of Object.values(files)) if (file.is === "file") needed.set(file.sha256, file.bytes);
  }
  return needed;
}

/** Files that differ between the two, by path, as `to` has them. */
export function changesTo(to: ConfigVersion, from: ConfigVersion): Map<string, FileSeen> {
  return new Map(Object.entries(to.files).filter(([path, file]) => !sameFile(file, from.files[path])));
}

function canReplace(to: ConfigVersion, from: ConfigVersion | undefined): boolean {
  return !from || [...changesTo(to, from).values()].every(({ is }) => is !== "unkept");
}

function sameFile(a: FileSeen, b: FileSeen | undefined): boolean {
  return fingerprint(a) === fingerprint(b ?? { is: "absent" });
}

function pruned(history: ConfigHistory): ConfigHistory {
  let { versions } = history;
  const bytes = () => [...contentsOf({ ...history, versions }).values()].reduce((sum, one) => sum + one, 0);
  while (versions.length > versionsKeep.versions || bytes() > versionsKeep.bytes) {
    const keep = protectedIds({ ...history, versions });
    const oldest = versions.find(({ id }) => !keep.has(id));
    if (!oldest) break;
    versions = versions.filter((one) => one !== oldest);
  }
  return { ...history, versions };
}

/** In use, started with, pinned, and the newest healthy one and the one before it. */
function protectedIds(history: ConfigHistory): Set<string> {
  const healthy = history.versions.filter((one) => one.healthyWallMs !== undefined && !isBad(history, one));
  const ids = [current(history)?.id, history.startedAs, history.pinned, ...healthy.slice(-2).map(({ id }) => id)];
  return new Set(ids.filter((id) => id !== undefined));
}

function runPartOf(spec: WorkloadSpec): RunPart {
  const entries = runsBy.filter((key) => spec[key] !== undefined).map((key) => [key, spec[key]] as const);
  return Object.fromEntries(entries) as unknown as RunPart;
}

/** Independent of the order of keys. Short: it names a version to people, and what is secret in it cannot be found by trying. */
function fingerprint(value: unknown): string {
  return createHash("sha256").update(JSON.stringify(value, sorted)).digest("hex").slice(0, 12);
}

function sorted(_key: string, value: unknown): unknown {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}
