import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { inRoot, root } from "../../deploy/root.ts";

const leftOut = new Set(["node_modules", ".git", "dist", "out", ".blueflame"]);
const workspaces: Readonly<Record<string, string>> = {
  agent: "agent",
  hub: "hub",
  shared: "shared",
  "risk-firewall": "examples/risk-firewall",
};

/**
 * A copy of the clone that may be broken at will. Its packages are the clone's, by links; its workspaces are its own: an import
 * of `@blueflame/shared` must lead to the broken copy and not to the clone. The caller removes it.
 */
export function copyOfClone(): string {
  const copy = mkdtempSync(join(tmpdir(), "blueflame-mutation-"));
  cpSync(root, copy, {
    recursive: true,
    filter: (source) => !leftOut.has(relative(root, source).split("/").at(-1) ?? ""),
  });
  linkPackages(inRoot("node_modules"), join(copy, "node_modules"));
  for (const folder of Object.values(workspaces)) {
    const own = inRoot(folder, "node_modules");
    if (existsSync(own)) symlinkSync(own, join(copy, folder, "node_modules"));
  }
  mkdirSync(join(copy, "node_modules", "@blueflame"));
  for (const [name, folder] of Object.entries(workspaces)) {
    symlinkSync(join("..", "..", folder), join(copy, "node_modules", "@blueflame", name));
  }
  return copy;
}

function linkPackages(from: string, to: string): void {
  mkdirSync(to);
  // vite keeps a cache there, which the copy must not share.
  for (const name of readdirSync(from)) {
    if (name !== "@blueflame" && name !== ".vite" && name !== ".vitest") symlinkSync(join(from, name), join(to, name));
  }
}
