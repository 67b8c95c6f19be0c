import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Operation } from "@blueflame/agent/state/commit.ts";
import { type StartedStore, startStore } from "@blueflame/agent/store/deferred-store.ts";
import { mendStore } from "@blueflame/agent/store/mend.ts";
import { startSnapshots } from "@blueflame/agent/store/snapshot.ts";
import { snapshotNumbers, snapshotsIn } from "@blueflame/agent/store/snapshot-file.ts";
import { type Handle, placeOf, reopenHandle } from "@blueflame/shared/store/level/opening.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";

const clock = realClock();
const options = {
  clock,
  random: Math.random,
  bootId: "boot-1",
  isAtRest: () => false,
  restOf: (state: unknown) => state,
};

/** The store of one node in a folder of its own, opened, closed and mended as its agent would. Whoever made it ends it. */
export class KeptStore {
  readonly dir = mkdtempSync(join(tmpdir(), "bf-kept-"));
  #open: StartedStore | undefined;

  async open(): Promise<StartedStore> {
    this.#open = await startStore(this.dir, { ...options, nodeId: "edge-1", onOpened: () => undefined });
    return this.#open;
  }
  async close(): Promise<void> {
    await this.#open?.close();
    this.#open = undefined;
  }
  mend() {
    return mendStore(this.dir, { ...options, actor: "test", defaultNodeId: "host" });
  }
  /** Takes the first snapshot of the store that is open. */
  async snapshot(): Promise<void> {
    if (!this.#open) throw new Error("the store is not open");
    const snapshots = startSnapshots({ store: this.#open, clock, dataDir: this.dir, everyMs: 1, keep: 1 });
    while (snapshotNumbers(snapshotsIn(this.dir)).length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    await snapshots.close();
  }
  /** Works on its rows while nobody has it open. */
  async onDisk(work: (handle: Handle) => Promise<void>): Promise<void> {
    const handle = await reopenHandle(placeOf(join(this.dir, "store")), {});
    await work(handle).finally(() => handle.close());
  }
  path(file: string): string {
    return join(this.dir, "store", file);
  }
  get tables(): string[] {
    return readdirSync(join(this.dir, "store")).filter((file) => file.endsWith(".ldb"));
  }
  async end(): Promise<void> {
    await this.close();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** Commits to the workload `engine`. */
export function commit(store: StartedStore, ...operations: Operation[]) {
  return store.space("engine").commit({ id: "", digest: "", operations, onlyWhileOpen: false });
}
export function trade(id: string, profit: number): Operation {
  const nothing = { openExposure: undefined, sessionProfit: undefined, data: new Uint8Array() };
  return { is: "trade", trade: { id, profit, exposure: 1, ...nothing } };
}
/** A key's value of the workload `engine`; undefined when it is not there. */
export async function textAt(store: StartedStore, key: string): Promise<string | undefined> {
  const found = await store.get("engine", key);
  return found && Buffer.from(found.value).toString();
}
