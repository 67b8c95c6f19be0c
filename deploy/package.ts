// npm run package: the agent as one executable for this platform, in dist/. `smoke.ts` then proves that it works.
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import { bundleOptions, copyAddon, firstWord } from "./bundle.ts";
import { inRoot, root, version } from "./root.ts";
import { agentV8Flags } from "./v8-flags.ts";

const nodeVersion = "24.21.0";
// Of the packages node-linux-ARCH at that version; another content is refused, whoever serves it.
const integrity: Record<string, string> = {
  x64: "sha512-3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==",
  arm64: "sha512-FpJRPEz2OvvTLfjIOlNGFY9JLPMKgl5m+d4oGYBLg24kJ1mmvN1Zl/HPJgF4HDaJ51ISev1l1cRZ/DM+keXW5g==",
};

const home = inRoot("out", "package-cache");
const folder = inRoot("out", "package");
const outfile = inRoot("dist", `blueflame-agent-linux-${process.arch}`);

process.exitCode = await main();

async function main(): Promise<number> {
  const pin = integrity[process.arch];
  if (process.platform !== "linux" || pin === undefined) {
    console.error(
      `No executable can be made on ${process.platform}-${process.arch} yet: only linux-x64 and linux-arm64.`,
    );
    return 1;
  }
  if (!existsSync(inRoot("agent", "main.ts"))) {
    console.error("The agent's entry agent/main.ts does not exist.");
    return 1;
  }
  const node = fetchNode(pin);
  await makeFolder();
  const target = `node${nodeVersion}-linux-${process.arch}`;
  const pkg = inRoot("node_modules", "@yao-pkg", "pkg", "lib-es5", "bin.js");
  // The generator of the snapshot and its base must be the same Node, else the executable crashes: so pkg runs on the base.
  execFileSync(node, [pkg, folder, "-t", target, "-o", outfile], {
    cwd: folder,
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, HOME: home },
  });
  console.log(`${outfile}: ${Math.round(statSync(outfile).size / 1e6)} MB`);
  return 0;
}

/** The base executable, checked and without symbols, where pkg looks for what it has downloaded. */
function fetchNode(pin: string): string {
  const cache = join(home, ".pkg-cache", "sea");
  const place = join(cache, `node-v${nodeVersion}-linux-${process.arch}`);
  const node = join(place, "bin", "node");
  if (existsSync(`${node}.ok`)) return node;
  rmSync(place, { recursive: true, force: true });
  mkdirSync(place, { recursive: true });
  const name = `node-linux-${process.arch}`;
  console.log(`Fetching ${name}@${nodeVersion} from the npm registry …`);
  execFileSync("npm", ["pack", "--silent", "--pack-destination", cache, `${name}@${nodeVersion}`], {
    cwd: root,
    stdio: ["ignore", "ignore", "inherit"],
  });
  const archive = join(cache, `${name}-${nodeVersion}.tgz`);
  const got = `sha512-${createHash("sha512").update(readFileSync(archive)).digest("base64")}`;
  if (got !== pin) {
    rmSync(archive);
    throw new Error(`${name}@${nodeVersion} is not what it was when it was pinned: ${got}`);
  }
  execFileSync("tar", ["xzf", archive, "-C", place, "--strip-components=1", "package/bin/node"]);
  rmSync(archive);
  chmodSync(node, 0o755);
  if (spawnSync("strip", ["-s", node]).status !== 0) {
    console.log("strip is missing (Debian: binutils): the executable works all the same and is about 18 MB larger.");
  }
  // pkg's own marks of a finished download.
  for (const mark of [`${place}.tar.gz`, `${place}.tar.gz.ok`, `${node}.ok`]) writeFileSync(mark, "");
  return node;
}

/** One bundle, its addon and a manifest: with node_modules in reach, pkg would walk and pack all of it. */
async function makeFolder(): Promise<void> {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  await build({ ...bundleOptions("agent/main.ts", join(folder, "agent.cjs")), minify: true, sourcemap: false });
  const watchdog = bundleOptions("agent/watchdog/main.ts", join(folder, "watchdog.cjs"));
  await build({ ...watchdog, minify: true, sourcemap: false });
  const emergency = bundleOptions("agent/bootstrap/main.ts", join(folder, "emergency.cjs"));
  await build({ ...emergency, minify: true, sourcemap: false });
  copyAddon(join(folder, "native"));
  copyFileSync(inRoot("LICENSE"), join(folder, "LICENSE"));
  writeFileSync(
    join(folder, "package.json"),
    JSON.stringify({ name: "blueflame-agent", version: version(), bin: "agent.cjs" }),
  );
  // What pkg 6.23 has no option for is changed as it writes its own files:
  // – V8's flags belong into the file that Node makes the executable from;
  // – its replacement of child_process is taken out: it would run this agent wherever a workload says `node`, also behind `sh -c`, would
  //   put a variable of its own into every workload's environment, and it breaks `exec` without a callback;
  // – watchdog and emergency run before anything of the agent is loaded, or unpacked: they must be small, and work when that does not.
  writeFileSync(
    join(folder, "pkg.config.cjs"),
    `const fs = require("node:fs/promises");
const patch = "shared.patchChildProcess(entrypoint2);";
module.exports = {
  sea: true,
  assets: ["native/*.node"],
  preBuild() {
    const { writeFile, copyFile, readFile } = fs;
    fs.writeFile = (file, text, ...rest) =>
      writeFile(file, String(file).endsWith("sea-config.json") ? JSON.stringify({ ...JSON.parse(text), execArgv: ${JSON.stringify(agentV8Flags)} }) : text, ...rest);
    fs.copyFile = async (from, to, ...rest) => {
      if (!String(to).endsWith("sea-main.js")) return copyFile(from, to, ...rest);
      const parts = (await readFile(from, "utf8")).split(patch);
      if (parts.length !== 2) throw new Error("pkg has changed: its replacement of child_process is not where it was");
      const first = ["watchdog", "emergency"].map(async (word) =>
        ${JSON.stringify(`if (${firstWord} === `)} + '"' + word + '") return void (() => {' + (await readFile(__dirname + "/" + word + ".cjs", "utf8")) + "\\n})();\\n");
      await writeFile(to, (await Promise.all(first)).join("") + parts.join(""));
    };
  },
};
`,
  );
}
