// One life of a process that writes to the agent's store, until it is killed. It says "o" before it opens, "w" when it
// begins to write, and a dot behind each write.
//   store-life.mjs FOLDER LEDGER write [LIFE]     checks what earlier lives were acknowledged, then writes
//   store-life.mjs FOLDER LEDGER check kill|power checks only; exit code 3 and a line for each thing that is wrong
//   store-life.mjs FOLDER LEDGER start            opens as the agent's start does, mends, and says what it found as JSON
import { writeSync } from "node:fs";
import { openAgentStore } from "@blueflame/agent/store/agent-store.ts";
import { startStore } from "@blueflame/agent/store/deferred-store.ts";
import { startSnapshots } from "@blueflame/agent/store/snapshot.ts";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import { seeded } from "@blueflame/shared/random/random.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { check, type Death } from "./store-check.ts";
import { write } from "./store-lanes.ts";
import { Ledger } from "./store-ledger.ts";
import type { Started } from "./store-start.ts";

/** A snapshot is on its way in every so many lives. */
const snapshotEach = 8;

const [folder = "", ledgerPath = "", what = "", which = ""] = process.argv.slice(2);
const clock = realClock();
const ledger = new Ledger(ledgerPath);
if (what === "start") await startAndTell();
writeSync(1, "o");
try {
  const life = Number(which) || 1;
  const random = seeded(life);
  const who = { nodeId: "prove", bootId: "boot", clock, random, repair: false };
  const store = await openAgentStore(folder, who);
  const death: Death = what === "check" && which === "power" ? "power" : "kill";
  const { lost, changed } = await check(store, ledger, death);
  const notes = death === "power" ? [] : store.notes; // what was torn by a power cut is left out, and said
  const wrong = [
    ...lost.map((one) => `lost: ${one}`),
    ...changed.map((one) => `changed: ${one}`),
    ...notes.map((one) => `changed: ${one}`),
  ];
  if (store.identity.incarnation !== 1n) wrong.push(`changed: it is life ${store.identity.incarnation} of the node`);
  if (wrong.length > 0) end(wrong);
  if (what === "write") {
    const snapshots =
      life % snapshotEach === 0 ? startSnapshots({ store, clock, dataDir: folder, everyMs: 10, keep: 2 }) : undefined;
    writeSync(1, "w");
    await write(store, ledger, () => writeSync(1, ".") > 0);
    await snapshots?.close();
  }
  await store.close();
} catch (error) {
  end([`unopenable: ${error instanceof Error ? error.message : error}`]);
}

async function startAndTell(): Promise<never> {
  const who = { nodeId: "prove", bootId: "boot", clock, random: Math.random };
  const isAtRest = (state: unknown) => (state as { count?: number }).count === -1;
  let told: Started;
  try {
    const store = await startStore(folder, { ...who, isAtRest, restOf: (state) => state, onOpened: () => undefined });
    const { generation } = store.identity;
    told = { generation, notes: store.notes, ...(await check(store, ledger, "kill")) };
    await store.close();
  } catch (error) {
    told = isFault(error) ? { code: error.code, saw: error.saw } : { code: "", saw: String(error) };
  }
  writeSync(1, JSON.stringify(told));
  process.exit(0);
}

function end(wrong: readonly string[]): never {
  writeSync(2, `${wrong.slice(0, 20).join("\n")}\n`);
  process.exit(3);
}
