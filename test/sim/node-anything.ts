/**
 * Everything goes wrong at once, on a node with three levels of dependencies: whatever fails, in whatever order, with persons, kill
 * switch, reboots and dying agents between. Then all that only the world can mend is mended, and quiet comes.
 */
import type { WorkloadSpec } from "@blueflame/agent/supervise/spec.ts";
import { specOf } from "../support/spec.ts";
import type { NodeRun, Scene } from "./node-run.ts";

const second = 1000;
const minute = 60 * second;
const faultsEndMs = 10 * minute;

const probe: WorkloadSpec["probes"][number] = {
  name: "ping",
  use: "liveness",
  everyMs: 1000,
  timeoutMs: 1000,
  failures: 2,
  ask: { by: "tcp", host: "127.0.0.1", port: 1 },
};
const names = ["disk", "schema", "db", "api", "web", "runner", "batch"] as const;
/** A job: each start of it comes to this. */
const worksFor = { until: [], how: "late", afterMs: 1500, code: 0 } as const;

/** The scene; `healed` takes what each incident came to, for the share that needs no person. */
export function anything(heard: (healed: boolean, downMs: number) => void): Scene {
  return {
    system: "phoenix",
    endMs: faultsEndMs + 15 * minute,
    alone: true,
    play: (run) => {
      const { world } = run;
      world.add(specOf({ name: "disk" }));
      world.add(specOf({ name: "schema", dependsOn: ["disk"], restart: "onFailure" }), true);
      world.ail("schema", worksFor);
      world.add(specOf({ name: "db", dependsOn: ["disk", "schema"], beat: { timeoutMs: 3000 } }), true);
      world.add(specOf({ name: "api", dependsOn: ["db"], safeMode: { env: {} }, probes: [probe] }), true);
      world.add(specOf({ name: "web", dependsOn: ["api"] }));
      world.add(specOf({ name: "runner", sandboxExitCodes: [77] }));
      // It may be silent for longer than the trigger says, or nobody has said what it owes and it beats all the same.
      if (run.random() < 0.5) world.add(specOf({ name: "batch", beat: { timeoutMs: 90_000 } }));
      else world.add(specOf({ name: "batch" }), false, 1000);
      for (const name of names) {
        world.actor(name).config.healthy.push("v0");
        if (run.random() < 0.5)
          world.actor(name).facts = { ...world.actor(name).facts, backup: { id: "b1", ageMs: 1000 } };
      }
      const count = Math.floor(run.between(5, 25));
      for (let n = 0; n < count; n++) run.at(run.between(10 * second, faultsEndMs), () => harm(run));
      run.at(faultsEndMs, () => mendAll(run));
      return () => tell(run, heard);
    },
  };
}

