/** The rows of Grace's matrix that are about one unit: how it falls sick, and how long it may take until it is well again. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { type Incident, Severity } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { signalIfThere } from "../../deploy/running.ts";
import { call, feel, type Patient, type SystemRig } from "./systems-rig.ts";
import type { Score } from "./systems-score.ts";

/** A probation (1 s) and a look (5 s) later the config is known to be healthy; and in the trial's ladder it is no recent one after a second. */
const provedMs = 8000;
const oldNewsMs = 2500;
const firstLookMs = 6000;
/** The sick give up when nobody has found them in this time. */
const patienceMs = 60_000;

/** One row of the matrix that is about a unit. */
export interface Line {
  readonly name: string;
  readonly promiseMs: number;
  readonly config?: (home: (file: string) => string) => Record<string, unknown>;
  readonly env?: (home: (file: string) => string) => Record<string, string>;
  /** Makes it sick; resolves with the wall time since which it is. */
  readonly strike: (patient: Patient, rig: SystemRig) => Promise<number>;
  readonly check?: (patient: Patient, incident: Incident, score: Score) => void;
  /** One after the other: together they would only share the machine. */
  readonly alone?: true;
}

/** The rows of the matrix that are about a unit; how each is made sick, and in which time it has to be well. */
export const lines: readonly Line[] = [
  { name: "unit silent", promiseMs: 10_000, strike: (patient) => feel(patient, "silent") },
  {
    name: "API timeouts",
    promiseMs: 30_000,
    env: () => ({ SICK_REPORT: "1" }),
    async strike(patient, rig) {
      const sinceMs = await feel(patient, "stuck");
      // Five are enough, but a starved machine asks for three times as many, and a busy agent does not take each report.
      await untilFound(rig, patient, sinceMs, 1000, () => {
        for (let n = 0; n < 18; n++) void call(patient, "GET", "/work", 10_000);
      });
      return sinceMs;
    },
    check: (_patient, incident, score) => sees(score, incident, "api-timeouts", "restart-service", Severity.HIGH),
  },
  {
    name: "high latency",
    promiseMs: 60_000,
    strike: (patient) => feel(patient, "slow?ms=1050"),
    check: (_patient, incident, score) =>
      sees(score, incident, "high-latency", "performance-optimization", Severity.MEDIUM),
  },
  { name: "CPU", promiseMs: 30_000, strike: (patient) => feel(patient, "burn?threads=4"), alone: true },
  { name: "RAM", promiseMs: 30_000, strike: (patient) => feel(patient, "leak?mb=150&max=500") },
  {
    name: "trust drop",
    promiseMs: 60_000,
    config: (home) => ({ config_files: [home("kernel.conf")] }),
    env: (home) => ({ SICK_STARTS: home("starts"), SICK_CONFIG: home("kernel.conf") }),
    async strike(patient, rig) {
      await pause(provedMs);
      // Another config, which is no news any more; and two restarts that do not work.
      writeFileSync(patient.file("kernel.conf"), '{"latencyMs": 9}\n');
      await rig.restart(patient.name);
      await rig.calm(patient.name);
      await pause(oldNewsMs);
      writeFileSync(patient.file("starts"), "1\n1\n");
      const sinceMs = await feel(patient, "crash");
      await rig.recovered(patient.name, sinceMs);
      return sinceMs;
    },
    check: (patient, _incident, score) =>
      score.holds(
        "GRC-4 trust drop",
        "the config that was healthy is back",
        /5/.test(readFileSync(patient.file("kernel.conf"), "utf8")),
      ),
  },
  {
    name: "sandbox crash",
    promiseMs: 5000,
    config: (home) => ({ artifacts: [home("kernel.artifact")] }),
    async strike(patient) {
      writeFileSync(patient.file("kernel.artifact"), "poison\n");
      return feel(patient, "crash?code=70");
    },
    check(patient, incident, score) {
      score.holds("GRC-4 sandbox crash", "the artifact is in quarantine", !existsSync(patient.file("kernel.artifact")));
      sees(score, incident, "sandbox-crash", "quarantine-artifacts", Severity.HIGH);
    },
  },
  {
    name: "error burst",
    promiseMs: 90_000,
    async strike(patient, rig) {
      await pause(firstLookMs); // what it printed before the first look at its output is not new
      const sinceMs = Date.now();
      await untilFound(rig, patient, sinceMs, firstLookMs, () => void feel(patient, "failing?lines=30"));
      return sinceMs;
    },
    check: (_patient, incident, score) => sees(score, incident, "error-burst", "run-diagnostics", Severity.MEDIUM),
  },
  {
    name: "process crash",
    promiseMs: 30_000,
    async strike(patient, rig) {
      // Before it: on a busy machine it is found dead before this process goes on.
      const sinceMs = Date.now();
      if (!signalIfThere(rig.seen(patient.name)?.pid ?? 0, "SIGKILL")) throw new Error(`${patient.name} does not run`);
      return sinceMs;
    },
  },
];

/** Does it now and every `everyMs` until an incident is opened on the patient: what is sick goes on. */
async function untilFound(rig: SystemRig, { name }: Patient, sinceMs: number, everyMs: number, one: () => void) {
  let over = false;
  const found = rig.opened(name, sinceMs, patienceMs).finally(() => {
    over = true;
  });
  for (let dueMs = 0; !over; await pause(50)) {
    if (performance.now() < dueMs) continue;
    dueMs = performance.now() + everyMs;
    one();
  }
  await found;
}

/** GRC-5: the incident says by which trigger, of which unit, with which playbook, how bad. */
function sees(score: Score, incident: Incident, trigger: string, playbook: string, severity: Severity): void {
  const { trigger: by, playbook: asked, severity: bad, workload } = incident;
  const said = by === trigger && asked === playbook && bad === severity && workload !== "";
  score.holds("GRC-5 incident", "trigger, unit, playbook and severity are told", said, { by, asked, bad, workload });
}
