import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { openLevelEngine } from "@blueflame/shared/store/level/engine.ts";
import { memoryLog } from "@blueflame/shared/store/memory/memory-log.ts";
import { memoryState } from "@blueflame/shared/store/memory/memory-state.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { expect, test } from "vitest";
import { bundled } from "../support/bundle.ts";
import { logContract } from "./log.contract.ts";
import { stateContract } from "./state.contract.ts";

const clock = realClock();
const megabytes = 1024 * 1024;

const restartless = () => Promise.reject(new Error("memory does not outlive its process"));
stateContract(
  "memory",
  async (history) => {
    const state = memoryState({ commits: history, bytes: 64 * megabytes });
    return { state, other: state, reopen: restartless, close: () => state.close() };
  },
  false,
);
logContract("memory", async () => ({ log: memoryLog(), reopen: restartless, close: async () => {} }), false);

async function levelDir() {
  const dir = await mkdtemp(join(tmpdir(), "bf-engine-"));
  return { dir, remove: () => rm(dir, { recursive: true, force: true }) };
}
async function openLevel(history = 10_000) {
  const { dir, remove } = await levelDir();
  const open = () => openLevelEngine(dir, { clock, history: { commits: history, bytes: 64 * megabytes } });
  let engine = await open();
  return {
    engine,
    async again() {
      await engine.close();
      engine = await open();
      return engine;
    },
    async close() {
      await engine.close();
      await remove();
    },
  };
}
stateContract("LevelDB", async (history) => {
  const { engine, again, close } = await openLevel(history);
  return { state: engine.state, other: engine.state, reopen: async () => (await again()).state, close };
});
logContract("LevelDB", async () => {
  const { engine, again, close } = await openLevel();
  return { log: engine.log, reopen: async () => (await again()).log, close };
});

test("CARD-4 LevelDB: a writer that is killed again and again loses nothing that it was acknowledged", async () => {
  const { dir, remove } = await levelDir();
  try {
    const said = new Map<string, { count: number; rev: bigint }>();
    const program = await bundled("test/contract/engine-writer.main.ts");
    for (let life = 1; life <= 4; life++) {
      const writer = spawn(process.execPath, [program, dir, `life${life}`], { stdio: ["ignore", "pipe", "inherit"] });
      let lines = 0;
      for await (const line of createInterface({ input: writer.stdout })) {
        const [kind = "", key = "", count = "", rev = ""] = line.split(" ");
        said.set(`${kind} ${key}`, { count: Number(count), rev: BigInt(rev) });
        if (++lines === 300 * life) writer.kill("SIGKILL");
      }
      if (writer.exitCode === null && writer.signalCode === null) await once(writer, "exit");
      expect(writer.signalCode).toBe("SIGKILL");
    }
    const { state, log, notes, close } = await openLevelEngine(dir, { clock });
    expect(notes).toEqual([]);
    const { rev: lastRev } = await state.list("");
    const ids = new Set((await log.range("s", { limit: 1_000_000 })).map(({ id }) => id));
    for (const [name, { count, rev }] of said) {
      const key = name.slice(name.indexOf(" ") + 1);
      if (name.startsWith("log")) {
        expect(ids).toContain(key);
        continue;
      }
      const [entry, twin] = [await state.get(key), await state.get(`twin/${key}`)];
      expect(Number(Buffer.from(entry?.value ?? []).toString())).toBeGreaterThanOrEqual(count);
      expect(twin?.rev).toBe(entry?.rev);
      expect(lastRev).toBeGreaterThanOrEqual(rev);
    }
    expect(said.size).toBeGreaterThan(1000);
    await close();
  } finally {
    await remove();
  }
});