function harm(run: NodeRun): void {
  const { world } = run;
  const name = run.oneOf(...names);
  const actor = world.actor(name);
  const until = run.oneOf("config_rollback", "safe_mode", "dependency_restart", "backup_restore", "restart");
  const breaks = (starts: number | undefined): void => {
    const how = run.oneOf("exit", "mute", "late");
    const afterMs = run.between(1000, 60_000);
    world.ail(name, { until: starts ? [] : [until], how, afterMs, code: run.oneOf(1, 77), ...(starts && { starts }) });
    world.exit(name, 1);
  };
  const deeds: readonly [() => void, ...(() => void)[]] = [
    () => world.exit(name, run.oneOf(0, 1, 77), run.oneOf(null, null, "SIGKILL")),
    () => breaks(Math.floor(run.between(1, 4))),
    () => {
      if (run.random() < 0.5) Object.assign(actor.config, { version: `v${run.nowMs}`, changedAtMs: run.nowMs });
      actor.facts = { ...actor.facts, hints: run.oneOf(["config"], ["corruption"], ["dependency"], []) };
      breaks(undefined);
    },
    () => Object.assign(actor, { beating: false }),
    () => Object.assign(actor, { stopped: true }),
    () => Object.assign(actor, { probing: false }),
    () => figure(run, name, "p95_latency_ms", run.between(1100, 3000), run.oneOf("restart", "wait")),
    () => figure(run, "node", "disk_used_ratio", run.between(0.91, 0.99), run.oneOf("clean_disposable", "trim_logs")),
    () => world.triggers.tell({ is: "errors", workload: name, count: Math.floor(run.between(10, 60)) }),
    () =>
      world.triggers.tell({
        is: "requests",
        workload: name,
        count: 50,
        timeouts: Math.floor(run.between(1, 9)),
        errors: 0,
      }),
    () => world.triggers.tell({ is: "anomaly", workload: name, anomalous: run.random() < 0.7, because: "unusual" }),
    () => run.guards.kill("agent"),
    () => run.guards.kill("watchdog"),
    () => run.guards.hang("agent"),
    () => {
      run.guards.reboots();
      world.reboot(() => run.guards.start("watchdog"));
    },
    () => world.tell(name, { is: run.oneOf("stop", "start", "restart"), who: "person:anna" }),
    () => {
      world.setKillSwitch(true, "anna");
      run.at(run.nowMs + run.between(1, 90 * second), () => world.setKillSwitch(false, "anna"));
    },
    () =>
      world.manners.set(run.oneOf("config_rollback", "backup_restore", "dependency_restart", "clean_disposable"), {
        ends: run.oneOf("works", "works", "fails", "hangs"),
        takesMs: run.between(100, 30_000),
      }),
    () => world.away(run.between(1, 20 * second)),
    () => failsForAWhile(run, "clean"),
    () => failsForAWhile(run, "spawn"),
  ];
  run.oneOf(...deeds)();
}

/** What is left of a process cannot be killed, or nothing can be started: whichever workload it is. */
function failsForAWhile(run: NodeRun, what: "clean" | "spawn"): void {
  const manner = { ends: "fails", takesMs: 1 } as const;
  run.world.manners.set(what, manner);
  run.at(run.nowMs + run.between(1, 60 * second), () => {
    if (run.world.manners.get(what) === manner) run.world.manners.delete(what);
  });
}

function figure(run: NodeRun, subject: string, name: string, value: number, fix: string): void {
  const figures = subject === "node" ? run.world.node : run.world.actor(subject).figures;
  const before = figures[name] ?? 0;
  figures[name] = value;
  run.world.fault(subject, [fix], () => Object.assign(figures, { [name]: before }));
}

/** The faults stop: what hangs ends, what is broken is well at its next start, people want everything to run. */
function mendAll(run: NodeRun): void {
  const { world } = run;
  world.manners.clear();
  Object.assign(world.node, { disk_used_ratio: 0.4 });
  if (world.killSwitch) world.setKillSwitch(false, "anna");
  // Who hangs was to be found by who has died since, and no init is here: a person looks after both.
  if (run.guards.lives("watchdog") === "dead" && run.guards.lives("agent") !== "answers") run.guards.start("watchdog");
  run.at(run.nowMs + 10 * second, () => {
    for (const name of names) {
      const actor = world.actor(name);
      actor.ailment = name === "schema" ? worksFor : undefined;
      actor.figures.p95_latency_ms = 100;
      actor.facts = { ...actor.facts, hints: [] };
      world.triggers.tell({ is: "anomaly", workload: name, anomalous: false, because: "as usual" });
      world.tell(name, { is: "start", who: "person:anna" });
    }
  });
}

function tell(run: NodeRun, heard: (healed: boolean, downMs: number) => void): void {
  for (const name of names) {
    const { state, instance } = run.world.actor(name);
    const isDone = name === "schema" && state.phase.at === "completed";
    run.must(isDone || state.phase.at === "running", `${name} is ${state.phase.at} in the end`);
    run.must(isDone || instance !== undefined, `${name} is taken for running in the end, and has no process`);
  }
  for (const { facts, called, downMs } of run.stories()) {
    const byPerson = facts.at === "closed" && facts.recoveredWallMs === undefined;
    if (!byPerson) heard(facts.recoveredWallMs !== undefined && !called, downMs);
  }
}
