/** GRC-4, row by row: what goes wrong with a unit of `examples/grace.yaml`, and within which time it has to be well again. */
import type { NodeRun, Scene } from "./node-run.ts";

const second = 1000;
/** A node that is well: strangers' load is told from ours by what was usual for a minute. */
const faultMs = (run: NodeRun) => run.between(75 * second, 95 * second);
const endMs = 260 * second;

/** Rows whose trigger looks at a figure: GRC-11 says how soon it fires, and how soon its playbook begins. */
const byFigure = new Set(["high latency", "CPU", "RAM", "disk", "trust drop"]);

/** Rows that are long because a playbook waits: an agent's death makes them no longer. */
const durable = new Set(["error burst"]);

/** One row. */
export interface Row {
  readonly name: string;
  readonly boundMs: number;
  readonly scene: Scene;
}

/** A row in which a subject is well again within its bound, with nobody called. */
function healed(
  name: string,
  boundMs: number,
  subject: string,
  harm: (run: NodeRun, atMs: number) => (() => number) | undefined,
): Row {
  const scene: Scene = {
    system: "grace",
    endMs,
    play: (run) => {
      const atMs = faultMs(run);
      const countsFrom = harm(run, atMs) ?? (() => atMs);
      return () => {
        run.within(subject, countsFrom(), boundMs, durable.has(name));
        if (byFigure.has(name)) run.firedInTime(subject, atMs);
        run.nobodyCalled(subject);
      };
    },
  };
  return { name, boundMs, scene };
}

/** Sets figures at `atMs`, and takes them back once one of the fixes was done. */
function figures(run: NodeRun, atMs: number, subject: string, fix: string, values: Readonly<Record<string, number>>) {
  run.at(atMs, () => {
    const { world } = run;
    const all = subject === "node" ? world.node : world.actor(subject).figures;
    const before = Object.fromEntries(Object.keys(values).map((key) => [key, all[key] ?? 0]));
    Object.assign(all, values);
    world.fault(subject, [fix], () => Object.assign(all, before));
  });
  return undefined;
}

