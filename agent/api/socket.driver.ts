import { lstatSync, renameSync, rmSync, type Stats } from "node:fs";
import net from "node:net";
import { basename, dirname, join } from "node:path";
import { Fault } from "@blueflame/shared/errors/fault.ts";

/** The kernel's sun_path has 108 bytes, the last of them NUL. */
const pathBytesMax = 107;
/** Workloads hold one connection each; a runaway of connections ends here instead of at the process's file limit. */
const connectionsMax = 1024;
/** Somebody who lives answers a connect at once; a frozen one does not, and then the socket is his all the same. */
const answerWithinMs = 1000;

/** A listening unix socket; closing it removes the file, unless somebody has put another one there. */
export interface Listening {
  readonly path: string;
  close(): Promise<void>;
}

/** Throws SOCKET_PATH_TOO_LONG; asks nothing of the disk. */
export function checkSocketPath(path: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes > pathBytesMax) throw new Fault("SOCKET_PATH_TOO_LONG", `'${path}' has ${bytes} bytes`);
}

/**
 * Listens at `path` with mode 0600 from its first moment, and hands each connection to `take`. A socket file that nobody
 * answers on any more is replaced; anything else at `path` is left alone. Rejects with SOCKET_PATH_TOO_LONG, PORT_IN_USE
 * or DATA_DIR_UNUSABLE.
 */
export async function listenOnSocket(path: string, take: (socket: net.Socket) => void): Promise<Listening> {
  checkSocketPath(path);
  await makeWay(path);

  const server = net.createServer(take);
  server.maxConnections = connectionsMax;
  const first = besides(path);
  rmSync(first, { force: true });
  await bind(server, first);
  renameSync(first, path);
  const ours = lstatSync(path);
  return {
    path,
    close: () =>
      new Promise((resolve) => {
        if (sameFile(path, ours)) rmSync(path, { force: true });
        server.close(() => resolve());
      }),
  };
}

/**
 * Where the socket is made: beside its place and with as many bytes. It moves into place when it already listens and is
 * ours alone; and what Node unlinks when it closes the server is this name, never the socket of an agent that came later.
 */
function besides(path: string): string {
  const name = basename(path);
  return join(dirname(path), `${name.startsWith("~") ? "_" : "~"}${name.slice(1)}`);
}

function bind(server: net.Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const refused = (error: NodeJS.ErrnoException) =>
      reject(new Fault("DATA_DIR_UNUSABLE", `cannot listen on '${path}': ${error.message}`, { cause: error }));
    server.once("error", refused);
    server.once("listening", () => {
      server.off("error", refused);
      resolve();
    });
    // libuv binds inside this call, so the mask covers exactly the making of the file: it is never open to others.
    const before = process.umask(0o177);
    try {
      server.listen({ path });
    } finally {
      process.umask(before);
    }
  });
}

async function makeWay(path: string): Promise<void> {
  const there = exists(path);
  if (there === undefined) return;
  if (!there.isSocket()) {
    throw new Fault("DATA_DIR_UNUSABLE", `'${path}' is in the way and is no socket; it was left as it is`);
  }
  if (await answers(path)) throw new Fault("PORT_IN_USE", `another agent answers on '${path}'`);
}

/** True when somebody listens at `path`, even if he is too busy or frozen to talk. */
export function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ path });
    const done = (answered: boolean) => {
      socket.destroy();
      resolve(answered);
    };
    socket.setTimeout(answerWithinMs, () => done(true));
    socket.once("connect", () => done(true));
    // EAGAIN: the queue of a listener is full. Anything else: nobody listens.
    socket.once("error", (error: NodeJS.ErrnoException) => done(error.code === "EAGAIN" || error.code === "EACCES"));
  });
}

function exists(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}

function sameFile(path: string, as: Stats): boolean {
  const now = exists(path);
  return now !== undefined && now.ino === as.ino && now.dev === as.dev;
}
