/** Files and folders that a config names, and what a slip of the hand must not hand over to a clean-up or a restore. Pure. */
import { dirname, resolve } from "node:path";
import type { AgentConfig as AgentMessage } from "@blueflame/shared/gen/blueflame/config/v1/agent_config_pb.ts";
import type { AgentDraft } from "./values.ts";

/** What belongs to the system itself, or holds what is everybody's. */
const systemFolders = new Set(
  (
    "/ /bin /boot /dev /etc /home /lib /lib64 /opt /proc /root /run /sbin /srv /sys /usr /usr/bin /usr/lib /usr/local /usr/sbin " +
    "/usr/share /var /var/lib /var/log /var/spool"
  ).split(" "),
);
/** Nothing below these is anybody's to remove, move or write back. */
const systemTrees = ["/boot", "/dev", "/proc", "/sys"];

/** A path as an absolute one, from the config's folder. An empty one would be that folder itself, so it is a problem. */
export function placeOf(path: string, at: string, folder: string, draft: AgentDraft): string {
  if (path.trim() === "" && !draft.isBroken(at)) draft.add(at, "an empty path", "allowed is a file or a folder");
  return resolve(folder, path);
}

/** As {@link placeOf}, for each of a list. */
export function placesOf(paths: readonly string[], at: string, folder: string, draft: AgentDraft): string[] {
  return paths.map((path, index) => placeOf(path, `${at}[${index}]`, folder, draft));
}

/** Why nobody may empty, move or replace it; undefined when it may be. */
function systemOwns(path: string): string | undefined {
  // Files in memory are anybody's: a program's scratch lies there.
  const inMemory = path.startsWith("/dev/shm/");
  if (systemFolders.has(path) || (!inMemory && systemTrees.some((tree) => isWithin(tree, path))))
    return `${path} is the system's`;
  return /^\/home\/[^/]+$/.test(path) ? `${path} is somebody's home` : undefined;
}

/** What must outlive every clean-up and quarantine, by what it is. */
export interface Kept {
  readonly path: string;
  readonly what: string;
}

/** The config file, and of each workload where it works, its data and its own config files. */
export function keptOf({ workloads }: AgentMessage, configPath: string): readonly Kept[] {
  const folder = dirname(configPath);
  return [
    { path: configPath, what: "this config file" },
    ...workloads.flatMap(({ name, cwd, data, configFiles }) => [
      { path: resolve(folder, cwd), what: `the working directory of "${name}"` },
      ...(data?.paths ?? [])
        .filter(Boolean)
        .map((path) => ({ path: resolve(folder, path), what: `data of "${name}"` })),
      ...configFiles
        .filter(Boolean)
        .map((path) => ({ path: resolve(folder, path), what: `a config file of "${name}"` })),
    ]),
  ];
}

/** What is emptied or moved away (`allowed` says for what) must hold nothing that is to be kept. */
export function checkGivenUp(
  path: string,
  at: string,
  kept: readonly Kept[],
  allowed: string,
  draft: AgentDraft,
): void {
  if (draft.isBroken(at)) return;
  const held = kept.find((one) => isWithin(path, one.path));
  const problem = systemOwns(path) ?? (held && `${path} holds ${held.what}`);
  if (problem) draft.add(at, problem, allowed);
}

/** Data is replaced whole by a restore: nothing of the system, and no path twice. */
export function checkData(paths: readonly string[], at: string, draft: AgentDraft): void {
  for (const [index, path] of paths.entries()) {
    const here = `${at}[${index}]`;
    if (draft.isBroken(here)) continue;
    const system = systemOwns(path);
    const outer = paths.find((one, other) => other !== index && isWithin(one, path) && (one !== path || other < index));
    if (system) draft.add(here, system, "allowed is what this workload alone writes");
    else if (outer) draft.add(here, `${path} lies in ${outer} already`, "allowed is each file and folder once");
  }
}

function isWithin(outer: string, inner: string): boolean {
  return inner === outer || inner.startsWith(outer === "/" ? outer : `${outer}/`);
}
