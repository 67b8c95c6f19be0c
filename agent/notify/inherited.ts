import { fromServiceManager } from "../constants.ts";

/**
 * The agent's own environment, as a workload may inherit it. One that took our service manager for its own would say READY=1 or
 * STOPPING=1 in the agent's name, or would look for a watchdog that is not meant for it; and the key of the store is nobody else's.
 */
export function withoutServiceManager(
  env: Readonly<Record<string, string | undefined>>,
): Readonly<Record<string, string | undefined>> {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !fromServiceManager.test(name)));
}
