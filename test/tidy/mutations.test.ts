import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { inRoot, root } from "../../deploy/root.ts";

const folder = inRoot("test", "mutations");

test("each mutation still applies: one that the code has moved away from breaks nothing, and proves nothing", () => {
  const patches = readdirSync(folder).filter((file) => file.endsWith(".patch"));
  const stale = patches.filter((file) => {
    const { status, error } = spawnSync("git", ["apply", "--check", `${folder}/${file}`], { cwd: root });
    if (error) throw error;
    return status !== 0;
  });
  expect(patches.length).toBeGreaterThan(50);
  expect(stale).toEqual([]);
});
