import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { expect, test } from "vitest";
import { inRoot } from "./root.ts";

test("a process that has no number yet is nobody: number 0 would end the caller and its whole group", async () => {
  const source = `import { signalIfThere } from ${JSON.stringify(inRoot("deploy", "running.ts"))};
    console.log([0, -0, -1, Number.NaN].map((pid) => signalIfThere(pid, "SIGTERM")).join(" "));`;
  // In a group of its own: were it wrong, it would end itself and not us.
  const child = spawn(process.execPath, ["--input-type=module", "-e", source], { detached: true });
  expect((await text(child.stdout)).trim()).toBe("false false false false");
});
