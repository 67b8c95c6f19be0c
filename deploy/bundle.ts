import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { type BuildOptions, build, type Plugin } from "esbuild";
import { inRoot, root } from "./root.ts";

/** One program that is built into one file. */
export interface Program {
  readonly name: string;
  /** Relative to the clone. */
  readonly entry: string;
  /** Relative to the clone; `.cjs` becomes CommonJS, `.mjs` an ES module. */
  readonly outfile: string;
  /** First words that the bundle beside it takes over, before anything of this one is loaded. */
  readonly handsOver?: Readonly<Record<string, string>>;
}

/** Both must be small, and work when the agent cannot be loaded. */
const besideAgent = { watchdog: "./blueflame-watchdog.cjs", emergency: "./blueflame-emergency.cjs" };

/** The command that was typed, as an expression of JavaScript: a person may say `--data-dir` before it. */
export const firstWord =
  'process.argv.slice(2).find((word, at, words) => !/^--data-dir(=|$)/.test(word) && words[at - 1] !== "--data-dir")';

/** Everything that `npm run build` makes. */
export const programs: readonly Program[] = [
  { name: "blueflame-agent", entry: "agent/main.ts", outfile: "dist/blueflame-agent.cjs", handsOver: besideAgent },
  { name: "blueflame-watchdog", entry: "agent/watchdog/main.ts", outfile: "dist/blueflame-watchdog.cjs" },
  { name: "blueflame-emergency", entry: "agent/bootstrap/main.ts", outfile: "dist/blueflame-emergency.cjs" },
  { name: "blueflame-hub", entry: "hub/main.ts", outfile: "dist/blueflame-hub.mjs" },
  { name: "blueflame", entry: "hub/cli/main.ts", outfile: "dist/blueflame.mjs" },
  { name: "risk-firewall", entry: "examples/risk-firewall/main.ts", outfile: "dist/risk-firewall.mjs" },
  { name: "importer", entry: "examples/importer/main.ts", outfile: "dist/importer.mjs" },
  { name: "sick", entry: "test/support/sick.main.ts", outfile: "dist/sick.mjs" },
  { name: "store-life", entry: "test/prove/store-life.main.ts", outfile: "dist/store-life.mjs" },
  { name: "sim", entry: "test/sim/main.ts", outfile: "dist/sim.mjs" },
  { name: "prove", entry: "test/prove/main.ts", outfile: "dist/prove.mjs" },
  { name: "bench", entry: "test/bench/main.ts", outfile: "dist/bench.mjs" },
];

export type Outcome = "built" | "unchanged" | "missing";

/** The addon's file name beside a bundle, for one platform. */
export const addonName = (platform: string, arch: string): string => `classic-level.${platform}-${arch}.node`;

// classic-level finds its addon by walking node_modules. A bundle has none, so it takes the file beside itself; inside a packaged
// binary the same relative path is an asset, which pkg extracts when dlopen asks for it.
const addonBesideBundle: Plugin = {
  name: "addon-beside-bundle",
  setup(setup) {
    setup.onLoad({ filter: /classic-level[\\/]binding\.js$/ }, () => ({
      contents: [
        `const path = require("node:path");`,
        `const found = { exports: {} };`,
        `const name = "classic-level." + process.platform + "-" + process.arch + ".node";`,
        `process.dlopen(found, path.join(__dirname, "native", name));`,
        `module.exports = found.exports;`,
      ].join("\n"),
    }));
  },
};

// What CommonJS dependencies expect to find when they are bundled into an ES module.
const commonJsGlobals = [
  `import { createRequire as __createRequire } from "node:module";`,
  `import { fileURLToPath as __fileURLToPath } from "node:url";`,
  `import { dirname as __pathDirname } from "node:path";`,
  `const require = __createRequire(import.meta.url);`,
  `const __filename = __fileURLToPath(import.meta.url);`,
  `const __dirname = __pathDirname(__filename);`,
].join("");

/** How every bundle is made; `package.ts` changes a few of these. */
export function bundleOptions(entry: string, outfile: string): BuildOptions {
  const esm = outfile.endsWith(".mjs");
  return {
    absWorkingDir: root,
    entryPoints: [entry],
    outfile,
    bundle: true,
    // The text of a program stays in memory while it runs, in two bytes a character when one of them is not ASCII: comments and
    // blanks cost the agent 9 of 50 MB. Names stay, for stack traces.
    minifyWhitespace: true,
    minifySyntax: true,
    legalComments: "none",
    charset: "ascii",
    platform: "node",
    target: "node22",
    format: esm ? "esm" : "cjs",
    // `import.meta.url` has no meaning in CommonJS: __filename is what it stands for.
    ...(esm ? {} : { define: { "import.meta.url": "__bundleUrl" } }),
    banner: {
      js: esm ? commonJsGlobals : `const __bundleUrl = require("node:url").pathToFileURL(__filename).href;`,
    },
    sourcemap: true,
    sourcesContent: false,
    metafile: true,
    logLevel: "warning",
    plugins: [addonBesideBundle],
  };
}

