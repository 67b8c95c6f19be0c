import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serveLocalApi } from "@blueflame/agent/api/server.driver.ts";
import { bundled } from "./bundle.ts";
import { asPerson, type MemoryNode } from "./node.ts";

/** The agent's command line as a program of its own, asking a node in memory over a real socket. Whoever opened closes. */
export interface CliRig {
  /** The data folder that the command is told of. */
  readonly dir: string;
  /** Runs `blueflame-agent ...args` to its end. */
  cli(...args: string[]): Promise<{ code: number | null; out: string; err: string }>;
  /** The agent is gone: whoever asks from now on finds nobody. */
  leave(): Promise<void>;
  close(): Promise<void>;
}

export async function openCliRig(node: MemoryNode): Promise<CliRig> {
  const dir = mkdtempSync(join(tmpdir(), "bf-cli-"));
  const program = await bundled("test/support/agent-cli.main.ts");
  const api = await serveLocalApi({
    node,
    socketPath: join(dir, "agent.sock"),
    log: () => {},
    onDown: () => {},
    whoCalls: asPerson,
  });
  return {
    dir,
    cli(...args) {
      const env = { ...process.env, BLUEFLAME_DATA_DIR: dir, NO_COLOR: "1" };
      const child = spawn(process.execPath, [program, ...args], { env, stdio: ["ignore", "pipe", "pipe"] });
      let [out, err] = ["", ""];
      child.stdout.on("data", (chunk) => {
        out += chunk;
      });
      child.stderr.on("data", (chunk) => {
        err += chunk;
      });
      return new Promise((resolve) => child.once("close", (code) => resolve({ code, out, err })));
    },
    leave: () => api.close(),
    async close() {
      await api.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
