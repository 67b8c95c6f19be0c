/** Installs this program so that it comes back by itself: files, good copy, unit; and removes it again. */
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { isNewEnough } from "@blueflame/shared/cli/launch.mjs";
import { readConfigFile, thisMachine } from "@blueflame/shared/config/machine.driver.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { makeFolder, syncFolder } from "@blueflame/shared/store/folder.ts";
import { version } from "@blueflame/shared/version.ts";
import { type GoodFile, writeGoodCopy } from "../bootstrap/good-copy.ts";
import { agentConfigAt, readAgentConfig } from "../config/config.driver.ts";
import { places } from "../constants.ts";
import { clearWord } from "../watchdog/word.ts";
import { copyOf, personsPath } from "./config-copy.ts";
import {
  certificatesAt,
  hubConfig,
  installedCommand,
  type Layout,
  otherwise,
  type ProgramFile,
  programFiles,
  shellWord,
  unitName,
  unitText,
  watchdogCommand,
} from "./plan.ts";

/** A unit that starts says so within its own TimeoutStartSec. */
const systemctlWithinMs = 90_000;

/** One thing that was done, or that a person has to do. */
export interface Done {
  readonly what: string;
  readonly where: string;
}

const packaged = "pkg" in process;

/** What a person wants installed beside the program. */
interface Given {
  /** Of the config's file. */
  readonly config: string | undefined;
  readonly hub: readonly string[];
}

/**
 * Installs the program that runs now. `config` is copied, so that it says at its place what it says here (config-copy.ts); `hub` sets the
 * hub's addresses in that copy. Nothing is written before the config is known to be of use. May be run again at any time: each file is
 * replaced in one step, and the service goes on with the new ones. Throws INSTALL_FAILED, DATA_DIR_UNUSABLE, CONFIG_INVALID,
 * CONFIG_NOT_FOUND, CONFIG_TORN.
 */
export function install(layout: Layout, given: Given): readonly Done[] {
  const { node } = process.versions;
  if (!isNewEnough(node))
    throw new Fault("NODE_VERSION", `this is Node ${node}, and it would be installed with the program`);
  const done: Done[] = [];
  const files = ownFiles();
  const config = configFor(layout, given);
  for (const { source, name } of files) placeFile(source, join(layout.library, name));
  done.push({ what: "program", where: layout.library });
  placeCommand(layout);
  done.push({ what: "command", where: layout.command });
  if (config?.text !== undefined) writeWhole(layout.config, config.text, 0o600);
  if (config) done.push({ what: "config", where: layout.config });
  if (config?.settled !== undefined) done.push({ what: "keep", where: config.settled });
  makeFolder(layout.dataDir);
  // Before the good copy is replaced: what does not start here is none.
  checkStarts(layout);
  keepGood(layout, files, config !== undefined);
  done.push({ what: "good copy", where: join(layout.dataDir, places.good) });
  const watchdog = watchdogCommand(layout, packaged, config !== undefined);
  if (!hasSystemd()) return [...done, ...otherwise(watchdog).map((where) => ({ what: "to do", where }))];
  writeWhole(layout.unit, unitText(layout, watchdog), 0o644);
  done.push({ what: "unit", where: layout.unit });
  clearWord(layout.dataDir); // a person installs it: it is wanted
  systemctl(layout, "daemon-reload");
  systemctl(layout, "enable", unitName);
  // Not `start`: an installation over an older one goes on with the new program. The workloads do not notice.
  systemctl(layout, "restart", unitName);
  done.push({
    what: "service",
    where: `${unitName} runs; look at it with: systemctl${layout.user ? " --user" : ""} status ${unitName}`,
  });
  if (layout.user) done.push({ what: "to do", where: "to run without a login, once: loginctl enable-linger" });
  return done;
}

/** Removes what `install` made, except config and data. The workloads go on. Throws INSTALL_FAILED. */
export function uninstall(layout: Layout): readonly Done[] {
  const done: Done[] = [];
  if (hasSystemd() && existsSync(layout.unit)) {
    systemctl(layout, "disable", "--now", unitName);
    rmSync(layout.unit, { force: true });
    systemctl(layout, "daemon-reload");
    done.push({ what: "service stopped and removed", where: layout.unit });
  }
  for (const [what, where] of [
    ["command removed", layout.command],
    ["program removed", layout.library],
    ["good copy removed", join(layout.dataDir, places.good)],
  ] as const) {
    if (lstatSync(where, { throwIfNoEntry: false }) === undefined) continue;
    doing(where, () => rmSync(where, { recursive: true, force: true }));
    done.push({ what, where });
  }
  for (const kept of [layout.config, layout.dataDir]) if (existsSync(kept)) done.push({ what: "kept", where: kept });
  return done;
}

function hasSystemd(): boolean {
  return existsSync("/run/systemd/system");
}

function ownFiles(): readonly ProgramFile[] {
  if (packaged) return programFiles({ packaged, executable: process.execPath });
  const folder = dirname(fileURLToPath(import.meta.url));
  const native = join(folder, "native");
  const addons = existsSync(native) ? readdirSync(native).filter((name) => name.endsWith(".node")) : [];
  const files = programFiles({ packaged, executable: process.execPath, folder, addons });
  const missing = files.find(({ source }) => !existsSync(source));
  if (missing) throw new Fault("INSTALL_FAILED", `'${missing.source}' is missing; build it with \`npm run build\``);
  return files;
}

