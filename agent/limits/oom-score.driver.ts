/**
 * The agent asks the kernel's out-of-memory killer to spare it, and its workloads must not inherit that: a runaway with the
 * agent's own score would outlive everything healthy. A score can only be given to a process that exists, and by then it may
 * have forked. So the agent takes the ordinary score on for the microseconds of each start: the child is born with it.
 */
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";

const file = "/proc/self/oom_score_adj";

/** What a process of this agent is born with: what the agent itself was given, but never a protection. */
const ordinary = Math.max(0, scoreNow() ?? 0);

let protectedBy: { readonly fd: number; readonly score: number } | undefined;

/**
 * Gives this process its score, from -1000 (never) to 1000, until the next call. Undefined, or why the system refuses; below 0
 * needs CAP_SYS_RESOURCE or an init system that gave it (OOMScoreAdjust).
 */
export function protectSelf(score: number): string | undefined {
  release();
  if (scoreNow() === undefined) return "this system has no /proc/self/oom_score_adj";
  let fd: number | undefined;
  try {
    fd = openSync(file, "r+");
    writeSync(fd, String(score), 0);
    // Up and down once: who may not come back down must not go up for a start.
    if (score < ordinary) {
      writeSync(fd, String(ordinary), 0);
      writeSync(fd, String(score), 0);
    }
    protectedBy = { fd, score };
    return undefined;
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    return `the agent's score for the out-of-memory killer stays ${scoreNow()} instead of ${score}: ${(error as Error).message}`;
  }
}

/** Runs `start`, which must start its process before it returns; that one and its family have the ordinary score. */
export function bornOrdinary<T>(start: () => T): T {
  if (!protectedBy || protectedBy.score >= ordinary) return start();
  const { fd, score } = protectedBy;
  writeSync(fd, String(ordinary), 0);
  try {
    return start();
  } finally {
    writeSync(fd, String(score), 0);
  }
}

function release(): void {
  if (protectedBy) closeSync(protectedBy.fd);
  protectedBy = undefined;
}

function scoreNow(): number | undefined {
  try {
    return Number(readFileSync(file, "latin1"));
  } catch {
    return undefined;
  }
}
