/**
 * Where the two meet. On Linux it is an abstract unix socket: nothing is left over when its holder dies, no disk is asked (a disk
 * that hangs would hold up who connects by a path, and with him every beat), and the kernel lets one process have the name at a
 * time, so the name is the lock of the watchdog, too. Any local user could take or use such a name, so both sides make sure: who
 * knocks looks up in /proc that a process of our own user listens, before it says the secret; who listens asks for the secret.
 * Elsewhere it is a socket file in the data directory, which only our user can reach.
 */
import { unlinkSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { Line } from "./line.ts";
import { allPids, holdsSocket, identify, listenerOf } from "./process.ts";
import { type Identity, same } from "./state.ts";
import type { GuardKey, Message } from "./wire.ts";

const linesMax = 32;
/** Who listens and lives answers in a moment; one that is stopped does not. */
const answerMs = 2000;

type Hello = Message & { readonly is: "hello" };

/** An open door; whoever opened it closes it. */
export interface Door {
  close(): void;
}

/** Where these two meet, for `net`. */
function addressOf(name: string, dataDir: string): string {
  return process.platform === "linux" ? `\0${name}` : join(dataDir, `${name}.sock`);
}

/** Takes the name, or says that it is taken. */
export async function claim(name: string, dataDir: string, take: (socket: Socket) => void): Promise<Door | "taken"> {
  const path = addressOf(name, dataDir);
  for (let attempt = 0; ; attempt++) {
    const server = createServer(take);
    server.maxConnections = linesMax;
    const failed = await bound(server, path);
    if (failed === undefined) return { close: () => server.close() };
    if (failed !== "EADDRINUSE" || process.platform === "linux" || attempt > 0 || (await answers(path))) return "taken";
    unlinkSync(path); // a file whose owner is gone
  }
}

function bound(server: Server, path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    const before = process.umask(0o177);
    try {
      server.listen({ path }, () => resolve(undefined));
    } finally {
      process.umask(before);
    }
  });
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.once("connect", () => resolve(true));
    socket.once("error", () => resolve(false));
    socket.once("close", () => socket.destroy());
  });
}

/** Opens the door; who shows the secret is handed to `met` with a line that waits for its welcome. */
export function openDoor(
  key: GuardKey,
  dataDir: string,
  self: Identity,
  met: (line: Line, hello: Hello) => void,
): Promise<Door | "taken"> {
  return claim(key.name, dataDir, (socket) => {
    const line = new Line(socket);
    const late = setTimeout(() => line.end(), answerMs);
    line.listen(
      (message) => {
        clearTimeout(late);
        if (message.is !== "hello" || !equal(message.secret, key.secret)) return line.end();
        // The number says nothing without its start: it must be who it says.
        if (!same(identify(message.pid), message)) return line.end();
        met(line, message);
      },
      () => clearTimeout(late),
    );
    line.send({ is: "door", ...self });
  });
}

/** Compares without telling by its time how much was right. */
function equal(a: string, b: string): boolean {
  let different = a.length ^ b.length;
  for (let i = 0; i < a.length; i++) different |= a.charCodeAt(i) ^ b.charCodeAt(i % b.length);
  return different === 0;
}

/** What came of a knock. `silent`: somebody of our user listens and does not answer; `holder` is who, as far as /proc tells. */
export type Knocked =
  | { readonly is: "open"; readonly line: Line; readonly peer: Identity; readonly welcome: Message & { is: "welcome" } }
  | { readonly is: "nobody" | "stranger" | "refused" }
  | { readonly is: "silent"; readonly holder: Identity | undefined };

/** Knocks at the door of this data directory and says who we are. Takes {@link answerMs} at most; never rejects. */
export function knock(key: GuardKey, dataDir: string, hello: Omit<Hello, "is" | "secret">): Promise<Knocked> {
  const before = listenerOf(key.name);
  return new Promise((resolve) => {
    const socket = connect({ path: addressOf(key.name, dataDir) });
    const line = new Line(socket);
    let peer: Identity | undefined;
    let connected = false;
    const done = (knocked: Knocked) => {
      clearTimeout(late);
      if (knocked.is !== "open") line.end();
      resolve(knocked);
    };
    const late = setTimeout(() => done({ is: "silent", holder: holderOf(key.name) }), answerMs);
    socket.once("connect", () => {
      connected = true;
    });
    line.listen(
      (message) => {
        if (message.is === "door" && !peer) {
          peer = { pid: message.pid, startTicks: message.startTicks };
          if (!isOurs(key.name, before, peer)) return done({ is: "stranger" });
          line.send({ is: "hello", secret: key.secret, ...hello });
        } else if (message.is === "welcome" && peer) done({ is: "open", line, peer, welcome: message });
      },
      () => done({ is: connected ? "refused" : "nobody" }),
    );
  });
}

/** The socket that listened before we connected still does, and a process of our user holds it: it is who we have reached. */
function isOurs(name: string, before: string | undefined, peer: Identity): boolean {
  if (process.platform !== "linux") return true; // the folder's mode has let nobody else in
  const now = listenerOf(name);
  return now !== undefined && now === before && same(identify(peer.pid), peer) && holdsSocket(peer.pid, now);
}

/** Which process of our user holds a name; undefined when none does, or it is a stranger's. */
export function holderOf(name: string): Identity | undefined {
  const inode = listenerOf(name);
  const pid = inode === undefined ? undefined : allPids().find((one) => holdsSocket(one, inode));
  return pid === undefined ? undefined : identify(pid);
}