/** Beside its place first, then in one step: a process that runs the old file goes on with it. */
function placeFile(source: string, target: string): void {
  replacing(target, () => {
    if (existsSync(target) && realpathSync(source) === realpathSync(target)) return; // installs itself again
    mkdirSync(dirname(target), { recursive: true, mode: 0o755 });
    copyFileSync(source, `${target}.new`);
    chmodSync(`${target}.new`, 0o755);
    syncFolder(`${target}.new`); // the file itself: a program without its end would be the one that starts
    renameSync(`${target}.new`, target);
    syncFolder(dirname(target));
  });
}

function writeWhole(target: string, text: string, mode: number): void {
  replacing(target, () => {
    mkdirSync(dirname(target), { recursive: true, mode: 0o755 });
    writeFileSync(`${target}.new`, text, { mode, flush: true });
    chmodSync(`${target}.new`, mode);
    renameSync(`${target}.new`, target);
    syncFolder(dirname(target));
  });
}

function placeCommand(layout: Layout): void {
  const command = installedCommand(layout, packaged);
  if (!packaged) {
    writeWhole(layout.command, `#!/bin/sh\nexec ${command.map(shellWord).join(" ")} "$@"\n`, 0o755);
    return;
  }
  replacing(layout.command, () => {
    mkdirSync(dirname(layout.command), { recursive: true, mode: 0o755 });
    rmSync(`${layout.command}.new`, { force: true });
    symlinkSync(command[0] ?? "", `${layout.command}.new`);
    renameSync(`${layout.command}.new`, layout.command);
    syncFolder(dirname(layout.command));
  });
}

/** The config of the installation, checked; `text` is what has to be written, without it the file stays as it is. */
interface ConfigFor {
  readonly text?: string;
  /** For people: the folder of the file that it was copied from, when something in the copy is absolute that was not. */
  readonly settled?: string | undefined;
}

function configFor(layout: Layout, { config, hub }: Given): ConfigFor | undefined {
  const source = resolve(config ?? layout.config);
  if (config === undefined && !existsSync(source)) {
    if (hub.length === 0) return undefined;
    const text = hubConfig(layout, hub);
    agentConfigAt(layout.config, text, process.env);
    return { text };
  }
  readAgentConfig(source, process.env);
  if (source === layout.config && hub.length === 0) return {};
  const given = { text: readConfigFile(source), path: source, searchPath: personsPath(process.env.PATH ?? "") };
  const options = { path: layout.config, hub, certificates: certificatesAt(layout) };
  const text = copyOf({ ...given, machine: thisMachine }, options);
  return { text, settled: hub.length === 0 && text !== given.text ? keepSaid(source) : undefined };
}

function keepSaid(source: string): string {
  return `${dirname(source)}: what ${basename(source)} names by relative paths, its folder as the default cwd, too, is absolute in the copy`;
}

function keepGood(layout: Layout, files: readonly ProgramFile[], config: boolean): void {
  const kept: GoodFile[] = files.map(({ name, kept: as }) => {
    const installed = join(layout.library, name);
    return { source: installed, target: installed, name: as };
  });
  if (config) kept.push({ source: layout.config, target: layout.config, name: "config.yaml" });
  doing(join(layout.dataDir, places.good), () => writeGoodCopy(layout.dataDir, kept, version));
}

/** A copy that does not run is found now, and not at the next reboot. */
function checkStarts(layout: Layout): void {
  const [file = "", ...args] = installedCommand(layout, packaged);
  const env = { ...process.env, PKG_NATIVE_CACHE_PATH: join(layout.dataDir, "native") };
  const ran = spawnSync(file, [...args, "--version"], { encoding: "utf8", timeout: 30_000, env });
  if (ran.status !== 0 || ran.stdout.trim() !== version)
    throw new Fault("INSTALL_FAILED", `'${file}' does not start: ${ran.error?.message ?? ran.stderr.trim()}`);
}

function systemctl(layout: Layout, ...words: string[]): void {
  const args = [...(layout.user ? ["--user"] : []), ...words];
  const ran = spawnSync("systemctl", args, { encoding: "utf8", timeout: systemctlWithinMs });
  if (ran.status === 0) return;
  const because = ran.error?.message ?? ran.stderr.trim().split("\n").at(-1) ?? "";
  throw new Fault("INSTALL_FAILED", `systemctl ${args.join(" ")} failed: ${because}`);
}

/** By way of `<target>.new`, of which nothing is left when it fails. */
function replacing(target: string, what: () => void): void {
  doing(target, () => {
    try {
      if (lstatSync(target, { throwIfNoEntry: false })?.isDirectory())
        throw new Error("it is a directory; move it out of the way");
      what();
    } catch (error) {
      rmSync(`${target}.new`, { force: true });
      throw error;
    }
  });
}

function doing(where: string, what: () => void): void {
  try {
    what();
  } catch (cause) {
    throw new Fault("INSTALL_FAILED", `cannot write '${where}': ${(cause as Error).message}`, { cause });
  }
}
