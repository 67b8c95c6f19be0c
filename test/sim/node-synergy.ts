/** SYN-6, scenario by scenario, on a node as `examples/synergymesh.yaml` has it; and SYN-3's ladder with its budgets. */
import { ladderDefaults } from "@blueflame/agent/ladder/policy.ts";
import type { Rung } from "@blueflame/agent/ladder/rungs.ts";
import { emergency } from "../scenarios/node-emergency.ts";
import type { NodeRun, Scene } from "./node-run.ts";

const second = 1000;
const minute = 60 * second;
const all = ["launcher", "scheduler", "worker"] as const;
const system = "synergymesh";

/** The five scenarios as written. */
export const scenarios: readonly { readonly name: string; readonly scene: Scene }[] = [
  {
    name: "launcher crash",
    scene: {
      system,
      endMs: 200 * second,
      play: (run) => {
        const atMs = run.between(30 * second, 60 * second);
        run.at(atMs, () => run.world.exit("launcher", Math.floor(run.between(0, 200)), run.oneOf(null, "SIGKILL")));
        return () => {
          const found = run.firstIncidentMs("launcher");
          const fromMs = Math.max(atMs, ...run.agentStartsMs.filter((ms) => ms <= found));
          run.must(found - fromMs <= 30 * second, `found after ${Math.round(found - fromMs)} ms`);
          run.within("launcher", atMs, minute);
          run.nobodyCalled("launcher");
        };
      },
    },
  },
  {
    name: "bad config",
    scene: {
      system,
      endMs: 300 * second,
      play: (run) => {
        const { world } = run;
        const atMs = run.between(30 * second, 60 * second);
        const { config } = world.actor("launcher");
        config.healthy.push("v1");
        run.at(atMs - run.between(0, 20 * second), () =>
          Object.assign(config, { version: "v2", changedAtMs: world.clock.monotonicMs() }),
        );
        if (run.random() < 0.5) world.actor("launcher").facts = { ...world.actor("launcher").facts, hints: ["config"] };
        run.at(atMs, () => {
          world.ail("launcher", { until: ["config_rollback"], how: run.oneOf("exit", "mute"), afterMs: 0, code: 1 });
          world.exit("launcher", 1);
        });
        return () => {
          const tried = run
            .incidentsOf("launcher")
            .flatMap(({ attempts }) => attempts.map(({ rung, ok }) => `${rung} ${ok}`));
          run.must(tried[0] === "quick_restart false", `tried first: ${tried[0]}`);
          run.must(tried.at(-1) === "config_rollback true", `tried last: ${tried.at(-1)}`);
          run.must(config.version === "v1", `it runs with ${config.version}`);
          run.must(run.alerts.has("launcher rolled_back"), "people were not told of the rollback");
          run.within("launcher", atMs, 5 * minute);
          run.nobodyCalled("launcher");
        };
      },
    },
  },
  {
    name: "Phoenix dies",
    scene: {
      system,
      endMs: 150 * second,
      play: (run) => {
        const atMs = run.between(30 * second, 60 * second);
        const before = new Map<string, string | undefined>();
        run.at(atMs, () => {
          for (const name of all) before.set(name, run.instanceId(name));
          if (run.random() < 0.5) run.guards.kill("agent");
          else run.guards.hang("agent");
        });
        return () => {
          for (const name of all)
            run.must(run.instanceId(name) === before.get(name), `${name} was interrupted by the agent's death`);
          const back = run.agentStartsMs.find((ms) => ms > atMs) ?? Number.POSITIVE_INFINITY;
          run.tookMs = back - atMs;
          run.must(back - atMs <= 10 * second, `the agent was back after ${Math.round(back - atMs)} ms`);
          run.must(run.guards.lives("agent") === "answers", "no agent lives");
        };
      },
    },
  },
  {
    name: "everything fails",
    scene: {
      system,
      endMs: 400 * second,
      // The bootstrap runs once an hour for the whole node: nobody else may have used it.
      alone: true,
      play: (run) => {
        const { world } = run;
        const atMs = run.between(30 * second, 60 * second);
        if (run.random() < 0.35) run.at(run.between(20 * second, 200 * second), () => run.guards.kill("agent"));
        const actor = world.actor("launcher");
        if (run.random() < 0.5) actor.config.healthy.push("v0");
        if (run.random() < 0.5)
          actor.facts = { ...actor.facts, hints: ["corruption"], backup: { id: "b1", ageMs: 1000 } };
        for (const rung of ["backup_restore", "config_rollback"])
          if (run.random() < 0.5) world.manners.set(rung, { ends: "fails" });
        run.at(atMs, () => {
          world.ail("launcher", { until: ["full_bootstrap"], how: "exit", afterMs: 0, code: 1 });
          world.exit("launcher", 1);
        });
        return () => {
          const last = run
            .incidentsOf("launcher")
            .at(-1)
            ?.attempts.findLast(({ ok }) => ok);
          run.must(last?.rung === "full_bootstrap", `it was healed by ${last?.rung ?? "nothing"}`);
          for (const name of all) run.must(world.actor(name).state.phase.at === "running", `${name} does not run`);
          run.must(run.called.has("launcher"), "nobody was paged");
          run.tookMs = (run.verifiedMs.get("launcher") ?? Number.POSITIVE_INFINITY) - atMs;
        };
      },
    },
  },
  {
    name: "watchdog and Phoenix both down",
    scene: {
      system,
      endMs: 300 * second,
      alone: true,
      play: (run) => {
        const atMs = run.between(30 * second, 60 * second);
        const commandMs = atMs + run.between(5 * second, 90 * second);
        run.at(atMs, () => {
          run.guards.kill("watchdog");
          run.guards.kill("agent");
        });
        for (const name of all)
          if (run.random() < 0.5) run.at(run.between(atMs, commandMs), () => run.world.exit(name, 1));
        run.at(commandMs, () => emergency(run.world, run.guards, "anna", () => undefined));
        let allMs = Number.POSITIVE_INFINITY;
        const look = (): void => {
          const wells = all.every((name) => run.world.actor(name).state.phase.at === "running" && run.instanceId(name));
          const guards = run.guards.lives("agent") === "answers" && run.guards.lives("watchdog") === "answers";
          if (wells && guards) allMs = run.nowMs;
          else run.at(run.nowMs + 100, look);
        };
        run.at(commandMs + 1, look);
        return () => {
          run.tookMs = allMs - commandMs;
          run.must(run.tookMs <= minute, `all was back ${Math.round(run.tookMs)} ms after the command`);
        };
      },
    },
  },
];

