import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { inRoot, root } from "../../deploy/root.ts";

const buf = inRoot("node_modules", ".bin", "buf");
// buf starts the generator by its name, and that runs on the `node` it finds first.
const env = { ...process.env, PATH: `${inRoot("node_modules", ".bin")}:${process.env.PATH ?? ""}` };
let scratch = "";

beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), "blueflame-proto-"));
});
afterEach(() => rmSync(scratch, { recursive: true, force: true }));

const filesIn = (folder: string) =>
  readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".ts"))
    .sort();

test("shared/gen is what `npm run generate` makes of the .proto files of now", () => {
  execFileSync(buf, ["generate", "--output", scratch], { cwd: root, env });
  const fresh = join(scratch, "shared", "gen");
  expect(filesIn(fresh)).toEqual(filesIn(inRoot("shared", "gen")));
  const stale = filesIn(fresh).filter(
    (path) => readFileSync(join(fresh, path), "utf8") !== readFileSync(inRoot("shared", "gen", path), "utf8"),
  );
  expect(stale).toEqual([]);
});

const breaking = (folder: string) =>
  spawnSync(buf, ["breaking", "--against", inRoot("proto", "baseline.binpb")], { cwd: folder, env, encoding: "utf8" });

test("the protocol of now breaks nothing that the committed baseline promised", () => {
  expect(breaking(root)).toMatchObject({ status: 0, stdout: "" });
});

test("one break of the protocol is found: a field that changes its number", () => {
  cpSync(inRoot("proto"), join(scratch, "proto"), { recursive: true });
  cpSync(inRoot("buf.yaml"), join(scratch, "buf.yaml"));
  const file = join(scratch, "proto", "blueflame", "link", "v1", "link_service.proto");
  const before = readFileSync(file, "utf8");
  const after = before.replace("string node_id = 1;", "string node_id = 101;");
  expect(after).not.toBe(before);
  writeFileSync(file, after);
  const found = breaking(scratch);
  expect(found.status).not.toBe(0);
  expect(found.stdout).toContain("node_id");
});
