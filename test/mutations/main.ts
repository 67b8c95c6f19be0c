// npm run mutate [-- NAME…]: breaks a copy of the clone, one patch at a time, and demands that the named tests go red for each.
import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { inRoot } from "../../deploy/root.ts";
import { tally } from "../tally.ts";
import { copyOfClone } from "./copy.ts";

const folder = inRoot("test", "mutations");
const runTimeoutMs = 300_000;

/** One planted breakage: a unified diff under two comment lines. */
interface Mutation {
  readonly name: string;
  readonly file: string;
  /** What is broken, in words. */
  readonly what: string;
  /** The tests that must notice; empty means the whole suite. */
  readonly tests: readonly string[];
}

process.exitCode = main(process.argv.slice(2));

function main(asked: readonly string[]): number {
  const mutations = read().filter(({ name }) => asked.length === 0 || asked.some((part) => name.includes(part)));
  if (mutations.length === 0) {
    console.error(`No patch in test/mutations is called ${asked.join(", ")}.`);
    return 2;
  }
  const copy = copyOfClone();
  try {
    const sound = [...new Set(mutations.flatMap(({ tests }) => tests))];
    console.log(`Unbroken first: ${sound.length} test files …`);
    const before = suite(copy, sound);
    if (before.failed > 0) {
      console.error(`They are red without any patch, so nothing can be told from them:\n${failures(copy)}`);
      return 1;
    }
    const verdicts = mutations.map((mutation) => ({ mutation, verdict: judge(copy, mutation) }));
    const bad = verdicts.filter(({ verdict }) => !verdict.startsWith("killed"));
    console.log(`\n${verdicts.length - bad.length} killed, ${bad.length} not`);
    return bad.length === 0 ? 0 : 1;
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

function judge(copy: string, mutation: Mutation): string {
  const began = performance.now();
  const verdict = breakAndRun(copy, mutation);
  const seconds = ((performance.now() - began) / 1000).toFixed(1).padStart(5);
  console.log(`${verdict.padEnd(28)} ${seconds} s  ${mutation.name.padEnd(28)} ${mutation.what}`);
  return verdict;
}

function breakAndRun(copy: string, { file, tests }: Mutation): string {
  const applied = git(copy, "apply", "-C2", file);
  if (applied.status !== 0) return "NO LONGER APPLIES";
  const { failed } = suite(copy, tests);
  const undone = git(copy, "apply", "-R", "-C2", file);
  if (undone.status !== 0) throw new Error(`${file} cannot be taken back: ${undone.stderr}`);
  return failed > 0 ? `killed by ${failed} test${failed > 1 ? "s" : ""}` : "SURVIVED";
}

/** Runs these test files of the copy, or all of them. */
function suite(copy: string, tests: readonly string[]): { readonly failed: number } {
  const report = join(copy, "report.json");
  rmSync(report, { force: true });
  const args = ["run", "--reporter=json", `--outputFile=${report}`, "--bail=3", ...tests];
  const done = spawnSync(process.execPath, [join(copy, "node_modules", "vitest", "vitest.mjs"), ...args], {
    cwd: copy,
    encoding: "utf8",
    timeout: runTimeoutMs,
    killSignal: "SIGKILL",
    env: { ...process.env, CI: "1" }, // a snapshot that differs is a failure, never a new snapshot
  });
  return tally(readReport(report), done.status ?? 1);
}

/** The names of what failed in the last run. */
function failures(copy: string): string {
  const text = JSON.stringify(readReport(join(copy, "report.json")) ?? {});
  const names = [...text.matchAll(/"status":"failed","title":"((?:[^"\\]|\\.)*)"/g)].map((one) => `  ${one[1]}`);
  return names.length > 0 ? names.join("\n") : "  (no report)";
}

function git(copy: string, ...args: string[]): SpawnSyncReturns<string> {
  // No repository around the copy, even when the temporary folder lies in one: paths are the copy's own.
  const env = { ...process.env, GIT_CEILING_DIRECTORIES: join(copy, "..") };
  return spawnSync("git", args, { cwd: copy, encoding: "utf8", env });
}

function readReport(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return undefined; // the run died: that is red
  }
}

function read(): Mutation[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith(".patch"))
    .sort()
    .map((name) => {
      const head = readFileSync(join(folder, name), "utf8").split("\n--- ")[0] ?? "";
      const after = (word: string) => new RegExp(`^# ${word}: (.+)$`, "m").exec(head)?.[1]?.trim() ?? "";
      return {
        name: name.replace(/\.patch$/, ""),
        file: join(folder, name),
        what: after("breaks"),
        tests: after("tests")
          .split(/\s+/)
          .filter((path) => path !== ""),
      };
    });
}
