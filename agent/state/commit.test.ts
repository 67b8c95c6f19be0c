import { Fault } from "@blueflame/shared/errors/fault.ts";
import fc from "fast-check";
import { expect, test } from "vitest";
import { stateMax } from "./bounds.ts";
import { changesAfter } from "./changes.ts";
import { type Context, commit, type Operation, type Request, releaseRisk, riskOf } from "./commit.ts";
import { apply, type Change, Space } from "./space.ts";

const context: Context = {
  workload: "engine",
  wallMs: 1000,
  mark: "g#0",
  doubtful: false,
  markedWallMs: 0,
  declared: undefined,
  through: new Map(),
};
const put = (key: string, text = "v", expected?: number): Operation => ({
  is: "put",
  key,
  value: Buffer.from(text),
  expected,
});
const trade = (profit: number): Operation => ({
  is: "trade",
  trade: {
    id: "t",
    profit,
    exposure: 3,
    openExposure: undefined,
    sessionProfit: undefined,
    data: new Uint8Array(),
  },
});
const request = (id: string, ...operations: Operation[]): Request => ({
  id,
  digest: id && JSON.stringify(operations),
  operations,
  onlyWhileOpen: false,
});
const code = (work: () => unknown) => {
  try {
    work();
    return "no fault";
  } catch (error) {
    return error instanceof Fault ? error.code : String(error);
  }
};
/** What anybody could see of a space. */
const seen = ({ keys, logs, requests, risk, revision, live, bytes, horizon, lastRequest }: Space) =>
  JSON.stringify([
    [...keys].sort(),
    [...logs].sort(),
    [...requests].sort(),
    risk,
    revision,
    live,
    bytes,
    horizon,
    lastRequest,
  ]);

const operations = fc.array(
  fc.oneof(
    fc.tuple(fc.constantFrom("a", "b", "c"), fc.string({ maxLength: 4 })).map(([key, text]) => put(key, text)),
    fc.constantFrom("a", "b", "c").map((key): Operation => ({ is: "delete", key, expected: undefined })),
    fc.constantFrom("l", "m").map((log): Operation => ({ is: "append", log, entries: [Buffer.from("xy")] })),
    fc.integer({ min: -9, max: 9 }).map(trade),
    fc.constant<Operation>({ is: "lock", because: "asked" }),
    fc.integer({ min: 1, max: 5 }).map((n): Operation => ({ is: "beginSession", name: `s${n}` })),
    fc.integer({ min: 0, max: 2 }).map((expected) => put("a", "cas", expected)),
  ),
  { minLength: 1, maxLength: 5 },
);

test("PHX-9 a workload that dies at any point and repeats what was not answered ends as one that never died: no trade twice, none lost", () => {
  const fate = fc.constantFrom("answered", "lost before the write", "lost after the write");
  fc.assert(
    fc.property(fc.array(fc.tuple(operations, fc.array(fate, { maxLength: 3 })), { maxLength: 30 }), (all) => {
      const once = new Space();
      let disk: Change[] = [];
      let space = new Space();
      for (const [at, [ops, fates]] of all.entries()) {
        const asked = request(`r${at}`, ...ops);
        const clean = code(() => commit(once, asked, context));
        for (const end of [...fates, "answered"]) {
          const got = code(() => {
            const made = commit(space, asked, context);
            if (end === "lost before the write") made.undo();
            else disk = [...disk, ...made.changes];
          });
          // A refusal may be another one than before, but nothing that was refused is ever done by a repetition.
          if (clean === "no fault") expect(got).toBe("no fault");
          if (end === "answered") break;
          space = new Space(); // the agent dies, and the next one reads the disk
          for (const change of disk) apply(space, change);
        }
      }
      expect(seen(space)).toBe(seen(once));
    }),
    { numRuns: 200 },
  );
});

test("a commit that is refused in its last operation, or that is lost, leaves nothing behind", () => {
  fc.assert(
    fc.property(fc.array(operations, { maxLength: 12 }), operations, (before, last) => {
      const space = new Space();
      for (const [at, ops] of before.entries()) code(() => commit(space, request(`r${at}`, ...ops), context));
      const was = seen(space);
      expect(code(() => commit(space, request("x", ...last, put("a", "z", 10_000)), context))).not.toBe("no fault");
      expect(seen(space)).toBe(was);
      code(() => commit(space, request("y", ...last), context).undo());
      expect(seen(space)).toBe(was);
    }),
    { numRuns: 200 },
  );
});

