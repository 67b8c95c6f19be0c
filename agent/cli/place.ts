import { homedir } from "node:os";
import { join, resolve } from "node:path";

/** Where an agent keeps everything of its own when nothing else is said. `uid` is undefined where there are none. */
export function defaultDataDir(env: NodeJS.ProcessEnv, uid: number | undefined): string {
  if (env.BLUEFLAME_DATA_DIR) return resolve(env.BLUEFLAME_DATA_DIR);
  if (uid === 0) return "/var/lib/blueflame";
  const state = env.XDG_STATE_HOME?.startsWith("/")
    ? env.XDG_STATE_HOME
    : join(env.HOME ?? homedir(), ".local", "state");
  return join(state, "blueflame");
}

/** The local API's socket. */
export function socketOf(dataDir: string): string {
  return join(dataDir, "agent.sock");
}

/** The folder of the workloads' output: `NAME.log`, rotated `NAME.log.1` (newest), `NAME.log.2` … */
export function outputOf(dataDir: string): string {
  return join(dataDir, "logs", "workloads");
}
