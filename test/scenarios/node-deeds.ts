/** What the steps of rungs and playbooks do in a story's world: the order of things is the agent's, the deed itself is a wait. */
import type { Action } from "@blueflame/agent/playbooks/playbook.ts";
import { figure, figureWords, isBeyond } from "@blueflame/agent/remedies/conditions.ts";
import { type DependencyStep, planDependencies, standsFor } from "@blueflame/agent/remedies/dependencies.ts";
import { leftToWait } from "@blueflame/agent/remedies/progress.ts";
import { quickLeft } from "@blueflame/agent/supervise/recovery.ts";
import { isUp, standsOf } from "@blueflame/agent/supervise/stands.ts";
import { mayRun, type State } from "@blueflame/agent/supervise/state.ts";
import { mayBootstrap } from "./node-facts.ts";
import { fixOf, type Manner, paceOf } from "./node-parts.ts";
import type { DeedContext } from "./node-runs.ts";
import type { NodeWorld } from "./node-world.ts";

/** What a rung does, as the remedies have it by the rung's name. */
export const rungDeeds: Readonly<Record<string, Action["do"]>> = {
  config_rollback: "rollback",
  dependency_restart: "restart_dependencies",
  backup_restore: "restore",
  full_bootstrap: "bootstrap",
};

const lookEveryMs = 200;
const aboutNode = "it is about a workload, and this run is about the node";

/** Does one step; its end is told to the context. What it mends is mended by its end. */
export function perform(world: NodeWorld, asked: DeedContext) {
  const { step, run, down } = asked;
  const { action } = step;
  const context: DeedContext = {
    ...asked,
    end: (outcome, because) => {
      if (outcome === "done")
        for (const fix of [fixOf(action.do), slug(step.name)])
          for (const subject of subjectsOf(run.workload, action.do)) world.fixed(subject, fix);
      asked.end(outcome, because);
    },
  };
  switch (action.do) {
    case "wait": {
      const { bootId } = world;
      const now = { ...world.moment(), bootId };
      const leftMs = leftToWait(context.intent, action.ms, now);
      context.intend({ bootId, untilMs: now.ms + leftMs, untilWallMs: now.wallMs + leftMs });
      return world.soon(leftMs, () => context.end("done", `waited ${action.ms} ms`));
    }
    case "alert":
      world.see({ is: "told", workload: run.workload, page: action.severity === "critical", because: action.message });
      return context.end("done", "people are told");
    case "restart":
    case "safe_mode":
      return timed(world, context, "nothing", () => startAgain(world, context, action.do === "safe_mode"));
    case "verify":
      return action.bound
        ? untilBeyond(world, context, action.bound, action.withinMs)
        : verified(world, context, action.withinMs);
    case "rollback": {
      const target = targetOf(world, context);
      return timed(world, context, "its time", () => rollBack(world, context, target));
    }
    case "restart_dependencies":
      return timed(world, context, "nothing", () => dependencies(world, context));
    case "quarantine":
      return timed(world, context, "its time", () => context.end("done", "its artifacts are in quarantine"));
    case "bootstrap":
      // Another one may have had its turn while this one waited for it.
      if (context.intent.begun !== true && !mayBootstrap(world))
        return context.end("failed", "the emergency bootstrap has run on this node within the last hour");
      world.bootstrapMs = world.clock.monotonicMs();
      context.intend({ begun: true });
      return timed(world, context, "its time", () => {
        const because = `the emergency bootstrap ran by itself for ${run.workload || "the node"}`;
        world.see({ is: "told", workload: run.workload, page: true, because });
        context.end("done", "the emergency bootstrap is through");
      });
    default:
      return timed(world, context, "its time", () => context.end("done", down ? "done while it is down" : "done"));
  }
}

/** There is one disk: whoever's run makes room on it makes room for the node. */
function subjectsOf(workload: string, deed: string): string[] {
  const ofNode = workload === "" || deed === "clean_disposable" || deed === "trim_logs";
  return [...(workload === "" ? [] : [workload]), ...(ofNode ? ["node"] : [])];
}

/** Waits its time, or as the story says, and does it. */
function timed(world: NodeWorld, context: DeedContext, usually: "its time" | "nothing", deed: () => void) {
  const { action } = context.step;
  const manner = mannerOf(world, context);
  if (manner?.ends === "hangs") return;
  const takesMs = manner?.takesMs ?? (usually === "nothing" ? 0 : world.pace(paceOf(action.do)));
  world.soon(takesMs, () => {
    if (manner?.ends === "fails") return context.end("failed", "it did not work");
    deed();
  });
}

function mannerOf(world: NodeWorld, { step, run, first }: DeedContext): Manner | undefined {
  const { manners } = world;
  const whole = first ? manners.get(run.name) : undefined;
  return whole ?? manners.get(slug(step.name)) ?? manners.get(fixOf(step.action.do)) ?? manners.get(step.action.do);
}

function slug(name: string): string {
  return name.replaceAll(" ", "_");
}