test("the same request id for something else is a mistake, and the 1,001st request forgets the first", () => {
  const space = new Space();
  commit(space, request("r0", put("a")), context);
  expect(code(() => commit(space, request("r0", put("b")), context))).toBe("BAD_REQUEST");
  for (let at = 1; at <= stateMax.requests; at++) commit(space, request(`r${at}`, put("a")), context);
  expect(commit(space, request("r1", put("a")), context).answer.alreadyDone).toBe(true);
  expect(commit(space, request("r0", put("a")), context).answer.alreadyDone).toBe(false);
  expect(space.requests.size).toBe(stateMax.requests);
});

test("a workload with a commit a second kept 10,000 requests in memory for ever, and the agent of a hundred such needed a gigabyte at its start", () => {
  const space = new Space();
  const ids = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, at) => `r${from + at}`);
  const at = (wallMs: number, from: number, to: number) => {
    for (const id of ids(from, to)) commit(space, request(id, put("a")), { ...context, wallMs });
  };
  at(0, 1, 3000);
  expect(space.requests.size).toBe(3000);
  at(stateMax.requestsForMs + 1, 3001, 4000);
  expect([...space.requests.keys()].sort()).toEqual(ids(3001, 4000).sort());
  // What is lost on its way to the disk brings back exactly what it had forgotten.
  const before = seen(space);
  commit(space, request("x", put("a")), { ...context, wallMs: 1e9 }).undo();
  expect([seen(space), space.firstRequest]).toEqual([before, 3001]);
  // Those of an earlier version have no time: they count as old.
  const earlier = new Space();
  for (const number of [7, 8, 10]) {
    apply(earlier, { is: "request", number, done: { id: `e${number}`, digest: "", revision: 1, results: [] } });
  }
  for (const id of ids(1, 999)) commit(earlier, request(id, put("a")), context);
  expect([...earlier.requests.keys()].filter((id) => id.startsWith("e"))).toEqual(["e10"]);
});

test("PHX-9 at each bound a write is refused by its code, and everything that was kept is kept", () => {
  const space = new Space();
  for (let at = 0; at < stateMax.keys; at++) commit(space, request("", put(`k${at}`)), context);
  expect(code(() => commit(space, request("", put("one more")), context))).toBe("LIMIT_REACHED");
  commit(space, request("", { is: "delete", key: "k0", expected: undefined }, put("one more")), context);
  for (let at = 0; at < stateMax.logs; at++) {
    commit(space, request("", { is: "append", log: `l${at}`, entries: [Buffer.from("e")] }), context);
  }
  const log = { is: "append", log: "another", entries: [Buffer.from("e")] } as const;
  expect(code(() => commit(space, request("", log), context))).toBe("LIMIT_REACHED");
  const big = Buffer.alloc(stateMax.valueBytes);
  const fill = () => commit(space, request("", { is: "put", key: "k1", value: big, expected: undefined }), context);
  fill();
  expect(code(() => commit(space, request("", put("")), context))).toBe("BAD_REQUEST");
  const huge = { is: "put", key: "k1", value: Buffer.alloc(stateMax.valueBytes + 1), expected: undefined } as const;
  expect(code(() => commit(space, request("", huge), context))).toBe("BAD_REQUEST");
  let at = 2;
  while (space.bytes + big.length <= stateMax.bytes) {
    commit(space, request("", { is: "put", key: `k${at++}`, value: big, expected: undefined }), context);
  }
  const over = { is: "put", key: `k${at}`, value: big, expected: undefined } as const;
  expect(code(() => commit(space, request("", over), context))).toBe("LIMIT_REACHED");
  // Replacing by what is not longer is always possible, and so is making room.
  fill();
  commit(space, request("", { is: "delete", key: "k1", expected: undefined }, over), context);
  expect(space.live).toBe(stateMax.keys - 1);
});

test("a key that was deleted and put again, also after it was forgotten, never has a revision that somebody read before", () => {
  const space = new Space();
  for (let at = 0; at < 5; at++) commit(space, request("", put("a")), context);
  commit(space, request("", { is: "delete", key: "a", expected: 5 }), context);
  expect(code(() => commit(space, request("", put("a", "v", 5)), context))).toBe("STATE_CONFLICT");
  for (let at = 0; at <= stateMax.deleted; at++) {
    commit(space, request("", put(`d${at}`), { is: "delete", key: `d${at}`, expected: undefined }), context);
  }
  expect(space.keys.has("a")).toBe(false);
  expect(commit(space, request("", put("a", "v", 0)), context).answer.results[0]?.revision).toBe(6);
});

