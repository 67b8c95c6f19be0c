import { expect, test } from "vitest";
import { isFault } from "../../errors/fault.ts";
import type { Database } from "./database.ts";
import { levelLog } from "./level-log.ts";
import { type Job, Waiting, waitingMax } from "./writer.ts";

const megabyte = 1024 * 1024;
const code = (error: unknown) => (isFault(error) ? error.code : String(error));
const job = (bytes: number): Job => ({ bytes, build: () => [] });

test("what waits for a disk that hangs was bounded by its number only: 20,000 large writes filled the memory", async () => {
  const waiting = new Waiting();
  const outcomes: string[] = [];
  const add = (bytes: number) => void waiting.add(job(bytes), true).catch((error) => outcomes.push(code(error)));
  for (let n = 0; n < 66; n++) add(megabyte);
  await Promise.resolve();
  expect(outcomes).toEqual(["LIMIT_REACHED", "LIMIT_REACHED"]);
  // Small ones too: the bound is what all of them hold.
  add(1);
  await Promise.resolve();
  expect(outcomes).toHaveLength(3);
  waiting.next();
  add(waitingMax.bytes);
  add(1);
  await Promise.resolve();
  expect(outcomes).toHaveLength(4); // larger than all that may wait, and nothing waited before it
  waiting.refuse(new Error("the disk refuses"));
  add(megabyte);
  await Promise.resolve();
  expect(outcomes.slice(4)).toEqual([expect.stringContaining("the disk refuses")]);
});

test("appends to a log on a disk that hangs are bounded by their bytes too", async () => {
  const groups: number[] = [];
  const hangs = Promise.withResolvers<void>();
  const database = {
    getMany: async (keys: readonly string[]) => keys.map(() => undefined),
    async submit({ build }: Job) {
      groups.push(build().length / 2);
      await hangs.promise;
    },
  };
  const log = levelLog(database as unknown as Database);
  const data = new Uint8Array(megabyte);
  const append = (n: number) => log.append("s", [{ id: `${n}`, at: 1, data }]).then(() => "kept", code);
  const first = append(0);
  await Promise.resolve();
  const rest = Array.from({ length: 66 }, (_, n) => append(n + 1));
  await new Promise((resolve) => setImmediate(resolve));
  hangs.resolve();
  expect(await first).toBe("kept");
  const outcomes = await Promise.all(rest);
  expect(outcomes.filter((one) => one === "kept")).toHaveLength(64);
  expect(outcomes.filter((one) => one === "LIMIT_REACHED")).toHaveLength(2);
  expect(groups).toEqual([1, ...Array.from({ length: 16 }, () => 4)]); // 4 MiB share one batch
});
