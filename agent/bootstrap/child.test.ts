import { expect, test } from "vitest";
import { lineIn } from "./child.ts";

const said = (err: string) => lineIn({ code: 2, out: "", err });

test("the line that says why comes with what it lists below it, the first three of many, and each of them bounded", () => {
  const listed = ["a", "b", "c", "d", "e"].map((key, at) => `  f:${at + 1}:1 ${key}: unknown key`);
  expect(said(`[CONFIG_INVALID] f cannot be used:\n${listed[0]}\n1 problem. Mend it.\n`)).toBe(
    "[CONFIG_INVALID] f cannot be used: f:1:1 a: unknown key",
  );
  expect(said(`a warning\n[CONFIG_INVALID] f cannot be used:\n${listed.join("\n")}\n5 problems. Mend it.`)).toBe(
    "[CONFIG_INVALID] f cannot be used: f:1:1 a: unknown key; f:2:1 b: unknown key; f:3:1 c: unknown key; and 2 more",
  );
  expect(said(`[X] y:\n  ${"z".repeat(10_000)}`).length).toBeLessThan(700);
});

test("what is no error of ours: its last line, or the exit code", () => {
  expect(said("Error: boom\n    at a\nNode.js v24")).toBe("Node.js v24");
  expect(said("\n")).toBe("exit code 2");
  expect(said("[STORE_LOCKED] somebody has it. Stop it.\nnext")).toBe("[STORE_LOCKED] somebody has it. Stop it.");
});
