import { describe, expect, test } from "vitest";
import { judge } from "./judge.ts";
import { type Memory, nothing, wantsOutput, wantsWait } from "./memory.ts";
import { attribute } from "./owners.ts";
import { defaultPolicy, type Finding, type Policy, type RawProcess, type WorkloadView } from "./sight.ts";

const policy: Policy = { reportOnly: false, cpu: 0.9, stuckAfterMs: 60_000, ...defaultPolicy };
const everyMs = 5000;
const selfPid = 50;
const mebi = 2 ** 20 / 4096;

interface Actor extends Partial<Omit<RawProcess, "pid">> {
  readonly pid: number;
  /** Of one core. */
  readonly burns?: number;
  /** Waits for a core, of the time. */
  readonly waits?: number;
  readonly growsPages?: number;
  readonly writes?: boolean;
}

/** A machine in which processes do the same thing at every scan, until a test changes it. */
class World {
  readonly actors = new Map<number, Actor>();
  views: WorkloadView[] = [];
  policy: Policy = policy;
  memory: Memory = nothing;
  atMs = 0;

  put(...actors: Actor[]): this {
    for (const one of actors) this.actors.set(one.pid, { ...this.actors.get(one.pid), ...one });
    return this;
  }

  /** Scans for so long; every finding with the second in which it came. */
  pass(seconds: number, away = false): (Finding & { readonly second: number })[] {
    const found: (Finding & { readonly second: number })[] = [];
    for (const endMs = this.atMs + seconds * 1000; this.atMs < endMs; ) {
      this.atMs += everyMs;
      const { memory, findings } = this.scan(away);
      this.memory = memory;
      found.push(...findings.map((one) => ({ ...one, second: this.atMs / 1000 })));
    }
    return found;
  }

  scan(away: boolean) {
    const raw = [...this.actors.values()].map((one) => this.read(one));
    const processes = attribute(raw, this.views).map((one) => {
      const { writtenBytes, waitedMs, ...rest } = one;
      const waits = wantsWait(this.memory, this.policy, one, this.atMs) && waitedMs !== undefined;
      const seen = waits ? { ...rest, waitedMs } : rest;
      const asked = wantsOutput(this.memory, this.policy, seen, this.atMs, 4096) && writtenBytes !== undefined;
      return asked ? { ...seen, writtenBytes } : seen;
    });
    const scan = { atMs: this.atMs, selfPid, pageBytes: 4096, processes, views: this.views };
    return judge(this.policy, this.memory, scan, away);
  }

  read({ burns = 0, waits = 0, growsPages = 0, writes = false, ...one }: Actor): RawProcess {
    const scans = this.atMs / everyMs;
    return {
      name: "python3",
      state: "S",
      ppid: 1,
      session: one.pid,
      threads: 1,
      startTicks: one.pid,
      cpuTicks: (burns * this.atMs) / 10,
      waitedMs: waits * this.atMs,
      residentPages: 10 * mebi + growsPages * scans,
      writtenBytes: writes ? this.atMs : 0,
      ...one,
    };
  }
}

const main = { pid: 100, startTicks: 100, id: "i2", adopted: false };
const alive: WorkloadView = { name: "engine", phase: "alive", main, signsKnown: true, owesSigns: false };
const ours = (instance = "i2") => ({ cgroup: "engine", mark: { workload: "engine", instance } });
const acts = (found: readonly (Finding & { second: number })[]) =>
  found.map(({ second, kind, act, who }) => `${second} ${kind} ${act} ${who.pid}`);

function engine(view: Partial<WorkloadView> = {}): World {
  const world = new World().put({ pid: 1 }, { pid: 100, ...ours() });
  world.views = [{ ...alive, ...view }];
  return world;
}