const rungsThatPrepare = ["config_rollback", "backup_restore", "full_bootstrap"] as const;

/** Rungs work, fail or hang as they are drawn: each is over within its budget, and none is tried twice in an incident. */
export const ladder: Scene = {
  system,
  endMs: 3 * 60 * minute,
  alone: true,
  isOver: (run) => run.nowMs > 60 * second && run.verifiedMs.has("launcher"),
  play: (run) => {
    const { world } = run;
    const actor = world.actor("launcher");
    actor.config.healthy.push("v0");
    actor.facts = { ...actor.facts, hints: ["corruption"], backup: { id: "b1", ageMs: 1000 } };
    for (const rung of rungsThatPrepare) {
      const ends = run.random() < 0.05 || rung !== "full_bootstrap" ? run.oneOf("works", "fails", "hangs") : "works";
      world.manners.set(rung, { ends });
    }
    run.at(30 * second, () => {
      world.ail("launcher", { until: [run.oneOf(...rungsThatPrepare, "safe_mode")], how: "exit", afterMs: 0, code: 1 });
      world.exit("launcher", 1);
    });
    run.at(run.between(2 * minute, 40 * minute), () => run.guards.kill("agent"));
    return () => {
      for (const { name, tookMs } of runsOf(run)) {
        const budgetMs = ladderDefaults.budgetMs[name as Rung] ?? Number.POSITIVE_INFINITY;
        // What an agent's death has interrupted is given half a minute after it.
        run.must(tookMs <= budgetMs + 31 * second, `${name} took ${Math.round(tookMs)} ms, its budget is ${budgetMs}`);
      }
      for (const { attempts } of run.incidentsOf("launcher")) {
        const tried = attempts.flatMap(({ rung }) => (rung && rung !== "quick_restart" ? [rung] : []));
        run.must(new Set(tried).size === tried.length, `tried twice: ${tried.join(", ")}`);
      }
    };
  },
};

function runsOf(run: NodeRun): { readonly name: string; readonly tookMs: number }[] {
  const begun = new Map<string, number>();
  return run.seen.flatMap(({ ms, seen }) => {
    if (seen.is !== "run") return [];
    if (seen.at === "begins") begun.set(seen.id, ms);
    if (seen.at !== "ends" && seen.at !== "cancelled") return [];
    return [{ name: seen.name, tookMs: ms - (begun.get(seen.id) ?? ms) }];
  });
}
