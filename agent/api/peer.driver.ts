import type net from "node:net";
import { koffi, type Native } from "../libc.driver.ts";
import { environOf, procStat } from "../supervise/proc.driver.ts";

/** Of socket(7), the same on all Linux that we run on. */
const solSocket = 1;
const soPeerCred = 17;
/** struct ucred: pid, uid, gid. */
const credBytes = 12;
/** Families are not deeper; a loop in what /proc says ends here. */
const ancestorsMax = 64;

let getsockopt: Native | undefined;

/**
 * True when the process at the other end of a unix socket is part of a workload, or of anything else that this agent has started: it
 * or an ancestor carries a workload's token, or descends from this process. False for a person's command, and where the kernel
 * cannot be asked (another system, or without the addon: `doctor` says so); a token that is sent is looked at in any case.
 *
 * It keeps honest programs from a person's rights. Who runs as the same user and hides its descent is not kept out by this: it
 * could write the store's files, too. Run workloads as another user where that matters.
 */
export function startedByAgent(socket: net.Socket): boolean {
  const pid = peerPid(socket);
  return pid !== undefined && pid !== process.pid && isOfAgent(pid);
}

function isOfAgent(pid: number): boolean {
  for (let at = pid, depth = 0; at > 1 && depth < ancestorsMax; depth++) {
    if (at === process.pid || environOf(at, "BLUEFLAME_TOKEN") !== undefined) return true;
    at = procStat(at)?.ppid ?? 0;
  }
  return false;
}

function peerPid(socket: net.Socket): number | undefined {
  // Node has no public way to a socket's descriptor.
  const fd = (socket as unknown as { _handle?: { fd?: number } })._handle?.fd;
  const addon = koffi();
  if (fd === undefined || fd < 0 || !addon) return undefined;
  getsockopt ??= addon.load(null).func("int getsockopt(int fd, int level, int name, void *value, void *bytes)");
  const cred = Buffer.alloc(credBytes);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(credBytes);
  if (getsockopt(fd, solSocket, soPeerCred, cred, size) !== 0) return undefined;
  const pid = cred.readInt32LE(0);
  return pid > 0 ? pid : undefined; // 0: of another namespace
}
