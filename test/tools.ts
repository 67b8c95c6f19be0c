import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import type { TestContext } from "vitest";

/** Programs from outside that some tests and benchmarks use, and the Debian package that brings each. The one place for it. */
export const tools = {
  "redis-server": { package: "redis-server", for: "guarding a real redis" },
  "redis-cli": { package: "redis-tools", for: "putting a redis into an endless script" },
  nginx: { package: "nginx-light", for: "guarding a real nginx" },
  promtool: { package: "prometheus", for: "checking /metrics" },
  runsv: { package: "runit", for: "comparing with runit" },
  chromium: { package: "chromium", for: "the status page in a real browser" },
  tmux: { package: "tmux", for: "trying the commands on a real terminal" },
  python3: { package: "python3", for: "a program that writes over its own environment" },
  "systemd-notify": { package: "systemd", for: "the notify protocol without C functions" },
  "stress-ng": { package: "stress-ng", for: "a machine that strangers starve" },
  debootstrap: { package: "debootstrap", for: "a root image with a real init" },
  unshare: { package: "util-linux", for: "booting that image in namespaces of its own" },
  nsenter: { package: "util-linux", for: "looking into it" },
  setpriv: { package: "util-linux", for: "ending it with the test" },
  cc: { package: "gcc", for: "compiling the floors of the benchmarks" },
} as const satisfies Record<string, { package: string; for: string }>;

export type Tool = keyof typeof tools;

// Debian puts daemons where an ordinary user's PATH does not look.
const beyondPath = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/** The absolute path of a tool, undefined when this machine does not have it. */
export function findTool(name: Tool): string | undefined {
  for (const folder of [...(process.env.PATH ?? "").split(delimiter), ...beyondPath]) {
    if (folder === "") continue;
    try {
      const path = join(folder, name);
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // not in this folder
    }
  }
  return undefined;
}

/** The path of a tool inside a test; without it the test is skipped, with the reason and what to do. */
export function requireTool(context: TestContext, name: Tool): string {
  return findTool(name) ?? context.skip(`${name} is missing: apt-get install ${tools[name].package}`);
}
