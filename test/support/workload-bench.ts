import { type Facts, noFacts } from "@blueflame/agent/diagnosis/facts.ts";
import { nextLookMs, step } from "@blueflame/agent/supervise/machine.ts";
import type { ProbeSpec, WorkloadSpec } from "@blueflame/agent/supervise/spec.ts";
import {
  type Effect,
  type Event,
  fresh,
  type IncidentFacts,
  instanceOf,
  type State,
} from "@blueflame/agent/supervise/state.ts";

/** A liveness probe that counts after two failures. */
export const livenessProbe: ProbeSpec = {
  name: "ping",
  use: "liveness",
  everyMs: 1000,
  timeoutMs: 1000,
  failures: 2,
  ask: { by: "tcp", host: "127.0.0.1", port: 1 },
};

/** Runs step() as the driver would, on virtual time, and writes down what happens. */
export function bench(spec: WorkloadSpec, state: State = fresh("boot-1", 7)) {
  let nowMs = 1_000_000;
  let ids = 0;
  let pids = 100;
  let remedyId = "";
  const log: string[] = [];
  const incidents: IncidentFacts[] = [];
  const records: { before: State; event: Event; now: { ms: number; wallMs: number; id: string }; output: string }[] =
    [];
  const at = () => `${Math.round(nowMs - 1_000_000)}`;
  const self = {
    log,
    incidents,
    records,
    answers: true,
    /** Off: no records are kept, for a test that lives through days and reads none. */
    recording: true,
    /** What an examination finds. */
    facts: noFacts as Facts,
    /** Remedies that answer at once, and how; one that is not named stays at work until the test answers. */
    remedies: { full_bootstrap: true } as Record<string, boolean>,
    remedyId: () => remedyId,
    get state() {
      return state;
    },
    get phase() {
      return state.phase.at;
    },
    id: () => instanceOf(state.phase)?.id ?? "",
    tell(event: Event): void {
      const now = { ms: nowMs, wallMs: nowMs + 1e12, id: `id-${ids++}` };
      const before = state;
      const result = step(spec, state, event, now);
      if (self.recording) records.push({ before, event, now, output: JSON.stringify(result) });
      state = result.state;
      for (const effect of result.effects) self.run(effect);
    },
    run(effect: Effect): void {
      const isDeed = effect.do === "signal" || effect.do === "clean" || effect.do === "remedy" || effect.do === "spawn";
      if (isDeed && self.answers) self.tell({ is: "acted" });
      if (effect.do === "incident") {
        incidents.push(effect.facts);
        log.push(`${at()} incident ${effect.facts.at}`);
      } else if (effect.do === "audit") {
        log.push(`${at()} ${effect.action} ${effect.outcome}`);
      } else if (effect.do === "signal") {
        log.push(`${at()} signal ${effect.signal}`);
      } else if (effect.do === "clean") {
        log.push(`${at()} clean`);
        if (self.answers) self.tell({ is: "cleaned", killed: 0, removed: [], tookMs: 1 });
      } else if (effect.do === "examine") {
        if (self.answers) self.tell({ is: "examined", facts: self.facts });
      } else if (effect.do === "remedy") {
        const name = effect.remedy.by === "rung" ? effect.remedy.rung : effect.remedy.playbook;
        log.push(`${at()} remedy ${name}`);
        remedyId = effect.id;
        const ok = self.remedies[name];
        if (self.answers && ok !== undefined)
          self.tell({ is: "remedied", id: effect.id, ok, because: ok ? "done" : "it did not work" });
      } else if (effect.do === "cancelRemedy") {
        log.push(`${at()} cancel remedy`);
      } else if (self.answers) {
        log.push(`${at()} spawn${effect.safe ? " in safe mode" : ""}`);
        const instance = {
          id: effect.id,
          pid: pids++,
          startTicks: 1,
          sinceMs: nowMs,
          sinceWallMs: nowMs + 1e12,
          adopted: false,
        };
        self.tell({ is: "spawned", instance });
      }
    },
    crash(code = 1): void {
      self.tell({ is: "exited", id: self.id(), code, signal: null });
    },
    /** Lets time pass; every deadline gets its look, and `each` is called once a second. */
    pass(ms: number, each?: () => void): void {
      const untilMs = nowMs + ms;
      let beatAtMs = nowMs + 1000;
      while (nowMs < untilMs) {
        const due = nextLookMs(spec, state);
        nowMs = Math.min(untilMs, beatAtMs, due !== undefined && due > nowMs ? due : Number.POSITIVE_INFINITY);
        if (nowMs === beatAtMs) {
          each?.();
          beatAtMs += 1000;
        }
        self.tell({ is: "look" });
      }
    },
    now: () => nowMs,
    jump(ms: number): void {
      nowMs += ms;
    },
  };
  return self;
}
