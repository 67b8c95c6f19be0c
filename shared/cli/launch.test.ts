import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { isNewEnough } from "./launch.mjs";

const root = join(import.meta.dirname, "../..");
let folder = "";
let inside = "";

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "bf-launch-"));
  await writeFile(
    join(folder, "bundle.mjs"),
    "console.log(process.versions.node, process.argv.slice(2).join()); process.exitCode = 7;\n",
  );
  // A bundle inside the repository finds the `node` package of the repository.
  inside = await mkdtemp(join(root, "node_modules", ".bf-launch-"));
  await writeFile(
    join(inside, "bundle.mjs"),
    "console.log(process.versions.node, process.argv.slice(2).join()); process.exitCode = 7;\n",
  );
  for (const [place, bundle] of [
    ["outside.mjs", join(folder, "bundle.mjs")],
    ["inside.mjs", join(inside, "bundle.mjs")],
    ["missing.mjs", join(folder, "nothing.mjs")],
  ] as const) {
    await writeFile(
      join(folder, place),
      `import { launch } from "${join(import.meta.dirname, "launch.mjs")}";\nawait launch(new URL("${pathToFileURL(bundle)}"));\n`,
    );
  }
});
afterAll(async () => {
  await rm(folder, { recursive: true });
  await rm(inside, { recursive: true });
});

/** Node before 22.23, where this machine has one. */
const old = ["/usr/bin/node", "/usr/local/bin/node"].find(
  (path) => existsSync(path) && !isNewEnough(spawnSync(path, ["-p", "process.versions.node"]).stdout.toString()),
);

function run(node: string, script: string) {
  const ran = spawnSync(node, [join(folder, script), "a", "b c"], { encoding: "utf8" });
  return { code: ran.status, out: ran.stdout, err: ran.stderr };
}

test("22.23 is new enough and 22.22 is not", () => {
  expect(["20.20.2", "22.22.9", "22.23.0", "23.0.0", "24.21.0"].map(isNewEnough)).toEqual([
    false,
    false,
    true,
    true,
    true,
  ]);
});

test("a new Node runs the bundle itself, with the arguments and the exit code", () => {
  expect(run(process.execPath, "outside.mjs")).toEqual({ code: 7, out: `${process.versions.node} a,b c\n`, err: "" });
});

test("a bundle that was never built is named with what to do", () => {
  const ran = run(process.execPath, "missing.mjs");
  expect(ran.code).toBe(1);
  expect(ran.err).toMatch(/^\[NOT_BUILT\] .*nothing\.mjs is not there\. Build it with `npm run build`\.\n$/);
});

test.skipIf(old === undefined)("an old Node hands over to the Node of the repository (needs one before 22.23)", () => {
  const ran = run(old ?? "", "inside.mjs");
  expect([ran.code, ran.err]).toEqual([7, ""]);
  expect(isNewEnough(ran.out.split(" ")[0] ?? "")).toBe(true);
  expect(ran.out).toContain("a,b c");
});

test.skipIf(old === undefined)(
  "an old Node with none beside it says which one is needed (needs one before 22.23)",
  () => {
    const ran = run(old ?? "", "outside.mjs");
    expect(ran.code).toBe(1);
    expect(ran.err).toMatch(/^\[NODE_VERSION\] this is Node 2\d.*Node 22\.23 or newer/);
  },
);
