import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Database } from "@blueflame/shared/store/level/database.ts";
import { openDatabase } from "@blueflame/shared/store/level/open-database.ts";
import type { Job } from "@blueflame/shared/store/level/writer.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Codec } from "./codec.ts";
import { kekOf } from "./keys/key-file.ts";
import { Ring } from "./keys/ring.ts";
import { SealedDatabase } from "./sealed-database.ts";
import { WorkloadSpaces } from "./workload-spaces.ts";

let dir: string;
let raw: Database;
let codec: Codec;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "bf-recount-"));
  raw = await openDatabase(join(dir, "store"), { clock: realClock() });
  codec = new Codec(Ring.make("o", kekOf(Buffer.alloc(32, 1), "test", "file"), undefined, 0));
});
afterEach(async () => {
  await raw.close();
  rmSync(dir, { recursive: true, force: true });
});

/** A life that ends when it has written `writes` times. */
class Dying extends SealedDatabase {
  #left: number;
  constructor(writes: number) {
    super(raw, codec);
    this.#left = writes;
  }
  override async submit(job: Job, durability: Parameters<SealedDatabase["submit"]>[1]): Promise<void> {
    if (this.#left-- <= 0) throw new Error("the power is off");
    await super.submit(job, durability);
  }
}

async function opened(generation: string, writes = Number.POSITIVE_INFINITY): Promise<WorkloadSpaces> {
  const heir = generation !== "first";
  const options = { wallMs: () => 0, generation, heir, audit: () => [], nodeId: "edge-1" };
  const spaces = new WorkloadSpaces(new Dying(writes), options);
  await spaces.load();
  return spaces;
}

test("a power cut while a restored store is counted lets no revision be given again that the lost one has given", async () => {
  const first = await opened("first");
  const put = { is: "put", key: "k", value: Buffer.from("v"), expected: undefined } as const;
  for (const workload of ["a", "b"]) {
    await first.of(workload).commit({ id: "", digest: "", operations: [put], onlyWhileOpen: false });
  }
  const known = new Map([
    ["a", 1],
    ["b", 1],
  ]);
  for (let cuts = 0, whole = false; !whole; cuts++) {
    const generation = `restored-${cuts}`;
    const cut = await opened(generation, cuts).catch(() => undefined);
    whole = cut !== undefined;
    const spaces = cut ?? (await opened(generation));
    for (const [workload, revision] of known) {
      const { horizon, revision: now } = spaces.of(workload).contents();
      expect(horizon, `${workload}, after ${cuts} writes`).toBeGreaterThan(revision + 2 ** 19);
      known.set(workload, now);
    }
    // Counted, begun anew twice, kept: a cut at each.
    if (whole) expect(cuts).toBe(4);
  }
});
