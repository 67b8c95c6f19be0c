import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { canMount, smallDisk } from "../../../test/contract/small-disk.ts";
import { isFault } from "../../errors/fault.ts";
import { realClock } from "../../time/real-clock.driver.ts";
import { type Entry, OutcomeUnknown } from "../state.ts";
import { openLevelEngine } from "./engine.ts";

const clock = realClock();
const megabytes = 1024 * 1024;
const count = (entry: Entry | null) => Number(Buffer.from(entry?.value.subarray(0, 8) ?? []).toString());

test("what a killed process held by lease is deleted at the next open, as one commit", async () => {
  const dir = await mkdtemp(join(tmpdir(), "bf-engine-"));
  try {
    const program = `
      import { openLevelEngine } from ${JSON.stringify(join(import.meta.dirname, "engine.ts"))};
      import { realClock } from ${JSON.stringify(join(import.meta.dirname, "../../time/real-clock.driver.ts"))};
      const { state } = await openLevelEngine(process.argv[1], { clock: realClock() });
      const lease = await state.lease(2000);
      const value = Buffer.from("here");
      await state.commit([], [{ put: "hub/1", value, lease }, { put: "hub/2", value, lease }, { put: "kept", value }]);
      console.log("written");
      setInterval(() => {}, 1000);`;
    const holder = spawn(process.execPath, ["--no-warnings", "--input-type=module", "-e", program, dir], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(holder.stdout, "data");
    holder.kill("SIGKILL");
    await once(holder, "exit");
    const { state, close } = await openLevelEngine(dir, { clock });
    const { rev, entries } = await state.list("");
    expect([entries.map(({ key }) => key), rev]).toEqual([["kept"], 2n]);
    await close();
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});

test.skipIf(!canMount())(
  "a commit on a full disk says whether it failed or is unknown, and the count goes on right (needs the right to mount)",
  async () => {
    const disk = smallDisk(48 * megabytes);
    try {
      let engine = await openLevelEngine(disk.dir, { clock });
      const outcomes = { done: 0, unknown: 0, failed: 0 };
      const add = async () => {
        const seen = await engine.state.get("count");
        const value = Buffer.alloc(64 * 1024, " ");
        value.write(String(count(seen) + 1));
        try {
          const rev = await engine.state.commit([{ key: "count", rev: seen?.rev ?? 0n }], [{ put: "count", value }]);
          if (rev !== null) outcomes.done++;
        } catch (error) {
          if (error instanceof OutcomeUnknown) outcomes.unknown++;
          else if (isFault(error, "STORE_WRITE_FAILED")) outcomes.failed++;
          else throw error;
        }
      };
      for (let round = 0; round < 3; round++) {
        for (let at = 0; at < 5; at++) await add();
        disk.fill(megabytes);
        while (!engine.trouble()) await add();
        const stood = count(await engine.state.get("count"));
        for (let at = 0; at < 5; at++) await add();
        expect(count(await engine.state.get("count"))).toBe(stood);
        disk.free();
        while (engine.trouble()) await new Promise((resolve) => setTimeout(resolve, 20));
        await add();
      }
      expect(outcomes.failed).toBe(15);
      const total = count(await engine.state.get("count"));
      expect(total).toBeGreaterThanOrEqual(outcomes.done);
      expect(total).toBeLessThanOrEqual(outcomes.done + outcomes.unknown);
      const last = await engine.state.get("count");
      await engine.close();
      engine = await openLevelEngine(disk.dir, { clock });
      expect(await engine.state.get("count")).toEqual({ ...last, value: new Uint8Array(last?.value ?? []) });
      await engine.close();
    } finally {
      disk.remove();
    }
  },
  60_000,
);