/** The rows of GRC-4 in their order. */
export const matrix: readonly Row[] = [
  healed("unit silent", 10 * second, "kernel", (run, atMs) => {
    let lastBeatMs = 0;
    run.at(atMs, () => {
      const actor = run.world.actor("kernel");
      lastBeatMs = actor.state.evidence.lastBeatMs ?? run.nowMs;
      actor.beating = false;
    });
    // A new agent has heard nothing yet: the minute begins when it listens.
    return () =>
      Math.max(lastBeatMs, ...run.agentStartsMs.filter((ms) => ms <= lastBeatMs + 60 * second)) + 60 * second;
  }),
  healed("API timeouts", 30 * second, "kernel", (run, atMs) => {
    const everyMs = run.between(100, 1500);
    let [over, sent, fifthMs] = [false, 0, Number.POSITIVE_INFINITY];
    const ask = (): void => {
      if (over) return;
      sent += 1;
      if (sent === 5) fifthMs = run.nowMs;
      run.world.triggers.tell({ is: "requests", workload: "kernel", count: 10, timeouts: 1, errors: 0 });
      run.at(run.nowMs + everyMs, ask);
    };
    run.at(atMs, () => {
      run.world.fault("kernel", ["restart"], () => {
        over = true;
      });
      ask();
    });
    return () => fifthMs;
  }),
  healed("high latency", 60 * second, "kernel", (run, atMs) =>
    figures(run, atMs, "kernel", run.oneOf("clear_caches", "tune_queries", "tune_the_pool"), {
      p95_latency_ms: run.between(1001, 3000),
    }),
  ),
  healed("CPU", 30 * second, "kernel", (run, atMs) => {
    figures(run, atMs, "node", "kernel:restart", { cpu_busy_ratio: 0.95, ours_cpu_ratio: 0.9 });
    return figures(run, atMs, "kernel", "restart", { process_cpu_ratio: run.between(0.9, 4) });
  }),
  healed("RAM", 30 * second, "kernel", (run, atMs) => {
    figures(run, atMs, "node", "kernel:restart", {
      memory_used_ratio: run.between(0.81, 0.95),
      ours_memory_ratio: 0.75,
    });
    return figures(run, atMs, "kernel", "restart", { process_memory_bytes: run.between(2.2e9, 8e9) });
  }),
  healed("disk", 120 * second, "", (run, atMs) =>
    figures(run, atMs, "node", run.oneOf("clean_disposable", "trim_logs"), {
      disk_used_ratio: run.between(0.91, 0.99),
    }),
  ),
  healed("trust drop", 60 * second, "kernel", (run, atMs) => {
    const { config } = run.world.actor("kernel");
    config.healthy.push("v0");
    run.at(Math.max(run.nowMs, atMs - run.between(0, 50 * 60 * second)), () => {
      config.changedAtMs = run.nowMs;
    });
    return figures(run, atMs, "kernel", "config_rollback", { trust: run.between(0.1, 0.69) });
  }),
  healed("sandbox crash", 5 * second, "kernel", (run, atMs) => {
    run.at(atMs, () => {
      const again = run.random() < 0.5;
      if (again) run.world.ail("kernel", { until: ["quarantine"], how: "exit", afterMs: 0, code: 70 });
      run.world.exit("kernel", 70);
    });
    return undefined;
  }),
  healed("error burst", 90 * second, "kernel", (run, atMs) => {
    const everyMs = run.between(500, 5000);
    let over = false;
    const fail = (): void => {
      if (over) return;
      run.world.triggers.tell({ is: "requests", workload: "kernel", count: 50, timeouts: 0, errors: 10 });
      run.at(run.nowMs + everyMs, fail);
    };
    run.at(atMs, () => {
      run.world.fault("kernel", ["restart"], () => {
        over = true;
      });
      fail();
    });
    return figures(run, atMs, "kernel", "restart", { error_rate: run.between(0.1, 0.9) });
  }),
  {
    name: "restart fails three times",
    boundMs: 300 * second,
    scene: {
      system: "grace",
      endMs: 420 * second,
      play: (run) => {
        const atMs = faultMs(run);
        run.at(atMs, () => {
          run.world.ail("kernel", { until: ["never"], how: run.oneOf("exit", "mute"), afterMs: 0, code: 1 });
          run.world.exit("kernel", 1);
        });
        return () => {
          const [incident] = run.incidentsOf("kernel");
          const called = run.seen.find(
            ({ seen }) => seen.is === "incident" && seen.facts.id === incident?.id && seen.facts.needsPerson,
          );
          const fromMs = Math.max(atMs, ...run.agentStartsMs.filter((ms) => ms <= (called?.ms ?? 0)));
          run.must(called !== undefined && called.ms - fromMs <= 300 * second, "no person was called within 300 s");
          const before = run.seen.filter(
            ({ ms, seen }) =>
              ms > atMs &&
              ms <= (called?.ms ?? 0) &&
              seen.is === "process" &&
              seen.workload === "kernel" &&
              seen.at === "born",
          );
          run.must(before.length >= 3, `a person was called after ${before.length} restarts`);
          const later = run.seen.some(
            ({ ms, seen }) =>
              ms > (called?.ms ?? 0) && seen.is === "process" && seen.workload === "kernel" && seen.at === "born",
          );
          run.must(later, "it was given up");
        };
      },
    },
  },
  healed("process crash", 30 * second, "kernel", (run, atMs) => {
    run.at(atMs, () =>
      run.world.exit("kernel", Math.floor(run.between(0, 255)), run.oneOf(null, "SIGKILL", "SIGSEGV")),
    );
    return undefined;
  }),
  {
    name: "reboot",
    boundMs: 60 * second,
    scene: {
      system: "grace",
      endMs,
      play: (run) => {
        const atMs = faultMs(run);
        let allMs = Number.POSITIVE_INFINITY;
        run.at(atMs, () => {
          run.guards.reboots();
          run.world.reboot(() => run.guards.start("watchdog"));
          const look = (): void => {
            const all = ["kernel", "gateway"].every(
              (name) => run.world.actor(name).state.phase.at === "running" && run.instanceId(name),
            );
            if (all) allMs = run.nowMs;
            else run.at(run.nowMs + 100, look);
          };
          look();
        });
        return () => run.must(allMs - atMs <= 60 * second, `all was back after ${Math.round(allMs - atMs)} ms`);
      },
    },
  },
  {
    name: "kill switch",
    boundMs: 0,
    scene: {
      system: "grace",
      endMs,
      play: (run) => {
        const atMs = faultMs(run);
        run.at(atMs, () => run.world.setKillSwitch(true, "anna"));
        run.at(atMs + run.between(1000, 60_000), () => run.world.exit("kernel", 1));
        run.at(atMs + run.between(1000, 60_000), () => run.guards.kill("agent"));
        if (run.random() < 0.5)
          run.at(atMs + run.between(60_000, 90_000), () => {
            run.guards.reboots();
            run.world.reboot(() => run.guards.start("watchdog"));
          });
        return () => {
          const born = run.seen.filter(({ ms, seen }) => ms > atMs && seen.is === "process" && seen.at === "born");
          run.must(born.length === 0, `${born.length} processes were started against the kill switch`);
          const alive = [...run.world.actors.values()].filter(({ instance }) => instance).length;
          run.must(alive === 0, `${alive} processes live`);
        };
      },
    },
  },
];
