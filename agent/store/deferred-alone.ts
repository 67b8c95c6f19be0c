import { createHash } from "node:crypto";
import { realpathSync } from "node:fs";
import { createServer } from "node:net";
import { Fault } from "@blueflame/shared/errors/fault.ts";

/**
 * Makes this process the only agent of `dataDir` where a disk takes no lock file: by a socket in Linux's abstract name space,
 * which needs no disk and goes with the process. The owner's id makes the name one that nobody else can guess and hold.
 * Resolves with what lets go of it; rejects with STORE_LOCKED. Where there is no such name space it holds nothing.
 */
export async function holdAlone(dataDir: string, owner: string): Promise<() => void> {
  if (process.platform !== "linux") return () => undefined;
  const tag = createHash("sha256")
    .update(`${owner}\0${realpathSync(dataDir)}`)
    .digest("hex")
    .slice(0, 32);
  const server = createServer((socket) => socket.destroy());
  const refused = await new Promise<NodeJS.ErrnoException | undefined>((resolve) => {
    server.once("error", resolve);
    server.listen(`\0blueflame-agent-${tag}`, () => resolve(undefined));
  });
  if (refused?.code === "EADDRINUSE") {
    throw new Fault("STORE_LOCKED", `another agent guards the workloads of '${dataDir}'`, { cause: refused });
  }
  // A sandbox without such sockets: the lock file stands alone, as it does on other systems.
  if (refused) return () => undefined;
  server.unref();
  return () => void server.close();
}
