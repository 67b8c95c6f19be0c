import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { replaceFile } from "./folder.ts";

test("a draft that was left over with a loose mode does not give it to the file", () => {
  const dir = mkdtempSync(join(tmpdir(), "bf-folder-"));
  try {
    const path = join(dir, "file");
    writeFileSync(`${path}.new`, "half of an earlier o");
    chmodSync(`${path}.new`, 0o644);
    replaceFile(path, "whole");
    expect([readFileSync(path, "utf8"), statSync(path).mode & 0o777, readdirSync(dir)]).toEqual([
      "whole",
      0o600,
      ["file"],
    ]);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
