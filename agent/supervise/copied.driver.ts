/**
 * Whose the processes of a data directory are. By default its store's; but a copied directory brings along the owner, and the
 * instances, of an agent that may live: it would adopt or end that one's workloads. Such a copy gets an owner of its own, for good.
 */
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { dirname, join } from "node:path";
import { replaceFile } from "@blueflame/shared/store/folder.ts";
import { places } from "../constants.ts";
import { markVariable } from "./family.driver.ts";
import { allPids, environOf, procStat } from "./proc.driver.ts";

/** Who listens answers in a moment, and one that is stopped too: the kernel does. */
const answerMs = 1000;

/** By what the processes of one agent are known. */
export interface OwnLife {
  readonly owner: string;
  /** The boot in which they live; of a copy it is another one than the original remembers. */
  readonly bootId: string;
}

/** `owner` as the store says. A moved directory keeps it: nobody answers where it was. Asked before our own door opens. */
export async function ownLife(
  dataDir: string,
  { owner, bootId }: OwnLife,
  warn: (text: string) => void,
): Promise<OwnLife> {
  const file = join(dataDir, places.copyOwner);
  const before = ownerIn(file) ?? owner;
  const original = await livingOriginal(before, join(dataDir, places.socket));
  if (original === undefined)
    return before === owner ? { owner, bootId } : { owner: before, bootId: `${bootId} ${before}` };
  const own = randomUUID();
  let kept = "";
  try {
    replaceFile(file, `${own}\n`);
  } catch (error) {
    kept = ` This could not be written down (${(error as Error).message}): the next agent here will not know its workloads.`;
  }
  warn(
    `this data directory is a copy of '${original}', whose agent lives: its workloads are left to it, and those of this config are started a second time. ` +
      `Is only one node meant: \`blueflame-agent down --data-dir ${dataDir}\`.${kept}`,
  );
  return { owner: own, bootId: `${bootId} ${own}` };
}

function ownerIn(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8").trim() || undefined;
  } catch {
    return undefined; // no copy, which is nearly always so
  }
}

/**
 * The other directory whose agent has started what carries this owner. None when one main process is of this very directory: then
 * the owner is ours, and a socket in some environment was set by a person.
 */
async function livingOriginal(owner: string, ownSocket: string): Promise<string | undefined> {
  const sockets = new Set<string>();
  for (const pid of allPids()) {
    const stat = procStat(pid);
    if (stat?.session !== pid || stat.state === "Z" || !environOf(pid, markVariable)?.startsWith(`${owner}:`)) continue;
    const socket = environOf(pid, "BLUEFLAME_SOCKET");
    if (socket === ownSocket) return undefined;
    if (socket !== undefined) sockets.add(socket);
  }
  for (const socket of sockets) if (await answers(socket)) return dirname(socket);
  return undefined;
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    const done = (answered: boolean) => {
      socket.destroy();
      resolve(answered);
    };
    socket.setTimeout(answerMs, () => done(true)); // it listens, and its queue is full
    socket.once("connect", () => done(true));
    socket.once("error", (error: NodeJS.ErrnoException) => done(error.code === "EAGAIN"));
  });
}
