import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import { seeded } from "@blueflame/shared/random/random.ts";
import { placeOf, reopenHandle } from "@blueflame/shared/store/level/opening.ts";
import type { Job } from "@blueflame/shared/store/level/writer.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { stateMax } from "../state/bounds.ts";
import type { Operation } from "../state/commit.ts";
import { noLimits } from "../state/risk.ts";
import { type AgentStoreOptions, type OpenedAgentStore, openAgentStore } from "./agent-store.ts";
import type { SealedDatabase } from "./sealed-database.ts";
import { type WorkloadSpace, WorkloadSpaces } from "./workload-spaces.ts";

let dir: string;
let store: OpenedAgentStore | undefined;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-spaces-"));
});
afterEach(async () => {
  await store?.close();
  rmSync(dir, { recursive: true, force: true });
});

async function open(more: Partial<AgentStoreOptions> = {}): Promise<OpenedAgentStore> {
  await store?.close();
  store = undefined;
  const options = { clock: realClock(), random: seeded(3), nodeId: "edge-1", bootId: "boot-1" };
  store = await openAgentStore(dir, { ...options, ...more });
  return store;
}
async function engine(more: Partial<AgentStoreOptions> = {}): Promise<WorkloadSpace> {
  return (await open(more)).space("engine");
}
const code = (error: unknown) => (isFault(error) ? error.code : String(error));
const text = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString();
const put = (key: string, value = "v"): Operation => ({
  is: "put",
  key,
  value: Buffer.from(value),
  expected: undefined,
});
const append = (log: string, ...entries: string[]): Operation => ({
  is: "append",
  log,
  entries: entries.map((entry) => Buffer.from(entry)),
});
const trade = (profit: number): Operation => ({
  is: "trade",
  trade: {
    id: `t${profit}`,
    profit,
    exposure: 5,
    openExposure: undefined,
    sessionProfit: undefined,
    data: Buffer.from("d"),
  },
});
const commit = (space: WorkloadSpace, id: string, ...operations: Operation[]) =>
  space.commit({ id, digest: id && JSON.stringify(operations), operations, onlyWhileOpen: false });
async function seen(space: WorkloadSpace): Promise<unknown> {
  const { keys, logs, revision, live, bytes, horizon } = space.contents();
  const values = await Promise.all(
    [...keys.keys()].sort().map(async (key) => [key, text((await space.get(key))?.value)]),
  );
  const entries = await Promise.all(
    [...logs.keys()]
      .sort()
      .map(async (log) => (await space.readLog(log, 0, 1000)).map(({ index, data }) => [index, text(data)])),
  );
  const trades = (await space.readTrades(0, 1000)).map((one) => ({ ...one, trade: { ...one.trade, data: "" } }));
  const contents = [[...keys].sort(), [...logs].sort(), revision, live, bytes, horizon];
  return JSON.parse(JSON.stringify([contents, values, entries, trades, space.risk()]));
}

test("PHX-9 what a workload was answered is there after the store was opened again, and a request that it repeats is done once", async () => {
  const operation = fc.oneof(
    fc.tuple(fc.constantFrom("a", "b", "c/d"), fc.string({ maxLength: 3 })).map(([key, value]) => put(key, value)),
    fc.constantFrom("a", "b").map((key): Operation => ({ is: "delete", key, expected: undefined })),
    fc.string({ maxLength: 3 }).map((entry) => append("steps", entry, entry)),
    fc.nat(8).map((through): Operation => ({ is: "trim", log: "steps", through })),
    fc.integer({ min: -5, max: 5 }).map(trade),
    fc.constant<Operation>({ is: "beginSession", name: "day-1" }),
  );
  const requests = fc.sample(fc.array(operation, { minLength: 1, maxLength: 4 }), { numRuns: 60, seed: 5 });
  let space = await engine();
  for (const [at, operations] of requests.entries()) {
    const answer = await commit(space, `r${at}`, ...operations);
    if (at % 12 === 0) {
      const before = await seen(space);
      space = await engine();
      expect(await seen(space)).toEqual(before);
    }
    const again = await commit(space, `r${at}`, ...operations);
    expect(again).toEqual({ ...answer, alreadyDone: true });
  }
  expect(space.risk().risk.trades).toBe(requests.flat().filter(({ is }) => is === "trade").length);
});

test("commits that come together are each whole, and what nobody was answered yet is told to nobody", async () => {
  const space = await engine();
  const told: number[] = [];
  space.onChange(() => told.push(space.contents().revision));
  const answers = Array.from({ length: 50 }, (_, at) =>
    commit(space, `r${at}`, put(`k${at % 5}`), trade(-1), append("l", `${at}`)),
  );
  expect(space.contents().revision).toBe(0);
  const done = await Promise.all(answers);
  expect(done.map(({ revision }) => revision)).toEqual(Array.from({ length: 50 }, (_, at) => at + 1));
  expect(told).toEqual(Array.from({ length: 50 }, (_, at) => at + 1));
  expect(space.risk().risk).toMatchObject({ trades: 50, lossStreak: 50 });
  expect((await space.readLog("l", 47, 10)).map(({ index, data }) => [index, text(data)])).toEqual([
    [48, "47"],
    [49, "48"],
    [50, "49"],
  ]);
});

