import { readFileSync } from "node:fs";
import type { HookSignal } from "../playbooks/playbook.ts";
import { procStat } from "../supervise/proc.driver.ts";
import { quickLeft } from "../supervise/recovery.ts";
import type { Around } from "./around.ts";
import { figure, figureWords, isBeyond } from "./conditions.ts";
import { type DependencyStep, type Graph, planDependencies, standsFor } from "./dependencies.ts";
import { pause } from "./patience.driver.ts";
import { done, failed, type Outcome, outcomeOf, type Performers, type StepContext, skipped } from "./performer.ts";
import type { Permission } from "./permission.driver.ts";
import { leftToWait } from "./progress.ts";
import type { Versions } from "./versions.driver.ts";

/** A figure is looked at this often while it is waited for. */
const lookEveryMs = 200;
/** Numbers of signals on Linux, for the mask of those that a process handles. */
const numbers: Readonly<Record<HookSignal, number>> = { SIGHUP: 1, SIGUSR1: 10, SIGUSR2: 12 };
const itsNextStart = "it is down, and its next start comes when this run has ended";

/** Steps that handle processes and configs. */
export function processSteps(
  around: Around,
  versions: Versions,
  permission: Permission,
): Pick<Performers, "restart" | "restart_dependencies" | "rollback" | "safe_mode" | "signal" | "wait" | "verify"> {
  const restart = (context: StepContext, mode: "normal" | "safe", because: string) =>
    startAgain(around, permission, context, mode, because);
  return {
    restart: (_action, context) => restart(context, "normal", `${context.name} asks for it`),
    safe_mode: async (_action, context) => {
      if (context.workload !== "" && !context.spec?.safeMode) return failed("it has no safe mode");
      return restart(context, "safe", `${context.name} asks for its safe mode`);
    },
    restart_dependencies: (_action, context) => restartDependencies(around, permission, context),
    rollback: async (_action, context) => {
      const outcome = await rollBack(versions, permission, context);
      if (outcome.outcome !== "done" || context.down) return outcome;
      const started = await restart(context, "normal", outcome.because);
      return started.outcome === "failed" ? started : { ...started, because: `${outcome.because}; ${started.because}` };
    },
    signal: async ({ signal }, context) => sendSignal(around, permission, context, signal),
    wait: ({ ms }, context) => waitOut(around, context, ms),
    verify: async ({ bound, withinMs }, context) => {
      if (bound) return untilBeyond(around, context, bound, withinMs);
      if (context.workload === "") return skipped("it is about a workload, and this run is about the node");
      if (context.down) return skipped(itsNextStart);
      const well = await around.untilWell(context.workload, withinMs, context.signal);
      return well ? done("it is well") : failed(`it was not well within ${withinMs} ms`);
    },
  };
}

/** Until a moment that is chosen once: the time in which no agent was there counts. */
async function waitOut(around: Around, context: StepContext, ms: number): Promise<Outcome> {
  const { clock, bootId } = around;
  const now = { ms: clock.monotonicMs(), wallMs: clock.wallMs(), bootId };
  const leftMs = leftToWait(context.intent, ms, now);
  await context.intend({ bootId, untilMs: now.ms + leftMs, untilWallMs: now.wallMs + leftMs });
  const stillMs = Math.max(0, now.ms + leftMs - clock.monotonicMs());
  return (await pause(clock, stillMs, context.signal)) ? done(`waited ${ms} ms`) : failed("cancelled");
}

async function startAgain(
  around: Around,
  permission: Permission,
  context: StepContext,
  mode: "normal" | "safe",
  because: string,
): Promise<Outcome> {
  const { workload } = context;
  if (workload === "") return skipped("it is about a workload, and this run is about the node");
  if (context.down) return skipped(itsNextStart);
  await permission.deed("restart", workload, { does: "handle_process" });
  const instance = around.stand(workload).instance?.id ?? "";
  const asked = context.intent.instance;
  if (context.again && typeof asked === "string" && instance !== "" && instance !== asked)
    return done("it was started again already");
  await context.intend({ instance });
  return outcomeOf(await around.restart(workload, mode, because));
}

async function rollBack(versions: Versions, permission: Permission, context: StepContext): Promise<Outcome> {
  const { workload, incidentId, name } = context;
  if (workload === "") return skipped("it is about a workload, and this run is about the node");
  permission.step("rollback", workload);
  const { from, to } = context.intent;
  const chosen = typeof from === "string" && typeof to === "string" ? { from, to } : await versions.target(workload);
  if (!chosen) return failed("there is no other config of it that was healthy");
  await context.intend(chosen);
  const because = incidentId === "" ? `${name} asks for it` : `${name} asks for it in incident ${incidentId}`;
  const result = await versions.rollBack(workload, chosen.from, chosen.to, because, !toldByIncident(context));
  return { ...outcomeOf(result), after: { version: versions.facts(workload).version } };
}

/** The rung is a part of its incident, whose alert says that it was rolled back and to what (agent/records/alert.ts). */
function toldByIncident({ incidentId, name }: StepContext): boolean {
  return incidentId !== "" && name === "config_rollback";
}

