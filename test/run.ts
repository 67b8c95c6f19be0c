// npm test [-- vitest's own arguments]: brings what tests need, builds, runs the suite. The last line is its result.
import { type SpawnOptions, spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { inRoot, root } from "../deploy/root.ts";
import { installTools } from "./install-tools.ts";
import { bundled } from "./support/bundle.ts";
import { lastLine, tally } from "./tally.ts";

const reportFile = inRoot("out", "test.json");

process.exitCode = await main(process.argv.slice(2));

async function main(args: string[]): Promise<number> {
  installTools((line) => console.log(line));
  // A program that does not build makes the tests that run it fail; the others still have something to say.
  await run([inRoot("deploy", "build.ts")]);
  await buildOwn();
  mkdirSync(inRoot("out"), { recursive: true });
  rmSync(reportFile, { force: true });
  rmSync(inRoot("out", "compile-cache"), { recursive: true, force: true }); // it would only grow
  const vitest = inRoot("node_modules", "vitest", "vitest.mjs");
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${reportFile}`];
  const code = await run([vitest, "run", ...reporters, ...args]);
  const result = tally(readReport(), code);
  console.log(lastLine(result));
  return result.failed === 0 ? 0 : 1;
}

/** The programs that tests have for themselves, before several files at once find that they are not built. */
async function buildOwn(): Promise<void> {
  const own = ["test/support", "test/contract"].flatMap((folder) =>
    readdirSync(inRoot(folder))
      .filter((name) => name.endsWith(".main.ts"))
      .map((name) => `${folder}/${name}`),
  );
  await Promise.all(own.map((entry) => bundled(entry).catch(() => undefined))); // esbuild has said what is wrong
}

function run(args: string[]): Promise<number> {
  const options: SpawnOptions = { cwd: root, stdio: "inherit" };
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, options);
    child.on("error", () => resolve(1));
    child.on("exit", (code) => resolve(code ?? 1));
  });
}

function readReport(): unknown {
  try {
    return JSON.parse(readFileSync(reportFile, "utf8"));
  } catch {
    return undefined; // vitest died before it could write: the tally calls that a failure
  }
}
