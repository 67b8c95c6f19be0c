/**
 * The config as it is copied to its place. What it says must not change by the move: relative paths in it start from the folder of the
 * file, and who is started by init has another PATH than the person who installs. Pure.
 */
import { dirname, isAbsolute, resolve } from "node:path";
import { ConfigText, type Written, withHub } from "@blueflame/shared/config/edit.ts";
import type { Machine } from "@blueflame/shared/config/machine.ts";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import { type AgentConfig, agentConfigOf } from "../config/config.ts";
import { stamped, stampOf } from "../config/stamp.ts";

/** What every init searches; systemd's own default has more, cron's no more than the last two. */
const initPath = "/usr/local/bin:/usr/bin:/bin";

/** Where a config names files and folders. */
const files = (
  "hub.ca hub.cert hub.key playbooks disposable.* jobs.*.file meta.sources.*.file meta.coherence.*.file workloads.*.cwd " +
  "workloads.*.beat.file workloads.*.clean.files.* workloads.*.clean.sockets.* workloads.*.config_files.* workloads.*.data.paths.* " +
  "workloads.*.artifacts.*"
).split(" ");
/** Programs that are looked for from the folder of the file … */
const nodePrograms = ["pager.0", "jobs.*.command.0"];
/** … and those of a workload, from its own folder. */
const workloadPrograms = ["command.0", "probes.*.exec.command.0", "data.dump.0", "data.verify.0"];

/** The file as it lies now, and who reads it. */
export interface Source {
  readonly text: string;
  /** Absolute. */
  readonly path: string;
  readonly searchPath: string;
  readonly machine: Machine;
}
export interface CopyOptions {
  /** Where the copy will lie; absolute. */
  readonly path: string;
  /** Addresses of a hub instead of those in the file; empty: as it is. */
  readonly hub: readonly string[];
  /** For a file that is given a hub and says nothing of certificates. */
  readonly certificates: { readonly ca: string; readonly cert: string; readonly key: string };
}

/**
 * The text of the copy: paths, and programs that init would not find, are absolute in it; everything else, comments too, stays as it is.
 * It was read as it will be read at its place, and says there what the file says here. Throws CONFIG_INVALID for the file itself, and
 * INSTALL_FAILED for one whose copy would say something else (a value that stands for a path and for something else, too).
 */
export function copyOf(source: Source, { path, hub, certificates }: CopyOptions): string {
  const { text, machine } = source;
  const here = agentConfigOf(text, source);
  const wanted: AgentConfig = hub.length === 0 ? here : { ...here, hub: hubOf(here, hub, certificates) };
  const settled = settledText(source);
  const edited = hub.length === 0 ? settled : withHub(settled, hub, certificates);
  const copy = edited !== text && stampOf(text) === "whole" ? stamped(edited) : edited;
  const because = differenceOf(wanted, () => agentConfigOf(copy, { path, searchPath: initPath, machine }));
  if (because === undefined) return copy;
  throw new Fault(
    "INSTALL_FAILED",
    `'${source.path}' would not say the same at '${path}': ${because}; write the paths in it as absolute ones`,
  );
}

/** npx puts programs of the folder where it is typed before those of the machine: a node is not to depend on them without need. */
export function personsPath(path: string): string {
  const folders = path.split(":");
  const isOfNpx = (folder: string) => /\/node_modules\/|\/node_modules$/.test(folder);
  return [...folders.filter((folder) => !isOfNpx(folder)), ...folders.filter(isOfNpx)].join(":");
}

function hubOf(
  { hub }: AgentConfig,
  addresses: readonly string[],
  { ca, cert, key }: CopyOptions["certificates"],
): NonNullable<AgentConfig["hub"]> {
  return { ...(hub ?? { caPath: ca, certPath: cert, keyPath: key }), addresses };
}

/** The file's text without anything that depends on where it lies or who looks for programs. */
function settledText(source: Source): string {
  const { path, text } = source;
  const folder = dirname(path);
  const copy = new ConfigText(text);
  const absolute = (one: Written) => {
    if (one.text && !isAbsolute(one.text)) copy.replace(one, resolve(folder, one.text));
  };
  for (const place of files) for (const one of copy.at(place)) absolute(one);
  for (const one of nodePrograms.flatMap((place) => copy.at(place))) {
    if (one.text?.includes("/")) absolute(one);
    else nameProgram(copy, one, source);
  }
  for (const workload of copy.at("workloads.*")) {
    const own = (place: string) => copy.at(place, workload)[0];
    const cwd = own("cwd");
    if (!cwd) copy.add(workload, "cwd", folder);
    else if (cwd.text === "") copy.replace(cwd, folder);
    if (own("env.PATH")) continue; // it says itself where its programs are
    for (const one of workloadPrograms.flatMap((place) => copy.at(place, workload))) nameProgram(copy, one, source);
    const safe = own("safe_mode.command.0");
    if (safe && !own("safe_mode.env.PATH")) nameProgram(copy, safe, source);
  }
  return copy.toString();
}

/** The program's file instead of its name where init would find another one, or none. */
function nameProgram(copy: ConfigText, one: Written, { path, searchPath, machine }: Source): void {
  if (!one.text || one.text.includes("/")) return;
  const found = machine.findProgram(one.text, dirname(path), searchPath);
  const byInit = machine.findProgram(one.text, dirname(path), initPath);
  if ("file" in found && !("file" in byInit && byInit.file === found.file)) copy.replace(one, found.file);
}

function differenceOf(wanted: AgentConfig, read: () => AgentConfig): string | undefined {
  try {
    return firstDifference(wanted, read(), "");
  } catch (error) {
    if (isFault(error)) return error.saw;
    throw error;
  }
}

/** Where two values of plain data differ first; undefined when they do not. */
function firstDifference(a: unknown, b: unknown, at: string): string | undefined {
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null)
    return Object.is(a, b) ? undefined : `${at} changes`;
  const [left, right] = [a, b] as [Record<string, unknown>, Record<string, unknown>];
  for (const key of new Set([...Object.keys(left), ...Object.keys(right)])) {
    const found = firstDifference(left[key], right[key], at === "" ? key : `${at}.${key}`);
    if (found !== undefined) return found;
  }
  return undefined;
}
