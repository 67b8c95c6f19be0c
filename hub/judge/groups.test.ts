import { expect, test } from "vitest";
import { join, judged, newMemory, pass, row, settle } from "../../test/support/judged.ts";
import { levelOf } from "../escalation/state.ts";
import { replay } from "./replay.ts";
import { restore } from "./restore.ts";

test("a mass silence of ten thousand nodes, whose decision no log can take, does not end the hub", async () => {
  const { judge, clock, store, did } = await judged();
  const long = "x".repeat(50);
  for (let n = 0; n < 10_000; n++) {
    const entry = judge.add(row(`edge-${n}-${long}`), undefined);
    judge.groups.join(entry, undefined);
    judge.beat(entry, "healthy");
  }
  await pass(judge, clock, 20);
  expect(did).toEqual(["tell mass_silence "]);
  const [decision] = (await store.decisions({ limit: 500 })).filter(({ machine }) => machine === "hub/mass");
  expect(decision?.because).toMatch(/10000 of 10000 nodes .* larger than any record may be: left out/);
  expect(decision && replay(decision).same).toBe(false);
});

test("nodes that a mass silence froze, and that come back under another site, are judged again once it is over", async () => {
  const { judge, clock, store } = await judged();
  const old = [];
  for (let n = 0; n < 4; n++) old.push(await join(judge, store, `edge-${n}`, "old"));
  await join(judge, store, "other", "elsewhere");
  await pass(judge, clock, 20);
  expect(judge.groups.frozen()).toContain("all");
  // The site was renamed, and everybody belongs to it now.
  for (const entry of judge.entries.values()) {
    const left = entry.row.site;
    entry.row = { ...entry.row, site: "new" };
    judge.groups.join(entry, left);
    judge.step(entry, { is: "sessionOpened", incarnation: 1 });
  }
  for (let second = 0; second < 60; second++) {
    for (const entry of judge.entries.values()) judge.beat(entry, "healthy");
    await pass(judge, clock, 1);
  }
  expect(judge.groups.frozen()).toEqual([]);
  expect([...judge.entries.values()].map(({ state }) => state.frozenBy)).toEqual(Array(5).fill([]));
  const [first] = old;
  for (let second = 0; second < 65; second++) {
    for (const entry of judge.entries.values()) if (entry !== first) judge.beat(entry, "healthy");
    await pass(judge, clock, 1);
  }
  expect(first && levelOf(first.state)).toBe("RED");
});

test.each([
  ["the nodes were written and the freeze was not", "fleet", "RED"],
  ["the freeze was written and the nodes were not", "states", "YELLOW"],
] as const)(
  "a hub that died in the middle of a freeze (%s) leaves no node that nobody judges",
  async (_, lost, level) => {
    const memory = newMemory();
    let dying = false;
    const first: Awaited<ReturnType<typeof judged>> = await judged(
      { save: (step) => first.store.save(dying ? { ...step, [lost]: new Map() } : step) },
      memory,
    );
    for (let n = 0; n < 4; n++) await join(first.judge, first.store, `edge-${n}`);
    await settle(first.judge);
    dying = true;
    await pass(first.judge, first.clock, 19);
    expect(first.judge.groups.frozen()).toEqual(["site/here"]);
    const second = await judged({}, memory);
    await restore(second.judge, second.store);
    const frozen = [...second.judge.entries.values()].filter(({ state }) => state.frozenBy.length > 0);
    expect(frozen).toHaveLength(second.judge.groups.frozen().length === 0 ? 0 : 4);
    const [lonely, ...others] = second.judge.entries.values();
    for (let at = 0; at < 70; at++) {
      if (lost === "fleet") for (const entry of others) second.judge.beat(entry, "healthy");
      await pass(second.judge, second.clock, 1);
    }
    expect(lonely && levelOf(lonely.state)).toBe(level);
  },
);
