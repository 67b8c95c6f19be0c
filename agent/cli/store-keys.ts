import { hostname } from "node:os";
import { printOne } from "@blueflame/shared/cli/print.ts";
import type { Column } from "@blueflame/shared/cli/table.ts";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { openAgentStore } from "../store/agent-store.ts";
import { keyChanged } from "../store/key-audit.ts";
import { nobody } from "../store/keys/entrusted.ts";
import { openWithKey } from "../store/keys/open-with.ts";
import { HalfChanged } from "../store/keys/store-keys.ts";
import { checkDirThere, checkStoreThere } from "../store/there.ts";
import { bootId } from "../supervise/proc.driver.ts";
import { ask } from "./ask.driver.ts";
import { readKeyFile } from "./key-file.ts";
import { personHere } from "./person.ts";
import type { StoreOptions } from "./store.ts";

export interface RotateOptions extends StoreOptions {
  readonly kek: boolean;
}

export interface EntrustOptions extends StoreOptions {
  readonly nobody: boolean;
}

interface Change {
  readonly did: string;
  readonly key: string;
}
const columns: Column<Change>[] = [
  { title: "DONE", value: (row) => row.did },
  { title: "KEY", value: (row) => row.key },
];

/** Changes the data key, or with `kek` the key-encryption key. Rejects with STORE_KEY_*, STORE_WRITE_FAILED, BAD_REQUEST. */
export async function rotateKey(options: RotateOptions): Promise<void> {
  const key = await change(options.dataDir, options.kek ? "kek" : "data", "");
  print({ did: options.kek ? "another key opens the store" : "another key seals the store", key }, options);
}

/**
 * Lets the holder of a private key open the store too, or nobody any more. Rejects as {@link rotateKey}, with CONFIG_INVALID, USAGE, and
 * with BAD_REQUEST for the private key itself.
 */
export async function entrust(file: string | undefined, options: EntrustOptions): Promise<void> {
  if ((file === undefined) !== options.nobody) throw new Fault("USAGE", "give a public key, or --nobody");
  const key = await change(options.dataDir, "data", file === undefined ? nobody : publicIn(file));
  const did = file === undefined ? "nobody else can open the store" : "the holder of this key can open the store too";
  print({ did, key }, options);
}

/** With the private half on every node, each of them could open the stores of all. */
function publicIn(file: string): string {
  const pem = readKeyFile(file).toString();
  if (!/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(pem)) return pem;
  const saw = `'${file}' holds a private key, which must not lie on a node: take it away, and give its public half`;
  throw new Fault("BAD_REQUEST", `${saw} (openssl pkey -in '${file}' -pubout)`);
}

/**
 * Gives the store and its snapshots a key again by the private key that they were entrusted to, or by an earlier key. Rejects with
 * STORE_KEY_*, STORE_LOCKED, STORE_MISSING, DATA_DIR_UNUSABLE.
 */
export async function openWith(file: string, options: StoreOptions): Promise<void> {
  checkDirThere(options.dataDir);
  const key = await openWithKey(options.dataDir, readKeyFile(file), file);
  print({ did: "the key in the data directory opens it again", key }, options);
}

/** Asks the agent; without one it is done here. */
async function change(dataDir: string, which: "data" | "kek", escrowPem: string): Promise<string> {
  const person = personHere();
  try {
    const request = { kek: which === "kek", escrowPublicKey: escrowPem, person };
    return (await ask(dataDir, (desk) => desk.rotateStoreKey(request))).keyId;
  } catch (error) {
    if (!isFault(error, "AGENT_UNREACHABLE")) throw error;
  }
  checkStoreThere(dataDir);
  const [clock, random] = [realClock(), Math.random];
  const opener = { clock, random, nodeId: undefined, defaultNodeId: hostname(), bootId: bootId(), repair: false };
  const store = await openAgentStore(dataDir, { ...opener, make: false });
  const told = { which, escrowPem, person, nodeId: store.identity.nodeId, clock, random };
  try {
    const id = await (escrowPem === "" ? store.rotateKey(which) : store.entrust(escrowPem));
    await store.appendAudit([keyChanged({ ...told, id })]);
    return id;
  } catch (error) {
    // Where the disk takes it; else the error says it.
    if (error instanceof HalfChanged)
      await store.appendAudit([keyChanged({ ...told, id: error.id, but: error.saw })]).catch(() => undefined);
    throw error;
  } finally {
    await store.close();
  }
}

function print(row: Change, options: StoreOptions): void {
  printOne(row, columns, { ...options, json: (one) => one });
}
