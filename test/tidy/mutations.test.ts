import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { inRoot, root } from "../../deploy/root.ts";

const folder = inRoot("test", "mutations");

test("each mutation still applies: one that the code has moved away from breaks nothing, and proves nothing", (context) => {
  if (spawnSync("git", ["--version"]).error) return context.skip("git is missing: apt-get install git");
  const patches = readdirSync(folder).filter((file) => file.endsWith(".patch"));
  // Whoever owns the clone, and whether it is one: what counts are the files.
  const env = { ...process.env, GIT_CEILING_DIRECTORIES: inRoot("..") };
  const stale = patches.filter((file) => {
    const { status } = spawnSync("git", ["apply", "--check", `${folder}/${file}`], { cwd: root, env });
    return status !== 0;
  });
  expect(patches.length).toBeGreaterThan(50);
  expect(stale).toEqual([]);
});