// ── dependencies ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** The graph as the config has it: a rollback never changes who depends on whom. */
export function graphOf({ specs }: Pick<Around, "specs">): Graph {
  return new Map(specs.map(({ name, dependsOn }) => [name, dependsOn]));
}

async function restartDependencies(around: Around, permission: Permission, context: StepContext): Promise<Outcome> {
  const { workload } = context;
  if (workload === "") return skipped("it is about a workload, and this run is about the node");
  const stand = (name: string) => standsFor(around.stand(name));
  // As a rung it is asked for because nothing else helped; in a playbook what is well is left alone.
  const spent = (name: string) => isSpent(around, name);
  const plan = planDependencies(workload, graphOf(around), stand, context.down, spent);
  if (plan.is === "none")
    return context.down || plan.because.includes("person") ? failed(plan.because) : skipped(plan.because);
  const healed: string[] = Array.isArray(context.intent.healed) ? context.intent.healed.map(String) : [];
  for (const step of plan.steps) {
    if (healed.includes(step.name)) continue;
    const problem = await bringBack(around, permission, context, step);
    if (problem) return failed(plan.root === undefined ? problem : `${problem} (the root is ${plan.root})`);
    healed.push(step.name);
    await context.intend({ healed });
  }
  const names = plan.steps.map(({ name }) => name).join(", ");
  return done(plan.root === undefined ? `started anew, in order: ${names}` : `brought back, in order: ${names}`);
}

/** It was started as often lately as its config lets it: ten dependents of one root count together. */
function isSpent({ specs, stand, clock }: Around, name: string): boolean {
  const spec = specs.find((one) => one.name === name);
  return spec !== undefined && !quickLeft(spec, { recentMs: stand(name).recentMs ?? [] }, clock.monotonicMs());
}

/** Answers why it is not well again. */
async function bringBack(
  around: Around,
  permission: Permission,
  context: StepContext,
  step: DependencyStep,
): Promise<string | undefined> {
  const { name } = step;
  // Its own machine may have begun meanwhile: one healer at a time.
  const now = around.stand(name).is;
  if (now === "stopped") return `${name} was stopped by a person`;
  if ((step.do === "again" || now === "down") && !isSpent(around, name)) {
    await permission.deed("restart_dependencies", name, { does: "handle_process" });
    const asked = await around.restart(name, "normal", `${context.workload} depends on it and does not recover`);
    if (!asked.ok) return `${name} was not started again: ${asked.because}`;
  }
  const well = await around.untilWell(name, context.leftMs(), context.signal);
  return well ? undefined : `${name}, on which it depends, did not get well`;
}

// ── signals and figures ──────────────────────────────────────────────────────────────────────────────────────────────

/** Only to the main process, only if it is still that process, and only what it handles: it would die of anything else. */
async function sendSignal(
  around: Around,
  permission: Permission,
  context: StepContext,
  signal: HookSignal,
): Promise<Outcome> {
  const { workload } = context;
  if (workload === "") return skipped("it is about a workload, and this run is about the node");
  const { instance } = around.stand(workload);
  if (!instance) return skipped("it does not run");
  await permission.deed("signal", workload, { does: "handle_process" });
  if (procStat(instance.pid)?.startTicks !== instance.startTicks)
    return skipped(`pid ${instance.pid} is not that process any more`);
  if (!handles(instance.pid, signal)) return skipped(`it does not handle ${signal}, and would end by it`);
  try {
    process.kill(instance.pid, signal);
    return done(`${signal} was sent to pid ${instance.pid}`);
  } catch (error) {
    return failed(`${signal} could not be sent: ${(error as Error).message}`);
  }
}

/** By the mask of caught signals in proc_pid_status(5). Where there is none, nothing is known, and so it is not sent. */
function handles(pid: number, signal: HookSignal): boolean {
  try {
    const mask = /^SigCgt:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1] ?? "0";
    return (BigInt(`0x${mask}`) >> BigInt(numbers[signal] - 1)) % 2n === 1n;
  } catch {
    return false;
  }
}

type Bound = Parameters<typeof isBeyond>[0];

async function untilBeyond(around: Around, context: StepContext, bound: Bound, withinMs: number): Promise<Outcome> {
  const { workload, signal } = context;
  const { clock } = around;
  const seen = () => ({ of: workload === "" ? {} : around.figures(workload), node: around.figures("") });
  const untilMs = clock.monotonicMs() + withinMs;
  for (;;) {
    const now = seen();
    if (isBeyond(bound, now)) return done(figureWords(bound, now));
    if (clock.monotonicMs() >= untilMs) break;
    if (!(await pause(clock, Math.min(lookEveryMs, untilMs - clock.monotonicMs()), signal))) return failed("cancelled");
  }
  const last = seen();
  // A restart takes the figures away until somebody asks again: then its health is what can be told.
  const lost = figure(bound, last) === undefined && workload !== "" && around.stand(workload).is === "well";
  return lost
    ? done(`${figureWords(bound, last)}; it is well`)
    : failed(`${figureWords(bound, last)} after ${withinMs} ms`);
}