interface Stamp {
  readonly inputs: readonly string[];
  readonly hash: string;
}

/** Builds one program unless nothing that went into it has changed since. A missing entry is an outcome, not an error. */
export async function bundle(program: Program): Promise<Outcome> {
  if (!existsSync(inRoot(program.entry))) return "missing";
  const stampFile = inRoot("dist", ".stamps", `${program.name}.json`);
  const last = readStamp(stampFile);
  if (last && existsSync(inRoot(program.outfile)) && last.hash === hashOf(last.inputs)) return "unchanged";
  const result = await build({ ...optionsOf(program), write: false });
  mkdirSync(inRoot(dirname(program.outfile)), { recursive: true });
  for (const { path, contents } of result.outputFiles) putInPlace(path, (fresh) => writeFileSync(fresh, contents));
  copyAddon(inRoot(dirname(program.outfile), "native"));
  const inputs = [
    ...Object.keys(result.metafile?.inputs ?? {}).filter((path) => !path.startsWith("<")),
    "package-lock.json",
    relative(root, import.meta.filename),
  ].sort();
  mkdirSync(dirname(stampFile), { recursive: true });
  const stamp = JSON.stringify({ inputs, hash: hashOf(inputs) } satisfies Stamp);
  putInPlace(stampFile, (fresh) => writeFileSync(fresh, stamp));
  return "built";
}

function optionsOf({ entry, outfile, handsOver }: Program): BuildOptions {
  const options = bundleOptions(entry, outfile);
  if (!handsOver) return options;
  const first = [
    `const __other = ${JSON.stringify(handsOver)}[${firstWord}];`,
    `if (__other) {`,
    // In place of this process where Node can do that: the text of the agent's bundle alone would stay as 10 MB of its memory.
    `const again = [process.execPath, ...process.execArgv, require("node:path").join(__dirname, __other), ...process.argv.slice(2)];`,
    `if (process.execve) process.execve(process.execPath, again, process.env);`,
    // A module of CommonJS is the body of a function, so it may return.
    `return void require(__other);`,
    `}`,
  ].join(" ");
  return { ...options, banner: { js: `${first}\n${options.banner?.js ?? ""}` } };
}

/** Puts this machine's addons into `folder`, under the names that a bundle asks for: LevelDB, and the fast spawn where there is one. */
export function copyAddon(folder: string): void {
  mkdirSync(folder, { recursive: true });
  const place = (source: string, name: string) =>
    putInPlace(join(folder, name), (fresh) => copyFileSync(source, fresh));
  place(addonOfThisMachine(), addonName(process.platform, process.arch));
  const fast = spawnAddon();
  if (fast) place(fast, `koffi.${process.platform}-${process.arch}.node`);
}

/**
 * Renamed into place: writing into a file that a running process has mapped would crash that process, and who starts a program
 * while a test of another process builds it gets it whole.
 */
function putInPlace(target: string, write: (fresh: string) => void): void {
  const fresh = `${target}.${process.pid}`;
  write(fresh);
  renameSync(fresh, target);
}

/** koffi's prebuilt addon, an optional dependency of the agent; undefined where there is none for this machine. */
function spawnAddon(): string | undefined {
  const name = `@koromix/koffi-${process.platform}-${process.arch}`;
  try {
    return createRequire(import.meta.url).resolve(`${name}/${process.platform}_${process.arch}/koffi.node`);
  } catch {
    return undefined;
  }
}

/** The addon that classic-level itself would load here: the right libc, or one compiled on this machine. */
function addonOfThisMachine(): string {
  const require = createRequire(import.meta.url);
  const home = dirname(require.resolve("classic-level/package.json"));
  const choose: unknown = createRequire(join(home, "package.json"))("node-gyp-build");
  if (typeof choose === "function" && "path" in choose && typeof choose.path === "function") {
    return String(choose.path(home));
  }
  throw new Error("node-gyp-build no longer says which addon it would load");
}

function readStamp(file: string): Stamp | undefined {
  try {
    const parsed: Partial<Stamp> = JSON.parse(readFileSync(file, "utf8"));
    return parsed.inputs && parsed.hash ? { inputs: parsed.inputs, hash: parsed.hash } : undefined;
  } catch {
    return undefined; // no stamp, or half of one: build
  }
}

function hashOf(inputs: readonly string[]): string {
  const hash = createHash("sha256");
  for (const path of inputs) {
    hash.update(path).update("\0");
    try {
      hash.update(readFileSync(inRoot(path)));
    } catch {
      hash.update("gone");
    }
  }
  return hash.digest("hex");
}
