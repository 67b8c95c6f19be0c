// Starts a bundle on a Node that can run it. Plain JavaScript without imports of ours: it must load on any Node, before a
// build, and with nothing installed, because it is what explains that something is missing.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const OLDEST = [22, 23];

/**
 * Runs the ESM bundle at `bundleUrl` in this process when its Node is new enough, else in a child on the Node of the `node`
 * package, with the same arguments, terminal and exit code. Says what is missing on stderr and exits with 1 otherwise.
 *
 * @param {URL} bundleUrl
 */
export async function launch(bundleUrl) {
  const bundle = fileURLToPath(bundleUrl);
  if (!existsSync(bundle)) return fail("NOT_BUILT", `${bundle} is not there. Build it with \`npm run build\`.`);
  if (isNewEnough(process.versions.node)) return void (await import(bundleUrl.href));
  const node = bundledNode(bundleUrl);
  if (node === undefined) {
    const saw = `this is Node ${process.versions.node}, and there is no newer one in node_modules`;
    const remedy = "Run it with Node 22.23 or newer; `npm ci` installs one into node_modules/.bin.";
    return fail("NODE_VERSION", `${saw}. ${remedy}`);
  }
  runOn(node, [bundle, ...process.argv.slice(2)]);
}

/** @param {string} version like `22.23.0` */
export function isNewEnough(version) {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1]);
}

/** The binary of the `node` package that is found from the bundle's place, or undefined. */
function bundledNode(bundleUrl) {
  try {
    const manifest = createRequire(bundleUrl).resolve("node/package.json");
    const binary = join(dirname(manifest), "bin", process.platform === "win32" ? "node.exe" : "node");
    return existsSync(binary) ? binary : undefined;
  } catch {
    return undefined; // not installed: the caller says so
  }
}

/** This old Node cannot replace itself by another program, so it stays as a parent that only passes on signals and the end. */
function runOn(node, args) {
  const child = spawn(node, args, { stdio: "inherit" });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    // A terminal's Ctrl-C reaches the child by itself; signals from elsewhere do not.
    process.on(signal, () => (signal === "SIGINT" && process.stdin.isTTY ? undefined : child.kill(signal)));
  }
  child.on("error", (error) => fail("NODE_VERSION", `cannot start ${node}: ${error.message}`));
  child.on("exit", (code, signal) => {
    process.exitCode = code ?? 128 + (constants.signals[signal] ?? 0);
  });
}

function fail(code, message) {
  process.stderr.write(`[${code}] ${message}\n`);
  process.exitCode = 1;
}
