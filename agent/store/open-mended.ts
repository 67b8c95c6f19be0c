import { existsSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import { examine } from "@blueflame/shared/store/level/files/examine.ts";
import { placeOf } from "@blueflame/shared/store/level/opening.ts";
import { type AgentStoreOptions, type OpenedAgentStore, openAgentStore } from "./agent-store.ts";
import { isDamage } from "./codec.ts";
import { type Mirror, readMirror } from "./deferred-mirror.ts";
import { type Mended, mendStore, type Wish } from "./mend.ts";
import { restAgain } from "./next-life.ts";
import { clear, suspicion } from "./suspect.ts";

/** What the opening agent knows beside the store's own options. */
interface OpenOptions extends AgentStoreOptions {
  readonly isAtRest: (state: unknown) => boolean;
  /** What is known of the store from outside; absent: what lies beside it. */
  readonly mirror?: Mirror;
}

/**
 * Opens the agent's store; one that is damaged or gone is mended first, once, and what a person stopped stays stopped in it.
 * Rejects as `openAgentStore` and `mendStore` do.
 */
export async function openMended(dataDir: string, options: OpenOptions): Promise<OpenedAgentStore> {
  const mirror = options.mirror ?? readMirror(dataDir);
  const open = () => openAgentStore(dataDir, { ...options, repair: false, witness: mirror });
  let mended: Mended | undefined;
  const notes: string[] = [];
  const suspected = suspicion(dataDir);
  const doubted = suspected?.is === "rolledBack";
  const mend = async (wish?: Wish) => {
    mended = await mendStore(dataDir, { defaultNodeId: hostname(), ...options, actor: "agent", doubted }, wish);
  };
  if (suspected) {
    try {
      await mend();
      // What was mended begins a new life anyway.
      if (doubted && mended?.is === "sound") await mend({ is: "newLife" });
      clear(dataDir);
    } catch (error) {
      // Three damaged copies lie there, or no way is left: the store is opened as it is, and what is wrong stays said.
      if (!isFault(error, "LIMIT_REACHED") && !isDamage(error)) throw error;
      notes.push(`${suspected.because}; it could not be mended: ${error.message}`);
    }
  }
  // LevelDB looks at the checksums of what it has to read only, drops what does not fit, and ends the whole process on some of it.
  else if (looksDamagedOrGone(dataDir)) await mend();
  const opened = await open().catch(async (error: unknown) => {
    if (!isDamage(error) && !isFault(error, "STORE_MISSING")) throw error;
    await mend();
    return open();
  });
  try {
    if (mirror) await keepAtRest(opened, mirror, options.isAtRest);
  } catch (error) {
    await opened.close();
    throw error;
  }
  if (mended?.is === "mended") notes.push(noteOf(mended));
  return notes.length > 0 ? { ...opened, notes: [...notes, ...opened.notes] } : opened;
}

/**
 * Only a hint while another process may have it open: the mending takes the lock first, and looks again. A disk that refuses is the opening's to report.
 * Gone is mended too: the opening knows the store's own marker only, and where that went with it would make an empty one.
 */
function looksDamagedOrGone(dataDir: string): boolean {
  try {
    const { is } = examine(placeOf(join(dataDir, "store")).path);
    return is === "damaged" || (is === "absent" && existsSync(dataDir));
  } catch {
    return false;
  }
}

/** A store that forgot its last opening has forgotten more: what rests is put to rest again before anybody looks. */
async function keepAtRest(
  opened: OpenedAgentStore,
  mirror: Mirror,
  isAtRest: (state: unknown) => boolean,
): Promise<void> {
  if (opened.identity.generation === mirror.generation) return;
  const stored = new Map((await opened.workloads()).map(({ name, state }) => [name, state]));
  for (const change of restAgain(stored, mirror.resting, isAtRest, false)) await opened.saveStep(change, "synced");
}

function noteOf({ by, because, kept, notes }: Mended): string {
  const aside = kept === undefined ? "" : `; the damaged store lies in '${kept}'`;
  return [`the store was mended (${by}): ${because}${aside}`, ...notes].join("; ");
}