test("a log is read by range in pages that are bounded, and what was trimmed makes room and is never given again", async () => {
  const space = await engine();
  const entry = "x".repeat(60 * 1024);
  for (let at = 0; at < 4; at++) await commit(space, "", append("big", entry, entry, entry));
  const page = await space.readLog("big", 0, 1000);
  expect(page.map(({ index }) => index)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  expect(await space.readLog("none", 0, 1).catch(code)).toBe("NOT_FOUND");
  const { results } = await commit(space, "", { is: "trim", log: "big", through: 10 });
  expect(results[0]).toMatchObject({ last: 10 });
  expect(space.contents().bytes).toBe(2 * entry.length);
  expect((await space.readLog("big", 0, 1000)).map(({ index }) => index)).toEqual([11, 12]);
  await commit(space, "", { is: "trim", log: "big", through: 99 }, append("big", "y"));
  expect((await (await engine()).readLog("big", 0, 1000)).map(({ index }) => index)).toEqual([13]);
});

test("one trim takes at most 1,000 entries away and says how far it came", async () => {
  const space = await engine();
  const many = Array.from({ length: stateMax.entries }, () => "e");
  for (let at = 0; at < 12; at++) await commit(space, "", append("l", ...many));
  const trim = async () => (await commit(space, "", { is: "trim", log: "l", through: 1150 })).results[0]?.last;
  expect([await trim(), await trim(), await trim()]).toEqual([1000, 1150, 1150]);
  expect(space.contents().bytes).toBe(50);
});

test("PHX-9 a lock outlives the store's next openings, and a release is in the audit with who, why and what it did", async () => {
  await commit(await engine(), "", { is: "lock", because: "the feed is wrong" });
  await open();
  expect((await open()).space("engine").risk().risk.lock).toMatchObject({ because: "the feed is wrong" });
  const space = await engine();
  expect(await space.release("asha", "looked at it")).toMatchObject([{ because: "the feed is wrong" }]);
  expect(await space.release("asha", "again")).toEqual([]);
  expect((await engine()).risk().risk.lock).toBeNull();
  expect(
    (await store?.audit(3))?.map(({ actor, action, target, because }) => [actor, action, target, because]),
  ).toEqual([
    ["person:asha", "risk.release", "workload/engine", "again (there was no lock)"],
    ["person:asha", "risk.release", "workload/engine", "looked at it (opened: the feed is wrong)"],
    ["workload:engine", "risk.lock", "workload/engine", "the feed is wrong"],
  ]);
});

test("a page of trades ignored its bound in bytes, and 1,000 big ones did not fit into an answer: it is cut, and goes on where it was", async () => {
  const space = await engine();
  const big = { id: "t", profit: 1, exposure: 0, openExposure: undefined, sessionProfit: undefined };
  for (let at = 0; at < 8; at++) {
    const operations = Array.from(
      { length: 100 },
      () => ({ is: "trade", trade: { ...big, data: new Uint8Array(1024) } }) as const,
    );
    await commit(space, "", ...operations);
  }
  const pages = [];
  for (let after = 0; after < 800; ) {
    const page = await space.readTrades(after, 1000);
    pages.push(page);
    after = page.at(-1)?.index ?? 800;
  }
  expect(Math.max(...pages.map(({ length }) => length))).toBeLessThanOrEqual(512);
  expect(pages.flat().map(({ index }) => index)).toEqual(Array.from({ length: 800 }, (_, at) => at + 1));
});

test("PHX-9 a store that forgot its last opening, or that somebody outside doubts, locks every workload until a person looks", async () => {
  await commit(await engine(), "", trade(1));
  const { identity } = await open();
  expect(store?.space("engine").risk().risk.lock).toBeNull();
  const later = { generation: identity.generation, session: String(identity.session + 9n) };
  const rolledBack = await engine({ witness: later });
  expect(rolledBack.risk().risk.lock).toMatchObject({ cause: "restored" });
  expect(store?.space("never-seen").risk().risk.lock).toMatchObject({ cause: "restored" });
  await rolledBack.release("asha", "compared with the broker");
  expect((await engine()).risk().risk.lock).toBeNull();
  await store?.doubt("the hub remembers a later epoch");
  expect(store?.space("engine").risk().risk.lock).toMatchObject({ cause: "restored" });
  expect((await engine()).risk().risk.lock).toMatchObject({ cause: "restored" });
  expect((await store?.audit(1))?.[0]).toMatchObject({
    action: "risk.lock",
    because: "the hub remembers a later epoch",
  });
});

test("GRC-7 a doubt that the disk refused locks all the same, and is kept at the next word of it", async () => {
  let refuses = true;
  const written: string[] = [];
  const database = {
    async submit(job: Job) {
      if (refuses) throw new Fault("STORE_WRITE_FAILED", "the disk is full");
      written.push(...job.build().map(({ key }) => key));
    },
  } as unknown as SealedDatabase;
  const of = { wallMs: () => 1, generation: "g", nodeId: "n1", heir: false, audit: () => [], limits: undefined };
  const spaces = new WorkloadSpaces(database, of);
  expect(await spaces.doubt("behind").catch(code)).toBe("STORE_WRITE_FAILED");
  expect(spaces.of("engine").risk().risk.lock).toMatchObject({ cause: "restored" });
  refuses = false;
  await spaces.doubt("behind");
  await spaces.doubt("behind");
  expect(written).toEqual(["meta/doubt"]);
});

test("PHX-9 looser limits of a config that was rolled back do not hold before a person says so", async () => {
  const riskLimits = (lossStreak: number) => ({ riskLimits: new Map([["engine", { ...noLimits, lossStreak }]]) });
  await engine(riskLimits(2));
  const space = await engine(riskLimits(9));
  expect(space.risk().risk.limits.lossStreak).toBe(2);
  await commit(space, "", trade(-1));
  await commit(space, "", trade(-1));
  expect(space.risk().risk.lock).toMatchObject({ cause: "limit" });
  await space.release("asha", "the new limit is right");
  expect((await engine()).risk().risk.limits.lossStreak).toBe(9);
});

test("a disk that refuses loses what was not answered, and what is repeated later is done once", async () => {
  const space = await engine();
  await commit(space, "r0", trade(-1));
  const { trouble } = store ?? {};
  expect(trouble?.()).toBeUndefined();
  await store?.close();
  store = undefined;
  expect(await commit(space, "r1", trade(-1)).catch(code)).toBe("STORE_WRITE_FAILED");
  expect(space.risk().risk.trades).toBe(1);
  const next = await engine();
  await commit(next, "r0", trade(-1));
  await commit(next, "r1", trade(-1));
  expect(next.risk().risk.trades).toBe(2);
});

test("what a workload kept that was taken out of the config stayed for ever; a person forgets it, and nothing of anybody else", async () => {
  const store = await open();
  const space = store.space("engine");
  const entries = Array.from({ length: 100 }, (_, n) => `entry ${n}`);
  for (let n = 0; n < 21; n++) await commit(space, "", append("steps", ...entries));
  await commit(space, "r1", put("a", "abc"), trade(3));
  await commit(store.space("other"), "", put("a"), append("steps", "one"));
  const before = await seen(store.space("other"));
  const gone = await store.forgetSpace("engine", "asha", "it was renamed");
  expect(gone).toMatchObject({ keys: 1, trades: 1 });
  expect(store.spaces()).toEqual(["other"]);
  expect((await store.audit(1))[0]).toMatchObject({ action: "state.forget", actor: "person:asha" });
  // Whoever held it begins nothing in it; under its name it begins anew.
  await expect(commit(space, "", put("late")).catch(code)).resolves.toBe("NOT_FOUND");
  const again = await open();
  expect([again.spaces(), await seen(again.space("other"))]).toEqual([["other"], before]);
  expect(((await seen(again.space("engine"))) as unknown[]).slice(0, 4)).toEqual([[[], [], 0, 0, 0, 0], [], [], []]);
  expect((await commit(again.space("engine"), "r1", put("a", "abc"), trade(3))).alreadyDone).toBe(false);
  await expect(again.forgetSpace("nobody", "asha", "why").catch(code)).resolves.toBe("NOT_FOUND");
});

test("what a person had forgotten on a disk that answered late could not be used under its name before the next start", async () => {
  await commit(await engine(), "", put("a"));
  await store?.close();
  store = undefined;
  const handle = await reopenHandle(placeOf(join(dir, "store")), {});
  const level = Object.getPrototypeOf(handle) as Pick<typeof handle, "batch" | "put">;
  await handle.close();
  const live = await open();
  const { batch } = level;
  const late = async function (this: typeof handle, ...args: unknown[]) {
    await Reflect.apply(batch, this, args);
    throw new Error("EIO: i/o error, write");
  };
  vi.spyOn(level, "batch").mockImplementationOnce(late as never);
  vi.spyOn(level, "put").mockImplementationOnce((() => Promise.reject(new Error("EIO"))) as never);
  expect(await live.forgetSpace("engine", "asha", "gone").catch(code)).toBe("STORE_WRITE_FAILED");
  for (let n = 0; n < 1000 && live.trouble() !== undefined; n++) await pause(10);
  vi.restoreAllMocks();
  expect(live.spaces()).toEqual([]);
  await commit(live.space("engine"), "", put("b"));
  expect((await open()).spaces()).toEqual(["engine"]);
});

test("GRC-7 a risk lock is never forgotten with what its workload kept: it is opened first, by itself", async () => {
  const store = await open();
  await commit(store.space("engine"), "", put("a"), { is: "lock", because: "enough" });
  await expect(store.forgetSpace("engine", "asha", "gone").catch(code)).resolves.toBe("RISK_LOCKED");
  expect(text((await store.space("engine").get("a"))?.value)).toBe("v");
  await store.space("engine").release("asha", "looked at it");
  expect(await store.forgetSpace("engine", "asha", "gone")).toMatchObject({ keys: 1 });
});