function startAgain(world: NodeWorld, { run, down, again, intent, intend, end }: DeedContext, safe: boolean) {
  if (run.workload === "") return end("skipped", aboutNode);
  if (down) return end("skipped", "it is down, and its next start comes when this run has ended");
  const { instance, state } = world.actor(run.workload);
  const asked = intent.instance;
  if (again && typeof asked === "string" && instance && instance.id !== asked)
    return end("done", "it was started again already");
  if (!mayRun(state)) return end("failed", "a person wants it down");
  intend({ instance: instance?.id ?? "" });
  world.tell(run.workload, { is: "restart", who: `playbook:${run.name}`, ...(safe && { safe }) });
  end("done", "it is started again");
}

function rollBack(world: NodeWorld, context: DeedContext, target: string | undefined) {
  const { run, down, end } = context;
  if (run.workload === "") return end("skipped", aboutNode);
  if (target === undefined) return end("failed", "there is no other config of it that was healthy");
  const { config } = world.actor(run.workload);
  // What was gone back from is bad until its content changes.
  config.healthy.splice(0, config.healthy.length, ...config.healthy.filter((version) => version !== config.version));
  config.version = target;
  config.changedAtMs = world.clock.monotonicMs();
  if (down) return end("done", `back to ${target}`);
  startAgain(world, context, false);
}

/** What a rollback goes back to is chosen before it begins, and kept. */
function targetOf(world: NodeWorld, { run, intent, intend }: DeedContext): string | undefined {
  if (run.workload === "") return undefined;
  const { healthy, version } = world.actor(run.workload).config;
  const to = typeof intent.to === "string" ? intent.to : healthy.filter((other) => other !== version).at(-1);
  if (to !== undefined) intend({ to });
  return to;
}

function verified(world: NodeWorld, { run, down, end }: DeedContext, withinMs: number) {
  if (run.workload === "") return end("skipped", aboutNode);
  if (down) return end("skipped", "it is down, and its next start comes when this run has ended");
  untilWell(world, run.workload, withinMs, (well) =>
    well ? end("done", "it is well") : end("failed", `it was not well within ${withinMs} ms`),
  );
}

/** Up and healthy, at the latest after `limitMs`. */
function untilWell(world: NodeWorld, workload: string, limitMs: number, then: (well: boolean) => void): void {
  const well = isUp(world.actor(workload).state);
  const waitMs = Math.min(lookEveryMs, limitMs);
  if (well || limitMs <= 0) then(well);
  else world.soon(waitMs, () => untilWell(world, workload, limitMs - waitMs, then));
}

type Bound = Parameters<typeof isBeyond>[0];

function untilBeyond(world: NodeWorld, context: DeedContext, bound: Bound, withinMs: number): void {
  const { run, end } = context;
  const seen = { of: run.workload === "" ? {} : world.senses.figuresOf(run.workload), node: world.node };
  const waitMs = Math.min(lookEveryMs, withinMs);
  if (isBeyond(bound, seen)) end("done", figureWords(bound, seen));
  else if (withinMs > 0) world.soon(waitMs, () => untilBeyond(world, context, bound, withinMs - waitMs));
  else {
    const well = run.workload !== "" && world.actor(run.workload).state.phase.at === "running";
    const lost = figure(bound, seen) === undefined && well;
    end(lost ? "done" : "failed", figureWords(bound, seen));
  }
}

/** As the agent's own step: the real plan over the real stands. */
function dependencies(world: NodeWorld, context: DeedContext) {
  const { run, down, end, intent } = context;
  if (run.workload === "") return end("skipped", aboutNode);
  const graph = new Map([...world.actors].map(([name, { spec }]) => [name, spec.dependsOn]));
  const plan = planDependencies(
    run.workload,
    graph,
    (name) => standing(world.actor(name).state),
    down,
    (name) => isSpent(world, name),
  );
  if (plan.is === "none") return end(down || plan.because.includes("person") ? "failed" : "skipped", plan.because);
  const healed = Array.isArray(intent.healed) ? intent.healed.map(String) : [];
  bringBack(world, context, plan.steps, healed, plan.root);
}

function isSpent(world: NodeWorld, name: string): boolean {
  const { spec, state } = world.actor(name);
  return !quickLeft(spec, state, world.clock.monotonicMs());
}

/** Of a job that is done nothing is wanted. */
function standing(state: State) {
  return standsFor({ is: standsOf(state), ...(state.phase.at === "completed" && { done: true }) });
}

function bringBack(
  world: NodeWorld,
  context: DeedContext,
  steps: readonly DependencyStep[],
  healed: readonly string[],
  root: string | undefined,
): void {
  const names = steps.map(({ name }) => name).join(", ");
  const { name, do: deed } = steps.find((one) => !healed.includes(one.name)) ?? { name: "", do: "none" };
  const stand = name === "" ? "well" : standing(world.actor(name).state);
  if (name === "") context.end("done", root === undefined ? `started anew: ${names}` : `brought back: ${names}`);
  else if (stand === "stopped") context.end("failed", `${name} was stopped by a person`);
  else {
    if ((deed === "again" || stand === "down") && !isSpent(world, name))
      world.tell(name, { is: "restart", who: `playbook:${context.run.name}` });
    untilWell(world, name, context.leftMs(), (well) => {
      const now = [...healed, name];
      context.intend({ healed: now });
      if (well) bringBack(world, context, steps, now, root);
      else context.end("failed", `${name}, on which it depends, did not get well`);
    });
  }
}
