import { isFault } from "@blueflame/shared/errors/fault.ts";
import type { Item, Log } from "@blueflame/shared/store/log.ts";
import { expect, test } from "vitest";

/** A Log under test. */
export interface OpenedLog {
  readonly log: Log;
  /** Closes the store and opens it again. */
  readonly reopen: () => Promise<Log>;
  readonly close: () => Promise<void>;
}

const item = (at: number, id: string, data = id): Item => ({ id, at, data: new TextEncoder().encode(data) });
const ids = (items: readonly Item[]) => items.map(({ id }) => id);

/** What every implementation of Log promises; `durable` is false where nothing outlives the process. */
export function logContract(name: string, open: () => Promise<OpenedLog>, durable = true): void {
  const given = (title: string, check: (opened: OpenedLog) => Promise<void>) =>
    test(`${name}: ${title}`, async () => {
      const opened = await open();
      try {
        await check(opened);
      } finally {
        await opened.close();
      }
    });

  given("items come back whole, by time and then by id, however they arrived", async ({ log }) => {
    await log.append("audit/n1", [item(30, "c"), item(10, "b"), item(10, "a")]);
    await log.append("audit/n1", [item(20, "z", "the data")]);
    const found = await log.range("audit/n1", { limit: 10 });
    expect(ids(found)).toEqual(["a", "b", "z", "c"]);
    expect(found[2]).toMatchObject({ id: "z", at: 20 });
    expect(Buffer.from(found[2]?.data ?? []).toString()).toBe("the data");
    expect(ids(await log.range("audit/n1", { limit: 10, reverse: true }))).toEqual(["c", "z", "b", "a"]);
  });

  given("streams do not see each other, even where one name begins with the other", async ({ log }) => {
    await log.append("s", [item(1, "a")]);
    await log.append("s1", [item(1, "a", "other")]);
    await log.append("s/", [item(1, "a")]);
    await log.trim("s", 100);
    expect(ids(await log.range("s", { limit: 10 }))).toEqual([]);
    expect(ids(await log.range("s1", { limit: 10 }))).toEqual(["a"]);
    expect(ids(await log.range("s/", { limit: 10 }))).toEqual(["a"]);
    expect(await log.range("nobody", { limit: 10 })).toEqual([]);
  });

  given("appending an id again is harmless: the first one stays, whatever the second says", async ({ log }) => {
    await log.append("s", [item(1, "a", "first"), item(1, "a", "twin")]);
    await log.append("s", [item(1, "a", "second"), item(2, "b")]);
    await log.append("s", [item(9, "a", "at another time")]);
    const found = await log.range("s", { limit: 10 });
    expect(found.map(({ at, id }) => [at, id])).toEqual([
      [1, "a"],
      [2, "b"],
    ]);
    expect(Buffer.from(found[0]?.data ?? []).toString()).toBe("first");
  });

  given("the same id appended by many at once is there once", async ({ log }) => {
    await Promise.all(Array.from({ length: 20 }, (_, at) => log.append("s", [item(at, "same"), item(at, `own${at}`)])));
    const found = await log.range("s", { limit: 100 });
    expect(found.filter(({ id }) => id === "same")).toHaveLength(1);
    expect(found).toHaveLength(21);
  });

  given("a range keeps its bounds: from is in, to is out, limit is the most", async ({ log }) => {
    await log.append(
      "s",
      [1, 2, 3, 4, 5].map((at) => item(at, `i${at}`)),
    );
    expect(ids(await log.range("s", { from: 2, to: 4, limit: 10 }))).toEqual(["i2", "i3"]);
    expect(ids(await log.range("s", { from: 2, limit: 2 }))).toEqual(["i2", "i3"]);
    expect(ids(await log.range("s", { from: 2, to: 5, limit: 2, reverse: true }))).toEqual(["i4", "i3"]);
    expect(ids(await log.range("s", { from: 4, to: 2, limit: 10 }))).toEqual([]);
  });

  given("pages of any size together are the whole, both ways", async ({ log }) => {
    const all = Array.from({ length: 25 }, (_, at) => item(Math.floor(at / 4), `i${String(at).padStart(2, "0")}`));
    await log.append("s", all);
    for (const reverse of [false, true]) {
      const seen: string[] = [];
      for (let after: string | undefined; ; after = seen.at(-1)) {
        const page = await log.range("s", { limit: 7, reverse, from: 1, ...(after === undefined ? {} : { after }) });
        if (page.length === 0) break;
        seen.push(...ids(page));
      }
      const expected = ids(all.filter(({ at }) => at >= 1));
      expect(seen).toEqual(reverse ? expected.reverse() : expected);
    }
  });

  given("paging goes on when the item it stopped at was trimmed", async ({ log }) => {
    await log.append(
      "s",
      [1, 2, 3, 4].map((at) => item(at, `i${at}`)),
    );
    await log.trim("s", 3);
    expect(ids(await log.range("s", { limit: 10, after: "i1" }))).toEqual(["i3", "i4"]);
    expect(ids(await log.range("s", { limit: 10, after: "i2", reverse: true }))).toEqual([]);
  });

  given("trimming forgets what is older and nothing else", async ({ log }) => {
    await log.append(
      "s",
      Array.from({ length: 2500 }, (_, at) => item(at, `i${at}`)),
    );
    await log.trim("s", 2400);
    const found = await log.range("s", { limit: 5000 });
    expect(found).toHaveLength(100);
    expect(found[0]?.at).toBe(2400);
    await log.trim("s", 0);
    expect(await log.range("s", { limit: 5000 })).toHaveLength(100);
  });

  given("what no engine can take is refused, and nothing of its append is kept", async ({ log }) => {
    const refused = [
      () => log.append("", [item(1, "a")]),
      () => log.append("a\0b", [item(1, "a")]),
      () => log.append("s".repeat(201), [item(1, "a")]),
      () => log.append("s", [item(1, "fine"), item(1, "")]),
      () => log.append("s", [item(1, "fine"), item(-1, "early")]),
      () => log.append("s", [item(1, "fine"), { id: "big", at: 1, data: new Uint8Array(1024 * 1024 + 1) }]),
      () => log.range("s", { limit: 0 }),
    ];
    for (const attempt of refused) {
      const outcome = await Promise.resolve()
        .then<unknown>(attempt)
        .catch((error) => isFault(error, "BAD_REQUEST"));
      expect(outcome).toBe(true);
    }
    expect(await log.range("s", { limit: 10 })).toEqual([]);
  });

  if (!durable) return;
  given("items and what makes them idempotent outlive a restart", async ({ log, reopen }) => {
    await log.append("s", [item(1, "a", "first"), item(2, "b")]);
    const again = await reopen();
    await again.append("s", [item(7, "a", "again"), item(3, "c")]);
    expect((await again.range("s", { limit: 10 })).map(({ at, id }) => [at, id])).toEqual([
      [1, "a"],
      [2, "b"],
      [3, "c"],
    ]);
  });
}
