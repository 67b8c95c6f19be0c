import fc from "fast-check";
import { expect, test } from "vitest";
import { emptyPools, enter, leave, type PoolState, rest, resume, waitingMax } from "./pools.ts";

const bounds = { recovery: 2, starts: 1 };
const on = (id: string, pool = "recovery", subject = `workload/${id}`) => ({ id, pool, subject });

/** Enters all; says what became of each. */
function all(requests: readonly ReturnType<typeof on>[]) {
  let state: PoolState = emptyPools;
  const entries = requests.map((request) => {
    const entered = enter(state, request, bounds);
    state = entered.state;
    return entered.entry.is;
  });
  return { state, entries };
}

test("DOL-6 a pool holds its bound, what comes beyond waits in its turn, and beyond the queue it is refused", () => {
  const many = Array.from({ length: 60 }, (_, n) => on(`w${n}`));
  const { state, entries } = all(many);
  expect(entries.filter((is) => is === "runs")).toHaveLength(2);
  expect(entries.filter((is) => is === "waits")).toHaveLength(waitingMax);
  expect(entries.filter((is) => is === "refused")).toHaveLength(60 - 2 - waitingMax);
  const left = leave(state, "w0", bounds);
  expect(left.begins.map(({ id }) => id)).toEqual(["w2"]);
  const refused = enter(state, on("late"), bounds).entry;
  expect(refused).toMatchObject({ is: "refused", because: "the pool recovery holds 2 and 16 wait: no more is taken" });
});

test("DOL-6 one subject has one run, whoever asks: the sixty workers of one outage are one", () => {
  const sixty = Array.from({ length: 60 }, (_, n) => on(`run-${n}`, "recovery", "deployment/worker"));
  const { entries, state } = all(sixty);
  expect(entries.filter((is) => is !== "refused")).toEqual(["runs"]);
  expect(leave(state, "run-0", bounds).state.running).toEqual([]);
});

test("asked again with the same id it is the same request", () => {
  const { state, entries } = all([on("a"), on("a"), on("b"), on("c"), on("c")]);
  expect(entries).toEqual(["runs", "runs", "runs", "waits", "waits"]);
  expect(state.running).toHaveLength(2);
  expect(state.waiting).toHaveLength(1);
});

test("pools do not wait for each other, and what belongs to none waits for nobody", () => {
  const { entries } = all([
    on("a"),
    on("b"),
    on("c", "starts"),
    on("d", "starts"),
    on("e", ""),
    on("f", "unknown"),
    on("g", "unknown"),
  ]);
  expect(entries).toEqual(["runs", "runs", "runs", "waits", "runs", "runs", "waits"]);
});

test("what waits can leave its queue", () => {
  const { state } = all([on("a"), on("b"), on("c")]);
  const left = leave(state, "c", bounds);
  expect(left.begins).toEqual([]);
  expect(left.state.waiting).toEqual([]);
  expect(leave(left.state, "nobody", bounds).state).toEqual(left.state);
});

test("DOL-6 GRC-11 who lets time pass gives its place to the next, stays the one run of its subject, and goes on before who has not begun", () => {
  const { state } = all([on("a"), on("b"), on("c"), on("d")]);
  const rests = rest(state, "a", bounds);
  expect(rests.begins.map(({ id }) => id)).toEqual(["c"]);
  expect(enter(rests.state, on("a2", "recovery", "workload/a"), bounds).entry.is).toBe("refused");
  const back = resume(rests.state, "a", bounds);
  expect(back.runs).toBe(false);
  const left = leave(back.state, "b", bounds);
  expect(left.begins.map(({ id }) => id)).toEqual(["a"]);
  expect(left.state.waiting.map(({ id }) => id)).toEqual(["d"]);
  expect(resume(left.state, "a", bounds)).toEqual({ state: left.state, runs: true });
  expect(rest(left.state, "d", bounds)).toEqual({ state: left.state, begins: [] });
  const alone = rest(all([on("a")]).state, "a", bounds);
  expect(resume(alone.state, "a", bounds).runs).toBe(true);
  expect(leave(alone.state, "a", bounds).state).toEqual(emptyPools);
});

test("DOL-6 no order of asking and leaving ever puts more into a pool than it holds, or forgets who waits", () => {
  const move = fc.record({
    does: fc.constantFrom("enter", "enter", "leave", "rest", "resume"),
    id: fc.integer({ min: 0, max: 30 }).map(String),
    pool: fc.constantFrom("recovery", "starts", ""),
    subject: fc.integer({ min: 0, max: 20 }).map(String),
  });
  fc.assert(
    fc.property(fc.array(move, { maxLength: 200 }), (moves) => {
      let state: PoolState = emptyPools;
      for (const { does, id, pool, subject } of moves) {
        if (does === "enter") state = enter(state, { id, pool, subject }, bounds).state;
        else state = { leave, rest, resume }[does](state, id, bounds).state;
        for (const [name, max] of Object.entries(bounds)) {
          const runs = state.running.filter((one) => one.pool === name).length;
          expect(runs).toBeLessThanOrEqual(max);
          // Nobody waits before an open door.
          if (state.waiting.some((one) => one.pool === name)) expect(runs).toBe(max);
        }
        const subjects = [...state.running, ...state.resting, ...state.waiting].map((one) => one.subject);
        expect(new Set(subjects).size).toBe(subjects.length);
      }
    }),
    { numRuns: 300 },
  );
});
