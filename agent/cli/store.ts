import { hostname } from "node:os";
import { basename, join, resolve } from "node:path";
import { type OutputOptions, printOne, printRows } from "@blueflame/shared/cli/print.ts";
import type { Column } from "@blueflame/shared/cli/table.ts";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { readTarget } from "../identity.driver.ts";
import { openWithKey } from "../store/keys/open-with.ts";
import { type Mended, type MendOptions, mendStore, verifyStore, type Wish } from "../store/mend.ts";
import { choose } from "../store/mend-choice.ts";
import { snapshotNumbers, snapshotsIn, verifySnapshot } from "../store/snapshot-file.ts";
import { checkOf } from "../store/snapshot-form.ts";
import { bootId } from "../supervise/proc.driver.ts";
import { isAtRest } from "../supervise/rest.ts";
import type { State } from "../supervise/state.ts";
import type { Fetched } from "../uplink/snapshot-fetching.driver.ts";
import { readKeyFile } from "./key-file.ts";
import { personHere } from "./person.ts";

/** The flags of `store` and its commands. */
export interface StoreOptions extends OutputOptions {
  readonly dataDir: string;
  readonly actor?: string;
}

export interface RepairOptions extends StoreOptions {
  readonly newLife: boolean;
}
export interface RestoreOptions extends StoreOptions {
  readonly snapshot?: string;
  readonly from?: string;
  readonly empty: boolean;
  readonly fromHub: boolean;
  readonly config?: string;
  readonly openWith?: string;
}
export interface FetchOptions extends StoreOptions {
  readonly config: string;
  readonly snapshot?: string;
}

interface Part {
  readonly part: string;
  readonly state: "sound" | "damaged" | "absent";
  readonly saw: string;
}
const partColumns: Column<Part>[] = [
  { title: "PART", value: (row) => row.part },
  { title: "STATE", value: (row) => row.state },
  { title: "FOUND", value: (row) => row.saw },
];
const mendedColumns: Column<Mended>[] = [
  { title: "STORE", value: (row) => row.is },
  { title: "BY", value: (row) => row.by ?? "-" },
  { title: "BECAUSE", value: (row) => row.because },
  { title: "KEPT", value: (row) => row.kept ?? "-" },
  { title: "NOTES", value: (row) => row.notes.join("; ") || "-" },
];

function mendOptions({ actor }: StoreOptions): MendOptions {
  return {
    clock: realClock(),
    random: Math.random,
    actor: actor ?? `person:${personHere()}`,
    bootId: bootId(),
    defaultNodeId: hostname(),
    isAtRest: (state) => isAtRest(state as State),
    tell: (lines) => void process.stderr.write(lines.map((line) => `${line}\n`).join("")),
  };
}

/** Prints the state of the store and of each snapshot. Rejects with STORE_DAMAGED or STORE_MISSING when the store needs mending. */
export async function verify(options: StoreOptions): Promise<void> {
  const found = await verifyStore(options.dataDir, mendOptions(options));
  const choice = choose(found);
  const state = choice.is !== "leave" ? "damaged" : choice.because === "sound" ? "sound" : "absent";
  const saw = [...(choice.is === "leave" ? [] : [choice.because]), ...found.notes].join("; ");
  const store: Part = { part: "store", state, saw: saw || `${found.bytes} bytes` };
  printRows([store, ...(await snapshotParts(options.dataDir))], partColumns, { ...options, json: (row) => row });
  if (choice.is === "refuse") throw new Fault(choice.code, choice.because);
  if (choice.is === "mend")
    throw new Fault(found.files === "absent" ? "STORE_MISSING" : "STORE_DAMAGED", choice.because);
}

async function snapshotParts(dataDir: string): Promise<Part[]> {
  const folder = snapshotsIn(dataDir);
  return Promise.all(
    snapshotNumbers(folder).map(async (number): Promise<Part> => {
      const part = `snapshot ${number}`;
      try {
        const place = join(folder, String(number));
        const { takenWallMs, entries, incarnation } = await verifySnapshot(place, await checkOf(place, dataDir));
        const saw = `${new Date(takenWallMs).toISOString()}, ${entries} entries, life ${incarnation}`;
        return { part, state: "sound", saw };
      } catch (error) {
        if (!isFault(error)) throw error;
        return { part, state: "damaged", saw: error.saw };
      }
    }),
  );
}

/** Mends the store, or leaves it as it is when it is sound; `newLife` begins another life in any case. Rejects as `mendStore` does. */
export async function repair(options: RepairOptions): Promise<void> {
  await mend(options, options.newLife ? { is: "newLife" } : undefined);
}

/** Puts a snapshot, or an empty store, in the place of the store, which is kept; says on stderr, before that, what is given up. Rejects as `mendStore` and `fetchSnapshot` do, and with USAGE. */
export async function restore(options: RestoreOptions): Promise<void> {
  const { snapshot, from, empty, fromHub, config, dataDir } = options;
  if ([snapshot !== undefined && !fromHub, from !== undefined, empty, fromHub].filter(Boolean).length > 1) {
    throw new Fault("USAGE", "give one of --snapshot, --from, --from-hub and --empty");
  }
  if (options.openWith !== undefined && !fromHub) {
    throw new Fault("USAGE", "--open-with is for --from-hub; for what lies here there is `store open-with`");
  }
  if (empty) return mend(options, { is: "empty" });
  if (!fromHub) {
    const place = snapshot === undefined ? from && resolve(from) : join(snapshotsIn(dataDir), snapshot);
    return mend(options, { is: "restore", from: place });
  }
  if (config === undefined)
    throw new Fault("USAGE", "--from-hub needs --config: it says where the hub is, and who this node is");
  const secret = options.openWith === undefined ? undefined : readKeyFile(options.openWith);
  const { place, highestIncarnation } = await fetchFrom(config, dataDir, snapshot);
  if (secret) await openWithKey(dataDir, secret, options.openWith ?? "");
  await mend(options, { is: "restore", from: place, above: highestIncarnation });
}

/** Brings a snapshot of this node from the hub and puts it among those here. Rejects as `fetchSnapshot` does. */
export async function fetch(options: FetchOptions): Promise<void> {
  const { place, id } = await fetchFrom(options.config, options.dataDir, options.snapshot);
  const { takenWallMs, entries, incarnation } = await verifySnapshot(place, () => undefined);
  const taken = new Date(takenWallMs).toISOString();
  const saw = `${taken}, ${entries} entries, life ${incarnation}, ${id.slice(0, 12)} at the hub`;
  printRows([{ part: `snapshot ${basename(place)}`, state: "sound", saw } satisfies Part], partColumns, {
    ...options,
    json: (row) => row,
  });
}

/** The line to a hub is loaded when there is one to be asked, not by each who looks at a store. */
async function fetchFrom(config: string, dataDir: string, snapshot: string | undefined): Promise<Fetched> {
  const { readAgentConfig } = await import("../config/config.driver.ts");
  const { fetchSnapshot } = await import("../uplink/snapshot-fetching.driver.ts");
  const { hub } = readAgentConfig(config, process.env);
  if (!hub) throw new Fault("USAGE", `'${config}' names no hub`);
  return fetchSnapshot(readTarget(hub.addresses, hub), dataDir, snapshot);
}

async function mend(options: StoreOptions, wish: Wish | undefined): Promise<void> {
  const mended = await mendStore(options.dataDir, mendOptions(options), wish);
  printOne(mended, mendedColumns, { ...options, json: (row) => row });
}
