import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { inRoot } from "../../deploy/root.ts";
import { findTool, tools } from "../tools.ts";

/** A new one is made when this changes. */
const release = "bookworm";
const packages = ["systemd", "systemd-sysv"];
const image = inRoot("out", "systemd", `${release}-1`);
/** Of the installer, on a slow line. */
const makeLimitMs = 900_000;

/** The folder of the root image, when it was made before. It is only copied from, never started itself. */
export function cachedImage(): string | undefined {
  return existsSync(join(image, "usr/lib/systemd/systemd")) ? image : undefined;
}

/** Why an init of its own cannot be booted on this machine at all; undefined when it can be tried. */
export function cannotBoot(): string | undefined {
  if (process.platform !== "linux") return "it needs Linux";
  if (process.getuid?.() !== 0) return "it needs root, to make namespaces and mounts of its own";
  if (!cgroupRoot()) return "there is no cgroup v2 tree, not even beside v1";
  for (const tool of ["unshare", "nsenter", "setpriv"] as const)
    if (!findTool(tool)) return `${tool} is missing: apt-get install ${tools[tool].package}`;
  return undefined;
}

/** Where the v2 tree of cgroups is mounted; undefined when there is none. */
export function cgroupRoot(): string | undefined {
  return ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].find((path) => existsSync(join(path, "cgroup.procs")));
}

/** Debian's smallest system with systemd, from its own archive: about 60 MB to fetch, a minute. Throws with the reason. */
export function makeImage(say: (line: string) => void): string {
  const made = cachedImage();
  if (made) return made;
  const installer = findTool("debootstrap");
  if (!installer) throw new Error("debootstrap is missing: apt-get install debootstrap");
  const half = `${image}.part`;
  rmSync(half, { recursive: true, force: true });
  mkdirSync(dirname(half), { recursive: true });
  say(`making a root image with systemd in ${image}, once`);
  const args = ["--variant=minbase", `--include=${packages.join(",")}`, release, half];
  const done = spawnSync(installer, args, { encoding: "utf8", timeout: makeLimitMs });
  if (done.status !== 0)
    throw new Error(`debootstrap: ${done.error?.message ?? done.stdout.slice(-500)}${done.stderr}`);
  for (const spare of ["var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale"])
    rmSync(join(half, spare), { recursive: true, force: true });
  renameSync(half, image);
  return image;
}
