import { stat } from "node:fs";

/** A look at a disk that hangs holds one thread of libuv's pool, which has four by default. */
const threads = "16";

/**
 * Widens the pool for file and name look-ups of this process. To be called before its first use, which the call itself is:
 * the size is read from the environment then, and must not be handed on to the workloads. One that was set stays.
 */
export function widenThreadPool(): void {
  if (process.env.UV_THREADPOOL_SIZE !== undefined) return;
  process.env.UV_THREADPOOL_SIZE = threads;
  stat("/", () => undefined);
  delete process.env.UV_THREADPOOL_SIZE;
}
