import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { type OutputOptions, printOne, printRows } from "@blueflame/shared/cli/print.ts";
import { formatDuration } from "@blueflame/shared/cli/text.ts";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import {
  WorkloadPhase,
  type WorkloadStatus,
  WorkloadStatusSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import { toJson } from "@bufbuild/protobuf";
import { answers } from "../api/socket.driver.ts";
import { places } from "../constants.ts";
import { KillSwitch } from "../recovery/kill-switch.driver.ts";
import { tellWatchdog, watchdogGone } from "../wanted.driver.ts";
import { ask, type Desk, namesOf, pickWorkload, whilePatient } from "./ask.driver.ts";
import { cameOf, type Verb } from "./came-of.ts";
import { personHere } from "./person.ts";
import { socketOf } from "./place.ts";
import { workloadColumns } from "./rows.ts";

/** The flags of what changes something. */
export interface ControlOptions extends OutputOptions {
  readonly dataDir: string;
  readonly timeoutMs: number;
}

const goneWithinMs = 10_000;
/** While a workload comes up or goes down, it is looked at this often. */
const lookEveryMs = 100;
/** An agent that does not answer such a look in this time is asked again. */
const answerWithinMs = 5000;

/** The flags of start, stop and restart. */
export interface VerbOptions extends ControlOptions {
  /** False: answer as soon as the agent has it. */
  readonly wait: boolean;
}

/**
 * Starts, stops or restarts a workload, waits until it is up (ready) or down, and prints it as it is then. Rejects with the agent's
 * Fault, with WORKLOAD_FAILED when it does not come up, and with TIMED_OUT.
 */
export async function control(verb: Verb, given: string | undefined, options: VerbOptions): Promise<void> {
  const untilMs = performance.now() + options.timeoutMs;
  const { before, now } = await whilePatient((signal) => act(verb, given, options, untilMs, signal));
  const json = (row: WorkloadStatus) => toJson(WorkloadStatusSchema, row);
  printRows([now], workloadColumns(Date.now()), { ...options, json });
  const came = cameOf(verb, before, now);
  if (!options.wait || came === "done") return;
  const words = `${WorkloadPhase[now.phase]?.toLowerCase() ?? "its phase is unknown"}: ${now.because}`;
  if (came === "failed") throw new Fault("WORKLOAD_FAILED", `'${now.name}' did not come up; it is ${words}`);
  const wanted = verb === "stop" ? "down" : "up";
  throw new Fault(
    "TIMED_OUT",
    `'${now.name}' is not ${wanted} after ${formatDuration(options.timeoutMs)}; it is ${words}`,
  );
}

async function act(
  verb: Verb,
  given: string | undefined,
  { dataDir, timeoutMs, wait }: VerbOptions,
  untilMs: number,
  signal: AbortSignal,
): Promise<{ readonly before: WorkloadStatus; readonly now: WorkloadStatus }> {
  const { before, answer } = await ask(dataDir, async (desk) => {
    const status = await desk.getStatus({}, { signal });
    const name = pickWorkload(given, namesOf(status));
    const found = status.workloads.find((one) => one.name === name);
    return { before: found, answer: await call(desk, verb, name, { timeoutMs, signal }) };
  });
  if (before === undefined || answer === undefined)
    throw new Fault("LINK_PROTOCOL", "the agent's answer has no workload");
  let now = answer;
  while (wait && cameOf(verb, before, now) === "waits" && performance.now() < untilMs) {
    await pause(lookEveryMs, undefined, { signal });
    now = (await look(dataDir, answer.name, signal)) ?? now;
  }
  return { before, now };
}

/** Undefined while no agent answers: its watchdog starts the next one, and that one knows what was asked for. */
async function look(dataDir: string, name: string, signal: AbortSignal): Promise<WorkloadStatus | undefined> {
  const asked = ask(dataDir, (desk) => desk.getStatus({}, { signal, timeoutMs: answerWithinMs }));
  const status = await asked.catch((error: unknown) => {
    if (isFault(error, "AGENT_UNREACHABLE") || isFault(error, "TIMED_OUT")) return undefined;
    throw error;
  });
  return status?.workloads.find((one) => one.name === name);
}

async function call(desk: Desk, verb: Verb, name: string, options: { timeoutMs: number; signal: AbortSignal }) {
  const request = { name, person: personHere() };
  switch (verb) {
    case "start":
      return (await desk.startWorkload(request, options)).workload;
    case "stop":
      return (await desk.stopWorkload(request, options)).workload;
    case "restart":
      return (await desk.restartWorkload(request, options)).workload;
  }
}

/**
 * Stops all workloads and the agent; resolves when nobody answers on its socket any more, and its watchdog has left with it. Without an
 * agent to ask, what a person wants is kept all the same: nobody starts one before `up`.
 */
export async function down(options: ControlOptions): Promise<void> {
  const { stopped } = await whilePatient((signal) =>
    ask(options.dataDir, (desk) => desk.down({ person: personHere() }, { timeoutMs: options.timeoutMs, signal })),
  ).catch(async (error: unknown) => {
    if (!isFault(error, "AGENT_UNREACHABLE") || !(await tellWatchdog(options.dataDir, "rest"))) throw error;
    throw new Fault(
      "AGENT_UNREACHABLE",
      `${error.saw}; its watchdog was told to start none, what runs was not stopped`,
    );
  });
  for (let waitedMs = 0; await answers(socketOf(options.dataDir)); waitedMs += 50) {
    if (waitedMs >= goneWithinMs)
      throw new Fault("TIMED_OUT", "the workloads are stopped, but the agent still answers");
    await pause(50);
  }
  await watchdogGone(options.dataDir);
  const columns = [{ title: "STOPPED", value: (row: { stopped: number }) => String(row.stopped) }];
  if ((options.output ?? "table") !== "table")
    return printOne({ stopped }, columns, { ...options, json: (row) => row });
  process.stdout.write(`${stopped === 1 ? "1 workload" : `${stopped} workloads`} stopped, the agent has ended\n`);
}

/**
 * Turns the kill switch, and says how many workloads that stopped or started. Without an agent to ask it is turned all the same: its
 * file is what agent, watchdog and bootstrap obey. Rejects with STORE_WRITE_FAILED, and with AGENT_UNREACHABLE where no agent has run.
 */
export async function killSwitch(on: boolean, options: ControlOptions & { readonly reason: string }): Promise<void> {
  const request = { on, person: personHere(), reason: options.reason };
  const asked = () =>
    whilePatient((signal) =>
      ask(options.dataDir, (desk) => desk.setKillSwitch(request, { timeoutMs: options.timeoutMs, signal })),
    );
  const nobody = (error: unknown) => {
    if (isFault(error, "AGENT_UNREACHABLE") && existsSync(join(options.dataDir, places.store))) return undefined;
    throw error;
  };
  let answered = await asked().catch(nobody);
  if (!answered) {
    turnAlone(options.dataDir, request);
    // An agent that opens its door later looks at the file then; one that has opened it meanwhile may have looked before.
    answered = await asked().catch(nobody);
  }
  const workloads = answered?.workloads;
  const answer = { killSwitch: on, ...(workloads !== undefined && { workloads }) };
  if ((options.output ?? "table") !== "table") return printOne(answer, [], { ...options, json: (row) => row });
  process.stdout.write(`the kill switch is ${on ? "on" : "off"}: ${outcomeOf(on, workloads)}\n`);
}

function turnAlone(dataDir: string, { on, person, reason }: { on: boolean; person: string; reason: string }): void {
  const file = new KillSwitch(dataDir);
  if (on) file.turnOn({ person, reason, at: new Date().toISOString() });
  else file.turnOff();
}

function outcomeOf(on: boolean, workloads: number | undefined): string {
  if (workloads === undefined)
    return on
      ? "no agent runs here, so nothing was stopped; nothing is started or healed until `kill-switch off`"
      : "no agent runs here; the next one starts the workloads";
  const things = workloads === 1 ? "1 workload" : `${workloads} workloads`;
  return on ? `${things} stopped; nothing is started or healed until \`kill-switch off\`` : `${things} started again`;
}