describe("stuck", () => {
  test("PHX-8 a helper that burns CPU and writes nothing is ended once its workload has been silent for as long, with the evidence", () => {
    const found = engine()
      .put({ pid: 120, ppid: 100, burns: 1, ...ours() })
      .pass(90);
    // Known at the second scan, silent since; a minute later at two scans in a row.
    expect(acts(found)).toEqual(["75 stuck end 120"]);
    expect(found[0]).toMatchObject({
      owner: "engine",
      who: { pid: 120, startTicks: 120, name: "python3" },
      because:
        "it has burned CPU for 65 s, now 100 % of a core, and written nothing, and 'engine' has shown no output, beat or progress for 70 s",
    });
  });

  test("PHX-8 sixty workers that spin on a crowded machine get little each, and are found all the same", () => {
    const world = engine();
    for (let pid = 200; pid < 260; pid++) world.put({ pid, ppid: 100, burns: 0.06, waits: 0.93, ...ours() });
    const ended = world.pass(120).filter(({ act }) => act === "end");
    expect(new Set(ended.map(({ who }) => who.pid)).size).toBe(60);
  });

  test("PHX-8 a helper that takes ever more memory in silence is ended too", () => {
    const found = engine()
      .put({ pid: 120, ppid: 100, growsPages: 8 * mebi, ...ours() })
      .pass(120);
    expect(found.map(({ act, who }) => `${act} ${who.pid}`)).toEqual(["end 120"]);
    expect(found[0]?.because).toMatch(/has taken \d+ MiB more memory in 6\d s and written nothing/);
  });

  test.each<[string, Actor, Partial<WorkloadView>]>([
    ["burns less than its share", { pid: 120, burns: 0.5 }, {}],
    ["burns where nobody looks for signs of its workload", { pid: 120, burns: 1 }, { signsKnown: false }],
    ["waits for little", { pid: 120, burns: 0.1, waits: 0.5 }, {}],
    ["writes", { pid: 120, burns: 1, writes: true }, {}],
    ["grows a little", { pid: 120, growsPages: mebi / 4 }, {}],
    ["only sleeps with much memory", { pid: 120, residentPages: 4000 * mebi }, {}],
  ])("PHX-8 a helper that %s is well", (_what, actor, view) => {
    expect(
      engine(view)
        .put({ ...actor, ppid: 100, ...ours() })
        .pass(600),
    ).toEqual([]);
  });

  test("PHX-8 a helper may burn while its workload prints, beats or gets on, and a pause of a scan begins the time anew", () => {
    const world = engine().put({ pid: 120, ppid: 100, burns: 1, ...ours() });
    for (let round = 0; round < 20; round++) {
      world.views = [{ ...alive, lastSignMs: world.atMs }];
      expect(world.pass(30)).toEqual([]);
    }
    world.put({ pid: 120, cpuTicks: world.atMs / 10 }).pass(5);
    const { cpuTicks: _rest, ...again } = world.actors.get(120) as Actor;
    world.actors.set(120, again);
    expect(acts(world.pass(120)).length).toBe(1);
  });

  test("PHX-8 the main process is never ended: supervision is told when it owes signs, else it is only written down, once", () => {
    const owing = engine({ owesSigns: true }).put({ pid: 100, burns: 1 });
    expect(acts(owing.pass(100))).toEqual(["75 stuck tell 100"]);
    const silent = engine().put({ pid: 100, burns: 1 });
    expect(acts(silent.pass(1000))).toEqual(["75 stuck report 100"]);
  });
});

