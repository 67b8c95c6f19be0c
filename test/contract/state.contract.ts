import { isFault } from "@blueflame/shared/errors/fault.ts";
import { Compacted, type Entry, type Rev, type State } from "@blueflame/shared/store/state.ts";
import { expect, test } from "vitest";

/** A State under test. `history` is how many commits it holds for watchers. */
export interface OpenedState {
  /** Two clients of one store; the same one twice where an engine lives in one process. */
  readonly state: State;
  readonly other: State;
  /** Closes the store and opens it again. */
  readonly reopen: () => Promise<State>;
  readonly close: () => Promise<void>;
}
export type OpenState = (history: number) => Promise<OpenedState>;

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (entry: Entry | null) => (entry ? Buffer.from(entry.value).toString() : null);
const codeOf = (error: unknown) => (isFault(error) ? error.code : error);
const never = new AbortController().signal;

/** What every implementation of State promises; `durable` is false where nothing outlives the process. */
export function stateContract(name: string, open: OpenState, durable = true): void {
  const given = (title: string, check: (opened: OpenedState) => Promise<void>, history = 10_000) =>
    test(`${name}: ${title}`, async () => {
      const opened = await open(history);
      try {
        await check(opened);
      } finally {
        await opened.close();
      }
    });

  given("of many that create a key at once exactly one succeeds", async ({ state, other }) => {
    const tries = Array.from({ length: 20 }, (_, at) =>
      (at % 2 ? state : other).commit([{ key: "own/n1", rev: 0n }], [{ put: "own/n1", value: bytes(`hub${at}`) }]),
    );
    const revs = (await Promise.all(tries)).map((rev, at) => ({ rev, at })).filter(({ rev }) => rev !== null);
    expect(revs).toHaveLength(1);
    expect(text(await other.get("own/n1"))).toBe(`hub${revs[0]?.at}`);
  });

  given(
    "of many that update a key at once none undoes another: each sees what it replaces",
    async ({ state, other }) => {
      await state.commit([], [{ put: "count", value: bytes("0") }]);
      const add = async (client: State): Promise<void> => {
        for (;;) {
          const seen = await client.get("count");
          const next = bytes(String(Number(text(seen)) + 1));
          if (await client.commit([{ key: "count", rev: seen?.rev ?? 0n }], [{ put: "count", value: next }])) return;
        }
      };
      await Promise.all(Array.from({ length: 20 }, (_, at) => add(at % 2 ? state : other)));
      expect(text(await state.get("count"))).toBe("20");
    },
  );

  given("a key is deleted only at the revision that was read, and once", async ({ state, other }) => {
    const first = await state.commit([], [{ put: "order/1", value: bytes("a") }]);
    const second = await other.commit([], [{ put: "order/1", value: bytes("b") }]);
    expect(await state.commit([{ key: "order/1", rev: first ?? 0n }], [{ del: "order/1" }])).toBeNull();
    const deletes = [state, other].map((client) =>
      client.commit([{ key: "order/1", rev: second ?? 0n }], [{ del: "order/1" }]),
    );
    expect((await Promise.all(deletes)).filter((rev) => rev !== null)).toHaveLength(1);
    expect(await state.get("order/1")).toBeNull();
  });

  given("a commit over many keys happens whole or not at all", async ({ state }) => {
    await state.commit([], [{ put: "a", value: bytes("old") }]);
    const puts = ["a", "b", "c"].map((put) => ({ put, value: bytes("new") }));
    expect(await state.commit([{ key: "c", rev: 5n }], [...puts, { del: "x" }])).toBeNull();
    expect((await state.list("")).entries.map(text)).toEqual(["old"]);
    const rev = await state.commit([{ key: "c", rev: 0n }], puts);
    const { entries } = await state.list("");
    expect(entries.map((entry) => [entry.key, text(entry), entry.rev])).toEqual(
      ["a", "b", "c"].map((key) => [key, "new", rev]),
    );
  });

  given("each commit has a revision of its own, greater than those before", async ({ state, other }) => {
    const tries = Array.from({ length: 30 }, (_, at) =>
      (at % 2 ? state : other).commit([], [{ put: `k${at}`, value: bytes("v") }]),
    );
    const revs = await Promise.all(tries);
    expect(new Set(revs).size).toBe(30);
    const failed = await state.commit([{ key: "k0", rev: 0n }], [{ del: "k1" }]);
    const next = await state.commit([], [{ del: "k1" }]);
    expect(failed).toBeNull();
    expect(next).toBeGreaterThan(revs.reduce<Rev>((most, rev) => (rev !== null && rev > most ? rev : most), 0n));
    expect((await state.list("")).rev).toBe(next);
  });

  given("conditions without operations say whether they hold, and change nothing", async ({ state }) => {
    const rev = await state.commit([], [{ put: "a", value: bytes("1") }]);
    expect(await state.commit([{ key: "a", rev: rev ?? 0n }], [])).toBe(rev);
    expect(await state.commit([{ key: "a", rev: 0n }], [])).toBeNull();
    expect((await state.list("")).rev).toBe(rev);
  });

  given("a list holds exactly the prefix, in the order of bytes", async ({ state }) => {
    const keys = ["own/\u{1F600}", "own/\uFFFD", "own/b", "own/B", "own/a/1", "own/a", "own.", "own0", "owner"];
    for (const put of keys) await state.commit([], [{ put, value: bytes(put) }]);
    const expected = keys.filter((key) => key.startsWith("own/")).sort((a, b) => Buffer.compare(bytes(a), bytes(b)));
    expect((await state.list("own/")).entries.map((entry) => entry.key)).toEqual(expected);
  });

  given("what was acknowledged is read through another client", async ({ state, other }) => {
    for (let at = 0; at < 20; at++) {
      await state.commit([], [{ put: "k", value: bytes(String(at)) }]);
      expect(text(await other.get("k"))).toBe(String(at));
    }
  });

  given("a value is the store's own: changing the bytes afterwards changes nothing", async ({ state }) => {
    const value = bytes("kept");
    const done = state.commit([], [{ put: "k", value }]);
    value.fill(0);
    await done;
    value.fill(1);
    expect(text(await state.get("k"))).toBe("kept");
  });

  given("list, then watch from its revision: no gap, no duplicate, no commit in parts", async ({ state, other }) => {
    const commits = 200;
    const write = (async () => {
      for (let at = 1; at <= commits; at++) {
        const value = bytes(String(at));
        await other.commit(
          [],
          [
            { put: "w/a", value },
            { put: "w/b", value },
            { put: "elsewhere", value },
          ],
        );
      }
    })();
    while ((await state.list("w/")).entries.length === 0) await new Promise((resolve) => setImmediate(resolve));
    const { rev, entries } = await state.list("w/");
    const seen = [Number(text(entries[0] ?? null))];
    expect(entries.map(text)).toEqual([String(seen[0]), String(seen[0])]);
    const stop = new AbortController();
    let last = rev;
    for await (const event of state.watch("w/", rev, stop.signal)) {
      expect(event.rev).toBeGreaterThan(last);
      last = event.rev;
      expect(event.changes.map((change) => change.key).sort()).toEqual(["w/a", "w/b"]);
      const values = event.changes.map((change) => ("value" in change ? text(change) : "deleted"));
      expect(values[0]).toBe(values[1]);
      seen.push(Number(values[0]));
      if (seen.at(-1) === commits) stop.abort();
    }
    await write;
    expect(seen).toEqual(Array.from({ length: seen.length }, (_, at) => commits - seen.length + 1 + at));
  });

  given("a watch sees deletes, waits for what is not there yet, and ends when it is stopped", async ({ state }) => {
    const rev = (await state.commit([], [{ put: "w/a", value: bytes("1") }])) ?? 0n;
    const stop = new AbortController();
    const events = state.watch("w/", rev, stop.signal)[Symbol.asyncIterator]();
    const waits = events.next();
    const deleted = await state.commit([], [{ del: "w/a" }]);
    expect(await waits).toEqual({ done: false, value: { rev: deleted, changes: [{ key: "w/a", deleted: true }] } });
    const end = events.next();
    stop.abort();
    expect((await end).done).toBe(true);
  });

  given(
    "a watch from before what is held throws Compacted, and a new list leads on",
    async ({ state }) => {
      const first = (await state.commit([], [{ put: "w/a", value: bytes("0") }])) ?? 0n;
      for (let at = 1; at <= 50; at++) await state.commit([], [{ put: "w/a", value: bytes(String(at)) }]);
      const late = state.watch("w/", first, never)[Symbol.asyncIterator]();
      await expect(late.next()).rejects.toBeInstanceOf(Compacted);
      const { rev, entries } = await state.list("w/");
      expect(entries.map(text)).toEqual(["50"]);
      const stop = new AbortController();
      const next = state.watch("w/", rev, stop.signal)[Symbol.asyncIterator]().next();
      await state.commit([], [{ put: "w/a", value: bytes("51") }]);
      expect((await next).value?.changes.map((change: Entry) => text(change))).toEqual(["51"]);
      stop.abort();
    },
    10,
  );

  given("the end of a lease deletes what was written with it, and its holder knows first", async ({ state, other }) => {
    const lease = await state.lease(2000);
    const rev =
      (await state.commit(
        [],
        [
          { put: "hub/1", value: bytes("here"), lease },
          { put: "kept", value: bytes("k") },
        ],
      )) ?? 0n;
    const order: string[] = [];
    lease.lost.addEventListener("abort", () => order.push("lost"));
    const stop = new AbortController();
    const seen = (async () => {
      for await (const event of other.watch("hub/", rev, stop.signal)) {
        order.push("deleted");
        return event.changes;
      }
      return [];
    })();
    await lease.release();
    expect(await seen).toEqual([{ key: "hub/1", deleted: true }]);
    expect(order).toEqual(["lost", "deleted"]);
    expect((await other.list("")).entries.map((entry) => entry.key)).toEqual(["kept"]);
    stop.abort();
  });

  given("a holder whose lease is lost writes nothing with it", async ({ state }) => {
    const lease = await state.lease(2000);
    await lease.release();
    expect(await state.commit([], [{ put: "hub/1", value: bytes("late"), lease }])).toBeNull();
    expect(await state.get("hub/1")).toBeNull();
  });

  given("a key that was written again without the lease outlives it", async ({ state }) => {
    const lease = await state.lease(2000);
    await state.commit([], [{ put: "own/1", value: bytes("leased"), lease }]);
    await state.commit([], [{ put: "own/1", value: bytes("for good") }]);
    await lease.release();
    expect(text(await state.get("own/1"))).toBe("for good");
  });

  given("what no engine can take is refused before anything is written", async ({ state }) => {
    const value = bytes("v");
    const refused = [
      () =>
        state.commit(
          [],
          Array.from({ length: 129 }, (_, at) => ({ put: `k${at}`, value })),
        ),
      () => state.commit([], [{ put: "k", value: new Uint8Array(1024 * 1024 + 1) }]),
      () => state.commit([], [{ put: "k".repeat(513), value }]),
      () => state.commit([], [{ put: "", value }]),
      () => state.commit([], [{ put: "k", value }, { del: "k" }]),
      () => state.lease(1999),
    ];
    for (const attempt of refused) {
      const outcome = await Promise.resolve().then<unknown>(attempt).catch(codeOf);
      expect(outcome).toBe("BAD_REQUEST");
    }
    expect((await state.list("")).entries).toEqual([]);
  });

  given("closing ends watches and loses leases", async ({ state }) => {
    const lease = await state.lease(2000);
    const watch = state
      .watch("", (await state.list("")).rev, never)
      [Symbol.asyncIterator]()
      .next();
    await state.close();
    expect(lease.lost.aborted).toBe(true);
    expect((await watch).done).toBe(true);
  });

  if (!durable) return;
  given("keys, values and revisions outlive a restart; what was leased does not", async ({ state, reopen }) => {
    const lease = await state.lease(2000);
    await state.commit([], [{ put: "hub/1", value: bytes("here"), lease }]);
    await state.commit([], [{ put: "a", value: bytes("1") }]);
    const rev = await state.commit([], [{ put: "b", value: bytes("2") }, { del: "a" }]);
    const again = await reopen();
    expect((await again.list("")).entries.map((entry) => [entry.key, text(entry), entry.rev])).toEqual([
      ["b", "2", rev],
    ]);
    expect(await again.commit([{ key: "b", rev: rev ?? 0n }], [{ del: "b" }])).toBeGreaterThan(rev ?? 0n);
    await expect(again.watch("", 1n, never)[Symbol.asyncIterator]().next()).rejects.toBeInstanceOf(Compacted);
  });
}
