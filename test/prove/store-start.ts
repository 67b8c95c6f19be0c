import { type ChildProcessByStdio, spawn } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { inRoot } from "../../deploy/root.ts";
import type { Findings } from "./store-check.ts";

/** What a start of the agent's store found: it is open, or a fault says why not. */
export type Started =
  | (Findings & { readonly generation: string; readonly notes: readonly string[] })
  | { readonly code: string; readonly saw: string };

const hangMs = 60_000;

/** A process of store-life.main.ts. The caller ends it. */
export function startLife(
  folder: string,
  ledger: string,
  ...words: readonly string[]
): ChildProcessByStdio<null, Readable, Readable> {
  const env = { ...process.env, NODE_COMPILE_CACHE: join(tmpdir(), "bf-compile-cache") };
  const args = [inRoot("dist", "store-life.mjs"), folder, ledger, ...words];
  return spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"], env });
}

/** Opens the store in `folder` as the agent's start does, in a process of its own, and checks it. A process that died is a fault without a code. */
export function startOnce(folder: string, ledger: string): Promise<Started> {
  const child = startLife(folder, ledger, "start");
  const timer = setTimeout(() => child.kill("SIGKILL"), hangMs);
  const said = { out: "", err: "" };
  child.stdout.on("data", (bytes) => (said.out += bytes));
  child.stderr.on("data", (bytes) => (said.err += bytes));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => {
      clearTimeout(timer);
      const died = { code: "", saw: `it ended with ${code ?? signal}: ${said.err.slice(-300)}` };
      resolve(code === 0 ? (JSON.parse(said.out) as Started) : died);
    });
  });
}