describe("orphaned", () => {
  test("PHX-8 what is left of an earlier life is ended as soon as two scans agree", () => {
    const found = engine()
      .put({ pid: 90, ...ours("i1") }, { pid: 130, ppid: 90, ...ours("i1") })
      .pass(40);
    expect(acts(found)).toEqual(["20 orphaned end 90", "20 orphaned end 130"]);
    expect(found[0]?.because).toBe(
      "it is of an earlier life of 'engine', whose main process is pid 100 now; its parent is init now",
    );
  });

  test("PHX-8 what runs of a workload that should not run is ended, but not while it is stopped, cleaned or started", () => {
    const { main: _main, ...without } = alive;
    const world = engine();
    for (let round = 0; round < 20; round++) {
      world.views = [{ ...without, phase: round % 2 === 0 ? "moving" : "down" }];
      expect(world.pass(10)).toEqual([]);
    }
    world.views = [{ ...without, phase: "down" }];
    expect(world.pass(60).map(({ act, who }) => `${act} ${who.pid}`)).toEqual(["end 100"]);
  });

  test("PHX-8 a life that nobody knows of, newer than the state, is told and not touched", () => {
    const found = engine()
      .put({ pid: 140, ...ours("i3") })
      .pass(600);
    expect(found.map(({ act, who }) => `${act} ${who.pid}`)).toEqual(["report 140"]);
  });

  test.each<[string, Actor, Partial<WorkloadView>]>([
    ["its own helpers", { pid: 120, ppid: 1, ...ours() }, {}],
    ["an older one of the same life, for the main process was taken for another", { pid: 90, ...ours() }, {}],
    [
      "an older one without a marker beside a main process that was adopted",
      { pid: 90, cgroup: "engine" },
      { main: { ...main, adopted: true } },
    ],
    ["a stranger of the same program", { pid: 90, name: "engine" }, {}],
    ["one that carries the marker of another agent", { pid: 90, mark: "another" }, {}],
    ["the family of a workload that is not in the config", { pid: 90, cgroup: "gone" }, {}],
  ])("PHX-8 untouched: %s", (_what, actor, view) => {
    expect(engine(view).put(actor).pass(600)).toEqual([]);
  });

  test("PHX-8 one without a marker that is older than the main process is of an earlier life", () => {
    const found = engine().put({ pid: 90, cgroup: "engine" }).pass(40);
    expect(acts(found)).toEqual(["20 orphaned end 90"]);
  });

  test("PHX-8 what cannot be killed is tried and told again a minute later, not at every scan", () => {
    const found = engine()
      .put({ pid: 90, ...ours("i1") })
      .pass(150);
    expect(acts(found)).toEqual(["20 orphaned end 90", "80 orphaned end 90", "140 orphaned end 90"]);
  });
});

describe("defunct", () => {
  const dead = { ppid: 100, state: "Z", residentPages: 0 };

  test("PHX-8 a parent of ours is asked to reap its dead children, ever later, and never killed for them", () => {
    const found = engine()
      .put({ pid: 120, ...dead }, { pid: 121, ...dead })
      .pass(600);
    expect(acts(found)).toEqual([
      "10 defunct nudge 100",
      "40 defunct nudge 100",
      "100 defunct nudge 100",
      "190 defunct report 100",
    ]);
    expect(found[0]?.defunct.map(({ pid }) => pid)).toEqual([120, 121]);
    expect(found.at(-1)?.because).toBe("it has not reaped 2 dead children, though it was asked 3 times");
  });

  test("PHX-8 when they pile up in spite of that, supervision is told", () => {
    const world = engine();
    for (let pid = 200; pid < 270; pid++) world.put({ pid, ...dead });
    expect(acts(world.pass(300)).at(-1)).toBe("190 defunct tell 100");
  });

  test("PHX-8 dead ones of ours whose parent is not ours are told, once, and their parent is not touched", () => {
    const world = engine().put({ pid: 120, ...ours() });
    world.pass(10);
    world.put({ pid: 120, state: "Z", ppid: 1 });
    world.actors.set(120, { pid: 120, state: "Z", ppid: 1 });
    const found = world.pass(600);
    expect(found.map(({ kind, act, who }) => `${kind} ${act} ${who.pid}`)).toEqual(["defunct report 1"]);
    expect(found[0]?.because).toBe("pid 1, which is not ours, has not reaped one dead child of 'engine'");
  });

  test("PHX-8 what fell to the agent itself is reaped; a stranger's dead child, and a dead main thread of a living program, are nobody's business", () => {
    const world = engine().put(
      { pid: selfPid },
      { pid: 60 },
      { pid: 61, ppid: 60, state: "Z" },
      { pid: 62, ppid: selfPid, state: "Z" },
      { pid: 63, ppid: 100, state: "Z", threads: 4 },
    );
    expect(acts(world.pass(10))).toEqual([`10 defunct reap ${selfPid}`]);
  });

  test("PHX-8 one that is just dying is not defunct", () => {
    const world = engine();
    for (let pid = 300; pid < 360; pid++) {
      world.actors.delete(pid - 1);
      expect(world.put({ pid, ...dead }).pass(5)).toEqual([]);
    }
  });
});

