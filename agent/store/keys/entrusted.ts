import { isFault } from "@blueflame/shared/errors/fault.ts";
import type { Entrusted, Ring } from "./ring.ts";
import { readEscrow, writeEscrow } from "./ring-file.ts";
import { type Escrow, escrowOf } from "./wrap.ts";

/** In place of an escrow key: the store is entrusted to nobody any more. */
export const nobody = "nobody";

/** Whom a ring is wrapped for, and what a person should know of it. */
interface Standing {
  readonly escrow: Entrusted;
  readonly note?: string;
}

const again = "'blueflame-agent store entrust PUBLIC.pem' entrusts it to a key, 'store entrust --nobody' to none";

/**
 * Whom the store is entrusted to: the ring says it, and `store.escrow.pem` is its copy for people. The file counts where the ring
 * says nothing: it was left here before the first start, or an earlier version wrote the ring. A spoilt or lost file loses nobody.
 */
export function entrusted(dataDir: string, ring: Ring): Standing {
  const file = readEscrow(dataDir);
  const { escrow: pem } = ring.stored;
  return pem === undefined ? byFile(file, ring.entrustedTo) : byRing(escrowOf(pem), file, dataDir);
}

function byRing(escrow: Escrow, file: ReturnType<typeof readEscrow>, dataDir: string): Standing {
  if (file && !isFault(file)) {
    if (file.id === escrow.id) return { escrow };
    const note = `store.escrow.pem holds another key (${file.id}) than the one that the store is entrusted to (${escrow.id}), which stays; ${again}`;
    return { escrow, note };
  }
  const saw = file ? `cannot be read (${file.saw})` : "was gone";
  try {
    writeEscrow(dataDir, escrow);
  } catch {
    // The ring knows it; the next start tries again.
  }
  return { escrow, note: `store.escrow.pem ${saw} and was made again from the store's own keys; ${again}` };
}

function byFile(file: ReturnType<typeof readEscrow>, before: string | undefined): Standing {
  if (before === undefined) {
    if (!isFault(file)) return { escrow: file };
    return { escrow: undefined, note: `the store is entrusted to nobody: store.escrow.pem: ${file.saw}; ${again}` };
  }
  if (file && !isFault(file) && file.id === before) return { escrow: file };
  const saw = isFault(file) ? `cannot be read (${file.saw})` : file ? `holds another key (${file.id})` : "is gone";
  const kept = `what the key ${before} can open it still can, and keys that are made from now on it cannot`;
  return { escrow: "asBefore", note: `store.escrow.pem ${saw}: ${kept}; ${again}` };
}
