import { resolve } from "node:path";
import { readConfigFile, thisMachine } from "@blueflame/shared/config/machine.driver.ts";
import { type HubConfig, hubConfigOf } from "./config.ts";

/**
 * Reads the hub's config file; without a path, every default. `env` is the hub's environment, for its PATH. Throws
 * CONFIG_NOT_FOUND, CONFIG_INVALID.
 */
export function readHubConfig(path: string | undefined, env: NodeJS.ProcessEnv): HubConfig {
  const around = { path: resolve(path ?? "hub.yaml"), searchPath: env.PATH ?? "", machine: thisMachine };
  return hubConfigOf(path === undefined ? "" : readConfigFile(path), around);
}