describe("declared processes", () => {
  const worker = { pid: 500, ppid: 400, declared: "pool" };
  const { declared: _declared, ...another } = worker;

  test("PHX-8 a worker whose parent has died is ended; a daemon that left its parent at once is not, nor one that never had one", () => {
    const world = engine().put({ pid: 400 }, worker, { ...worker, pid: 501, ppid: 1 }, { ...another, pid: 503 });
    expect(world.pass(60)).toEqual([]);
    world.put({ ...worker, pid: 502 });
    world.pass(10);
    world.actors.delete(400);
    for (const pid of [500, 502, 503]) world.put({ pid, ppid: 1 });
    const found = world.pass(600);
    expect(found.map(({ kind, act, who }) => `${kind} ${act} ${who.pid}`).slice(0, 1)).toEqual(["left_over end 500"]);
    expect(new Set(found.map(({ who }) => who.pid))).toEqual(new Set([500]));
    expect(found[0]?.because).toBe("it is one of 'pool', and pid 400, which it had lived with for 70 s, is gone");
  });

  test("PHX-8 a declared process that burns in silence is ended, and only told when nobody can say whether it writes", () => {
    expect(
      acts(
        engine()
          .put({ ...worker, burns: 2 })
          .pass(90),
      ),
    ).toEqual(["75 stuck end 500"]);
    const hidden = engine().put({ pid: 500, ppid: 400, declared: "pool", burns: 2 });
    hidden.read = (one) => {
      const { writtenBytes: _bytes, ...rest } = World.prototype.read.call(hidden, one);
      return rest;
    };
    expect(hidden.pass(300).map(({ act }) => act)).toEqual(["report"]);
  });
});

describe("doubt", () => {
  test("PHX-8 a stranger of our program that burns is told, once, and never touched", () => {
    const world = engine().put({ pid: 700, burns: 1, alike: "engine" }, { pid: 701, burns: 1 });
    const found = world.pass(1000);
    expect(acts(found)).toEqual(["70 unproven report 700"]);
    expect(found[0]?.owner).toBe("");
  });

  test("PHX-8 after the agent was away nothing is judged by what it has not seen", () => {
    const world = engine().put({ pid: 120, ppid: 100, burns: 1, ...ours() }, { pid: 90, ...ours("i1") });
    for (let round = 0; round < 100; round++) expect(world.pass(5, true)).toEqual([]);
    expect(acts(world.pass(20)).length).toBe(1);
  });

  test("PHX-8 nobody is judged within the first seconds of a workload's life", () => {
    const world = engine().put({ pid: 90, ...ours("i1") });
    for (let round = 0; round < 50; round++) {
      world.views = [{ ...alive, main: { ...main, id: `i${round + 2}` } }];
      expect(world.pass(10)).toEqual([]);
    }
  });

  test("PHX-8 a storm is ended 20 at a time, and stops with a page to a person", () => {
    const world = engine();
    for (let pid = 1000; pid < 1200; pid++) world.put({ pid, startTicks: 90, ...ours("i1") });
    const ended: number[] = [];
    const paged: string[] = [];
    for (let round = 0; round < 20; round++)
      for (const { act, who, because } of world.pass(5)) {
        if (act === "page") paged.push(because);
        if (act !== "end") continue;
        ended.push(who.pid);
        world.actors.delete(who.pid);
      }
    expect(ended.length).toBe(100);
    expect(paged).toEqual([expect.stringContaining("100 processes were ended in 600 s")]);
  });

  test("PHX-8 in report-only mode everything is told once and nothing is ended, asked or reaped", () => {
    const world = engine().put(
      { pid: selfPid },
      { pid: 120, ppid: 100, burns: 1, ...ours() },
      { pid: 90, ...ours("i1") },
      { pid: 122, ppid: 100, state: "Z" },
      { pid: 123, ppid: selfPid, state: "Z" },
    );
    world.policy = { ...policy, reportOnly: true };
    const found = world.pass(1000);
    expect(new Set(found.map(({ act }) => act))).toEqual(new Set(["report"]));
    expect(found.length).toBe(4);
  });
});
