/** Runs the ESM bundle at `bundleUrl` on a Node that can; see launch.mjs. */
export function launch(bundleUrl: URL): Promise<void>;
/** True from 22.23 on. */
export function isNewEnough(version: string): boolean;