test("PHX-9 state of another store than the one that a person has seen is locked, until a person releases it there", () => {
  const space = new Space();
  commit(space, request("", trade(-1)), context);
  expect(riskOf(space, context).risk.lock).toBeNull();
  const restored = { ...context, mark: "other#0", doubtful: true, markedWallMs: 5 };
  expect(riskOf(space, restored).risk.lock).toMatchObject({ cause: "restored", sinceWallMs: 5 });
  expect(riskOf(new Space(), restored).risk.lock).toMatchObject({ cause: "restored" });
  const order = { ...request("", trade(5)), onlyWhileOpen: true };
  expect(code(() => commit(space, order, restored))).toBe("RISK_LOCKED");
  // A trade that has happened is booked all the same, and the lock is on the disk from then on.
  commit(space, request("", trade(5)), restored);
  expect(space.risk?.risk.lock).toMatchObject({ cause: "restored" });
  expect(releaseRisk(space, restored)).toMatchObject({ opened: [{ cause: "restored" }] });
  expect(riskOf(space, restored).risk.lock).toBeNull();
  expect(riskOf(space, { ...restored, mark: "other#1" }).risk.lock).toMatchObject({ cause: "restored" });
});

test("a release opens no more than the person has seen: a doubt that has come behind the lock is named first", () => {
  const space = new Space();
  commit(space, request("", { is: "lock", because: "the feed is wrong" }), context);
  const restored = { ...context, mark: "other#0", doubtful: true, markedWallMs: 5 };
  const refused = () => releaseRisk(space, restored, 1);
  expect(refused).toThrow(/CONDITION_FALSE.*the feed is wrong; and the state came from a backup/);
  expect(riskOf(space, restored).risk.lock).toMatchObject({ because: "the feed is wrong" });
  // Also after it was written down under the new mark.
  commit(space, request("", put("a")), restored);
  expect(space.risk).toMatchObject({ mark: "other#0", risk: { also: [{ cause: "restored", sinceWallMs: 5 }] } });
  expect(releaseRisk(space, restored, 2).opened.map(({ cause }) => cause)).toEqual(["workload", "restored"]);
  expect(riskOf(space, restored).risk).toMatchObject({ lock: null });
});

test("an order that is committed only while open is refused in a closed session, and taken in the one that it begins", () => {
  const space = new Space();
  commit(space, request("", { is: "beginSession", name: "d1" }, { is: "closeSession", because: "enough" }), context);
  const order = (...operations: Operation[]) => ({ ...request("", ...operations), onlyWhileOpen: true });
  expect(code(() => commit(space, order(trade(1)), context))).toBe("RISK_LOCKED");
  expect(code(() => commit(space, order({ is: "beginSession", name: "d1" }), context))).toBe("RISK_LOCKED");
  expect(code(() => commit(space, order({ is: "beginSession", name: "d2" }, trade(1)), context))).toBe("no fault");
});

test("whoever watched up to any revision is told all that changed since, each thing as it is now, or that it must list again", () => {
  fc.assert(
    fc.property(fc.array(operations, { maxLength: 25 }), fc.nat(30), (all, from) => {
      const space = new Space();
      const told = new Map<string, string>();
      const look = (after: number) => {
        const tale = changesAfter(space, riskOf(space, context), after, "");
        for (const one of tale?.told ?? []) told.set(one.is === "key" ? one.key : one.is, JSON.stringify(one));
        return tale;
      };
      for (const [at, ops] of all.entries()) {
        code(() => commit(space, request("", ...ops), context));
        if (at === from) look(0);
      }
      const after = all.length > from ? (look(0)?.through ?? 0) : 0;
      expect(look(after)?.told ?? []).toEqual(after === 0 ? expect.anything() : []);
      expect(look(space.revision + 1)).toBeUndefined();
      for (const [key, meta] of space.keys) {
        if (meta.deleted) continue;
        expect(told.get(key)).toContain(`"revision":${meta.revision},`);
      }
    }),
    { numRuns: 100 },
  );
});

test("what workloads keep that are gone could fill the disk; keys and logs are refused then, and what happened is booked", () => {
  const full = { ...context, others: { bytes: stateMax.allBytes - 3, spaces: 4 } };
  const space = new Space();
  expect(code(() => commit(space, request("", put("key", "abc")), full))).toBe("no fault");
  expect(code(() => commit(space, request("", put("more")), full))).toBe("LIMIT_REACHED");
  expect(code(() => commit(space, request("", { is: "lock", because: "enough" }, trade(-1)), full))).toBe("no fault");
  const many = { ...context, others: { bytes: 0, spaces: stateMax.spaces } };
  expect(code(() => commit(new Space(), request("", put("key")), many))).toBe("LIMIT_REACHED");
  expect(code(() => commit(new Space(), request("", trade(-1)), many))).toBe("no fault");
});
