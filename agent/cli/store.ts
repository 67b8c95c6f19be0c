import { hostname } from "node:os";
import { join, resolve } from "node:path";
import { type OutputOptions, printOne, printRows } from "@blueflame/shared/cli/print.ts";
import type { Column } from "@blueflame/shared/cli/table.ts";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { type Mended, type MendOptions, mendStore, verifyStore, type Wish } from "../store/mend.ts";
import { choose } from "../store/mend-choice.ts";
import { snapshotNumbers, snapshotsIn, verifySnapshot } from "../store/snapshot-file.ts";
import { bootId } from "../supervise/proc.driver.ts";
import { isAtRest, type State } from "../supervise/state.ts";
import { personHere } from "./ask.driver.ts";

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
        const { takenWallMs, entries, incarnation } = await verifySnapshot(join(folder, String(number)));
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

/** Puts a snapshot, or an empty store, in the place of the store, which is kept. Rejects as `mendStore` does, and with USAGE. */
export async function restore(options: RestoreOptions): Promise<void> {
  const { snapshot, from, empty, dataDir } = options;
  if ([snapshot !== undefined, from !== undefined, empty].filter(Boolean).length > 1) {
    throw new Fault("USAGE", "give one of --snapshot, --from and --empty");
  }
  const place = snapshot === undefined ? from && resolve(from) : join(snapshotsIn(dataDir), snapshot);
  await mend(options, empty ? { is: "empty" } : { is: "restore", from: place });
}

async function mend(options: StoreOptions, wish: Wish | undefined): Promise<void> {
  const mended = await mendStore(options.dataDir, mendOptions(options), wish);
  printOne(mended, mendedColumns, { ...options, json: (row) => row });
}
