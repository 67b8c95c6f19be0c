import { closeSync, openSync } from "node:fs";
import type net from "node:net";
import { koffi, type Native } from "../libc.driver.ts";
import { environOf, type ProcStat, procStat } from "../supervise/proc.driver.ts";
import type { Peer } from "./admission.ts";

/** Of socket(7), the same on all Linux that we run on. */
const solSocket = 1;
const soPeerCred = 17;
/** struct ucred: pid, uid, gid. */
const credBytes = 12;
/** No person's shell lies deeper; what does is taken for a workload that hides. */
const ancestorsMax = 64;

let getsockopt: Native | undefined;

/** Of whose family one process is, without a look at its ancestors; undefined for none of this agent's. */
export type Whose = (process: ProcStat) => string | undefined;

/**
 * Who is at the other end of a unix socket: the kernel says which process has connected, /proc and the signs of the families whose it
 * is. It keeps honest programs from a person's rights. Who runs as the same user and hides its descent (another session, another
 * environment, no cgroups on this machine) is not kept out by this: it could write the store's files, too. Run workloads as
 * another user where that matters.
 */
export function peerOf(socket: net.Socket, whose: Whose = () => undefined): Peer {
  const cred = credOf(socket);
  if (!cred) return unseen(0, "this agent cannot ask the system who calls", withAddon);
  const { pid, uid } = cred;
  if (pid === 0) return unseen(pid, "the call comes from another container or PID namespace", inside);
  if (pid === process.pid) return { is: "person", pid };
  const found = seenThrough(descentOf(pid, whose));
  // Nothing that a user who is not root has started becomes root by itself.
  if (found.is === "unseen" && uid === 0 && process.getuid?.() !== 0) return { is: "person", pid };
  return found;
}

/** Of whom only the environment is hidden, the rest is looked at first: a workload can hide it from an agent that is not root. */
function seenThrough(found: Peer): Peer {
  const { is, pid } = found;
  if (is !== "person" || mayRead(`/proc/${pid}/environ`)) return found;
  return unseen(pid, `process ${pid} hides its environment`, asRoot);
}

function descentOf(pid: number, whose: Whose): Peer {
  let at = pid;
  for (let depth = 0; depth < ancestorsMax; depth++) {
    if (at === process.pid) return { is: "helper", pid };
    if (at <= 1) return { is: "person", pid };
    const stat = procStat(at);
    if (!stat && at === pid) return { is: "gone", pid };
    if (!stat) return unseen(pid, `process ${at}, from which the call comes, cannot be seen`, asRoot);
    const workload = whose(stat);
    if (workload !== undefined) return { is: "workload", pid, workload };
    if (environOf(at, "BLUEFLAME_TOKEN") !== undefined) return { is: "workload", pid, workload: "" };
    at = stat.ppid;
  }
  return { is: "workload", pid, workload: "" };
}

const asRoot = "ask from a root shell on this machine (where the agent is not root itself)";
const inside = "ask from a shell in the agent's own container (docker exec, kubectl exec, nsenter)";
const withAddon =
  "start the agent with its optional packages (`blueflame-agent doctor`, native calls); its workloads go on";

function unseen(pid: number, because: string, instead: string): Peer {
  return { is: "unseen", pid, because, instead };
}

function mayRead(path: string): boolean {
  try {
    closeSync(openSync(path, "r"));
    return true;
  } catch {
    return false;
  }
}

function credOf(socket: net.Socket): { readonly pid: number; readonly uid: number } | undefined {
  // Node has no public way to a socket's descriptor.
  const fd = (socket as unknown as { _handle?: { fd?: number } })._handle?.fd;
  const addon = koffi();
  if (fd === undefined || fd < 0 || !addon) return undefined;
  getsockopt ??= addon.load(null).func("int getsockopt(int fd, int level, int name, void *value, void *bytes)");
  const cred = Buffer.alloc(credBytes);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(credBytes);
  if (getsockopt(fd, solSocket, soPeerCred, cred, size) !== 0) return undefined;
  return { pid: Math.max(0, cred.readInt32LE(0)), uid: cred.readUInt32LE(4) };
}
