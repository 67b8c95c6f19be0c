// What a person relies on, over the whole of a workload's recovery, on virtual time.
import { expect, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import { bench, livenessProbe } from "../../test/support/workload-bench.ts";
import { commandSpecOf } from "../config/config.ts";
import { statusOf } from "./report.ts";
import type { WorkloadSpec } from "./spec.ts";
import { instanceOf, type State } from "./state.ts";

type Bench = ReturnType<typeof bench>;

/** Gives every sign of life that its spec asks for. */
function signs(one: Bench, spec: WorkloadSpec): void {
  if (spec.beat) one.tell({ is: "beat", ready: true, status: "" });
  for (const { name } of spec.probes) one.tell({ is: "probed", probe: name, ok: true, because: "answered" });
}

/** Has run well for a minute. */
function stable(spec: WorkloadSpec): Bench {
  const one = bench(spec);
  one.tell({ is: "boot", bootId: "boot-1" });
  one.pass(60_000, () => signs(one, spec));
  expect(one.phase).toBe("running");
  one.log.length = 0;
  return one;
}

const beating = specOf({ beat: { timeoutMs: 3000 } });
const asked = specOf({ probes: [livenessProbe] });
const bare = specOf();
const failing = (one: Bench) => one.tell({ is: "probed", probe: "ping", ok: false, because: "no answer in 1 s" });

/** A way to die, and what the next seconds look like from outside until somebody starts it anew. */
interface Death {
  readonly name: string;
  readonly spec: WorkloadSpec;
  readonly die: (one: Bench) => void;
  readonly goesOn?: (one: Bench) => void;
}
const deaths: readonly Death[] = [
  { name: "a crash of a bare command", spec: bare, die: (one) => one.crash() },
  { name: "a crash of what beats", spec: beating, die: (one) => one.crash() },
  { name: "beats that stop", spec: beating, die: () => undefined },
  { name: "a probe that fails", spec: asked, die: failing, goesOn: failing },
  { name: "a signal that stops it", spec: bare, die: (one) => one.tell({ is: "seen", stopped: true }) },
];

test.each(deaths)(
  "PHX-7 $name: detected, cleaned, restarted and verified in under 10 s, and never down for a heartbeat",
  ({ spec, die, goesOn }) => {
    const one = stable(spec);
    const [diedMs, first] = [one.now(), one.id()];
    die(one);
    for (let second = 0; second < 10 && one.incidents.at(-1)?.at !== "probation"; second++) {
      one.pass(1000, () => (one.id() === first ? goesOn?.(one) : signs(one, spec)));
    }
    expect(one.phase).toBe("running");
    expect(one.id()).not.toBe(first);
    const healed = one.incidents.at(-1);
    expect(healed?.at).toBe("probation");
    expect((healed?.detectedMs ?? 0) - diedMs).toBeLessThanOrEqual(5000);
    expect(one.now() - diedMs).toBeLessThan(10_000);
    const downMs = (healed?.recoveredWallMs ?? 0) - (healed?.detectedWallMs ?? 0);
    expect(downMs).toBeLessThan(15_000);
  },
);

test.each(deaths)(
  "PHX-4 $name: what it left is cleaned up before the next start, every time",
  ({ spec, die, goesOn }) => {
    const one = stable(spec);
    for (let death = 0; death < 3; death++) {
      const before = one.id();
      die(one);
      for (let second = 0; second < 60 && one.id() === before; second++) one.pass(1000, () => goesOn?.(one));
      one.pass(20_000, () => signs(one, spec));
    }
    const acts = one.log.filter((line) => /(clean|spawn)$/.test(line)).map((line) => line.split(" ")[1]);
    expect(acts.length).toBeGreaterThanOrEqual(6);
    expect(acts).toEqual(acts.map((_act, at) => (at % 2 === 0 ? "clean" : "spawn")));
  },
);

test("PHX-4 while the clean-up fails nothing is started; it is tried again, and a person is told", () => {
  const one = stable(bare);
  one.answers = false;
  one.crash();
  for (let n = 0; n < 5; n++) {
    one.tell({ is: "cleanFailed", because: "pid 7 cannot be killed" });
    one.pass(2000);
  }
  expect(one.phase).toBe("cleaning");
  expect(one.log.filter((line) => line.endsWith(" clean"))).toHaveLength(6);
  expect(one.log.filter((line) => line.endsWith(" spawn"))).toEqual([]);
  expect(one.incidents.at(-1)).toMatchObject({ needsPerson: true, severity: "critical" });
  one.tell({ is: "cleaned", killed: 1, removed: [], tookMs: 1 });
  expect(one.phase).toBe("spawning");
});

test("PHX-5 what was written down is enough to go on: after the agent's death the same spec is started, or adopted, from it", () => {
  const before = stable(beating);
  const kept = () => JSON.parse(JSON.stringify(before.state)) as State;
  const gone = bench(beating, kept());
  gone.tell({ is: "boot", bootId: "boot-1" });
  expect(gone.log.filter((line) => /(clean|spawn)$/.test(line)).map((line) => line.split(" ")[1])).toEqual([
    "clean",
    "spawn",
  ]);
  gone.pass(2000, () => signs(gone, beating));
  expect(gone.phase).toBe("running");
  const there = bench(beating, kept());
  const found = instanceOf(before.state.phase);
  if (!found) throw new Error("it runs");
  there.tell({ is: "boot", bootId: "boot-1", found: { ...found, adopted: true } });
  expect(there.log.filter((line) => /(clean|spawn)$/.test(line))).toEqual([]);
  expect(there.id()).toBe(found.id);
});

test("PHX-12 a bare command without any config has every default that it needs to be healed from a crash and from a freeze", () => {
  const machine = {
    findProgram: () => ({ file: "/usr/bin/engine" }),
    programs: () => [],
    isFolder: () => true,
  };
  const spec = commandSpecOf(["engine", "--fast"], "/", { machine, searchPath: "/usr/bin" });
  expect(spec).toMatchObject({ name: "engine", command: ["/usr/bin/engine", "--fast"], restart: "always" });
  const one = stable(spec);
  for (const die of [() => one.crash(), () => one.tell({ is: "seen", stopped: true })]) {
    const before = one.id();
    die();
    one.pass(5000);
    expect(one.phase).toBe("running");
    expect(one.id()).not.toBe(before);
    one.pass(20_000);
  }
});

test("PHX-13 what cannot stay up is tried for a whole day without a person, at least every cap, and is healed when it can", () => {
  const one = bench(bare);
  one.recording = false;
  one.tell({ is: "boot", bootId: "boot-1" });
  let longestMs = 0;
  let lastStartMs = one.now();
  for (const endMs = one.now() + 86_400_000; one.now() < endMs; one.pass(1000)) {
    if (!instanceOf(one.state.phase)) continue;
    longestMs = Math.max(longestMs, one.now() - lastStartMs);
    lastStartMs = one.now();
    one.crash();
  }
  expect(longestMs).toBeLessThanOrEqual(bare.backoff.capMs + 2000);
  expect(one.incidents.at(-1)).toMatchObject({ needsPerson: true, severity: "critical" });
  expect(one.incidents.at(-1)?.timeline.length).toBeLessThanOrEqual(100);
  one.pass(60_000);
  expect(one.phase).toBe("running");
  one.pass(bare.probationMs + 1000);
  expect(one.incidents.at(-1)?.at).toBe("closed");
});

test("GRC-9 stop asks, waits its grace and kills; start and restart bring it back at once", () => {
  const one = stable(bare);
  const acts = () => one.log.splice(0).map((line) => line.split(" ").slice(1).join(" "));
  const first = one.id();
  one.tell({ is: "stop", who: "person:asha" });
  expect(acts()).toContain("signal SIGTERM");
  one.pass(bare.stop.graceMs);
  expect(one.phase).toBe("stopped");
  expect(acts()).toEqual(expect.arrayContaining(["workload.kill success", "clean"]));
  one.pass(3_600_000);
  expect(acts()).toEqual([]);
  one.tell({ is: "start", who: "person:asha" });
  one.pass(1000);
  expect(one.phase).toBe("running");
  const second = one.id();
  acts();
  one.tell({ is: "restart", who: "person:asha" });
  expect(acts()).toContain("signal SIGTERM");
  one.crash(0); // it leaves as it was asked to
  one.pass(1000);
  expect(one.phase).toBe("running");
  expect(new Set([first, second, one.id()]).size).toBe(3);
  expect(one.incidents).toEqual([]);
});

test("SYN-7 a process is shown with running, PID, the time it is up since, and how often it was restarted; an incident with its time to recover", () => {
  const one = stable(beating);
  const shown = () => statusOf(beating, one.state, one.now());
  const first = shown();
  expect(first).toMatchObject({ pid: 100, restarts: 0n });
  one.crash();
  one.pass(3000, () => signs(one, beating));
  const second = shown();
  expect(second).toMatchObject({ pid: 101, restarts: 1n });
  expect(second.startedAt?.seconds ?? 0n).toBeGreaterThan(first.startedAt?.seconds ?? 0n);
  expect(one.incidents.at(-1)?.recoverTookMs).toBe(1000);
  one.tell({ is: "stop", who: "person:asha" });
  one.pass(10_000);
  expect(shown()).toMatchObject({ pid: 0 });
});
