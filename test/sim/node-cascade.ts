/** GRC-6: latency rises from 450 ms, and the steps bring it back before the unit fails; GRC-1: the three layers. */
import type { Scene } from "./node-run.ts";

const second = 1000;
const steps = ["clear caches", "tune queries", "tune the pool"];

/** The cascade as written: 1050 ms back to 450 ms within 30 s of the trigger, the steps in order, nothing restarted. */
export const cascade: Scene = {
  system: "grace",
  endMs: 240 * second,
  play: (run) => {
    const { world } = run;
    const { figures } = world.actor("kernel");
    figures.p95_latency_ms = 450;
    const atMs = run.between(75 * second, 95 * second);
    const [first, next] = [run.between(100, 250), run.between(100, 250)];
    // Each step gives its part back; what they do not take is left to the last one.
    const parts: Readonly<Record<string, number>> = {
      clear_caches: first,
      tune_queries: next,
      tune_the_pool: 600 - first - next,
    };
    let backMs = Number.POSITIVE_INFINITY;
    run.at(atMs - 20 * second, () => Object.assign(figures, { p95_latency_ms: run.between(600, 999) }));
    run.at(atMs, () => {
      figures.p95_latency_ms = 1050;
      for (const [fix, part] of Object.entries(parts))
        world.fault("kernel", [fix], () => {
          figures.p95_latency_ms = (figures.p95_latency_ms ?? 0) - part;
          if (figures.p95_latency_ms <= 450.001) backMs = run.nowMs;
        });
    });
    let before: string | undefined;
    run.at(atMs, () => {
      before = run.instanceId("kernel");
    });
    return () => {
      const fired = run.firedMs("kernel", atMs);
      run.firedInTime("kernel", atMs);
      run.must(run.instanceId("kernel") === before, "the unit was restarted");
      const done = run.seen.flatMap(({ seen }) =>
        seen.is === "step" && seen.workload === "kernel" ? [seen.words] : [],
      );
      const order = done.filter((words) => steps.includes(words));
      run.must([...new Set(order)].join() === steps.join(), `steps: ${order.join(", ")}`);
      const fromMs = Math.max(fired, ...run.agentStartsMs.filter((ms) => ms <= backMs));
      run.tookMs = backMs - fired;
      run.must(backMs - fromMs <= 30 * second, `back at 450 ms after ${Math.round(backMs - fromMs)} ms`);
      run.within("kernel", atMs, 60 * second);
      run.nobodyCalled("kernel");
    };
  },
};

/** A trigger's playbook, the supervision of a unit and the watchdog, each with what falls to it, at about the same time. */
export const layers: Scene = {
  system: "grace",
  endMs: 240 * second,
  alone: true,
  play: (run) => {
    const { world } = run;
    const near = () => run.between(75 * second, 85 * second);
    const [latencyMs, crashMs, deathMs] = [near(), near(), near()];
    run.at(latencyMs, () => {
      const { figures } = world.actor("kernel");
      const before = figures.p95_latency_ms;
      figures.p95_latency_ms = 1400;
      world.fault("kernel", ["tune_queries"], () => Object.assign(figures, { p95_latency_ms: before }));
    });
    run.at(crashMs, () => world.exit("gateway", 1));
    run.at(deathMs, () => run.guards.kill("agent"));
    return () => {
      run.within("kernel", latencyMs, 60 * second);
      run.within("gateway", crashMs, 10 * second);
      const back = run.agentStartsMs.find((ms) => ms > deathMs) ?? Number.POSITIVE_INFINITY;
      run.must(back - deathMs <= 30 * second, `the agent was back after ${Math.round(back - deathMs)} ms`);
      run.tookMs = back - deathMs;
      for (const name of ["kernel", "gateway"]) run.nobodyCalled(name);
    };
  },
};

/** DOL-7: slow things are at work everywhere, and a crash is answered in the same moment. */
export const slowBesideFast: Scene = {
  system: "grace",
  endMs: 200 * second,
  alone: true,
  unfinished: true,
  play: (run) => {
    const { world } = run;
    for (const name of [
      "backup",
      "check_backups",
      "check_store",
      "trim_logs",
      "clean_disposable",
      "config_rollback",
      "job",
    ])
      world.manners.set(name, { ends: run.oneOf("works", "hangs"), takesMs: run.between(1000, 120_000) });
    // A slow playbook of the node, a slow rung of another unit, and then the crash.
    run.at(60 * second, () => Object.assign(world.node, { disk_used_ratio: 0.95 }));
    run.at(60 * second, () => {
      world.actor("kernel").config.healthy.push("v0");
      world.ail("kernel", { until: ["never"], how: "exit", afterMs: 0, code: 1, starts: 3 });
      world.exit("kernel", 1);
    });
    const atMs = run.between(62 * second, 120 * second);
    run.at(atMs, () => world.exit("gateway", 1));
    return () => {
      const acted = run.seen.find(
        ({ ms, seen }) =>
          ms >= atMs && seen.is === "effect" && seen.workload === "gateway" && seen.effect.do === "clean",
      );
      run.tookMs = (acted?.ms ?? Number.POSITIVE_INFINITY) - atMs;
      run.must(run.tookMs < 10, `the crash was answered after ${run.tookMs} ms`);
    };
  },
};
