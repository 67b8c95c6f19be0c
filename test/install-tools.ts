import { spawnSync } from "node:child_process";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { findTool, type Tool, tools } from "./tools.ts";

const policyFile = "/usr/sbin/policy-rc.d";

/**
 * Installs what tests use, where that is possible without asking: as root on a Debian with apt. No service is started. Never
 * fails: what cannot be installed makes the tests that need it skip. `BLUEFLAME_NO_INSTALL=1` switches it off.
 */
export function installTools(say: (line: string) => void, names: readonly Tool[] = Object.keys(tools) as Tool[]): void {
  const missing = names.filter((name) => findTool(name) === undefined);
  if (missing.length === 0) return;
  const packages = [...new Set(missing.map((name) => tools[name].package))];
  const command = `apt-get install --no-install-recommends ${packages.join(" ")}`;
  if (process.env.BLUEFLAME_NO_INSTALL || process.getuid?.() !== 0 || !existsSync("/usr/bin/apt-get")) {
    say(`Some tests will be skipped for want of ${missing.join(", ")}. As root: ${command}`);
    return;
  }
  say(`Installing what tests use: ${packages.join(", ")}. (BLUEFLAME_NO_INSTALL=1 switches this off.)`);
  withoutServices(() => {
    apt(["update"], say);
    // Together first, as that is fast; one by one when one of them spoils it for the others.
    if (!apt(["install", "-y", "--no-install-recommends", ...packages], say) && packages.length > 1) {
      for (const name of packages) apt(["install", "-y", "--no-install-recommends", name], say);
    }
  });
  const still = missing.filter((name) => findTool(name) === undefined);
  if (still.length > 0) say(`Not to be had here: ${still.join(", ")}. Tests that need them are skipped.`);
}

/** Debian asks this file whether a package may start its service: 101 is no. */
function withoutServices(run: () => void): void {
  const ours = !existsSync(policyFile);
  if (ours) writeFileSync(policyFile, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  try {
    run();
  } finally {
    if (ours) rmSync(policyFile, { force: true });
  }
}

function apt(args: string[], say: (line: string) => void): boolean {
  const done = spawnSync("/usr/bin/apt-get", ["-q", "-o", "DPkg::Lock::Timeout=60", ...args], {
    encoding: "utf8",
    timeout: 180_000,
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
  });
  if (done.status === 0) return true;
  const because = (done.error?.message ?? done.stderr).trim().split("\n").slice(-2).join(" ");
  say(`apt-get ${args[0]} did not work: ${because}`);
  return false;
}
