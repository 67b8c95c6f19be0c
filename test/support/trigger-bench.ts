import { nextLookMs, step } from "@blueflame/agent/triggers/machine.ts";
import type { Figures, Observation } from "@blueflame/agent/triggers/observation.ts";
import { type Event, fresh, type State, type Step, subjectWords } from "@blueflame/agent/triggers/state.ts";
import { catalogue, type Trigger } from "@blueflame/agent/triggers/trigger.ts";

/** What the sensors see of a quiet machine with one healthy workload, to be overridden by a test. */
export function quiet(over: Partial<Observation> = {}): Observation {
  return {
    node: {
      cpu_busy_ratio: 0.1,
      ours_cpu_ratio: 0.05,
      load_1m_ratio: 0.2,
      memory_used_ratio: 0.3,
      ours_memory_ratio: 0.1,
      disk_used_ratio: 0.4,
    },
    workloads: { engine: healthy() },
    lateJobs: {},
    staleSources: [],
    heaviestStranger: "",
    ...over,
  };
}

/** The figures of a healthy workload. */
export function healthy(over: Figures = {}): Figures {
  return { uptime_ms: 3_600_000, beat_age_ms: 500, p95_latency_ms: 40, trust: 0.9, process_memory_bytes: 5e7, ...over };
}

/** What the bench is made of; times are of the virtual clock. */
export interface BenchOptions {
  readonly triggers?: readonly Trigger[];
  readonly state?: State;
  /** Between two observations; 5 s as the sensors' default. */
  readonly everyMs?: number;
  /** When the first observation comes. */
  readonly firstMs?: number;
  readonly wallMs?: number;
  readonly localOffsetMs?: number;
}

/** Where the bench's clock begins: monotonic time is never 0 on a real machine. */
export const epochMs = 1_000_000;

/**
 * Runs step() as the driver would, on virtual time: an observation every 5 s, a look whenever `nextLookMs` says so. Each state goes
 * through JSON. What comes out is written down with the seconds since the bench's begin: `8 fired cpu-high node`.
 */
export function triggerBench(options: BenchOptions = {}) {
  const { triggers = catalogue, everyMs = 5000, firstMs = 0, wallMs = Date.UTC(2026, 0, 5, 12) } = options;
  let nowMs = epochMs;
  let wallOffsetMs = wallMs - nowMs;
  let seenAtMs = epochMs + firstMs;
  let state = options.state ?? fresh();
  let see: (sinceMs: number) => Observation | undefined = () => quiet();
  const log: string[] = [];
  const steps: Step[] = [];
  const now = () => ({ ms: nowMs, wallMs: nowMs + wallOffsetMs });
  const self = {
    log,
    steps,
    localOffsetMs: options.localOffsetMs ?? 0,
    get state() {
      return state;
    },
    get sinceMs() {
      return nowMs - epochMs;
    },
    now,
    /** From now on the sensors see this; undefined: they are silent. */
    see(what: Observation | ((sinceMs: number) => Observation | undefined)): void {
      see = typeof what === "function" ? what : () => what;
    },
    stepWall(byMs: number): void {
      wallOffsetMs += byMs;
    },
    tell(event: Event): Step {
      const answer = step(triggers, state, event, now());
      state = JSON.parse(JSON.stringify(answer.state)) as State;
      steps.push(answer);
      const at = `${(nowMs - epochMs) / 1000}`;
      for (const { trigger, ...subject } of answer.fired) log.push(`${at} fired ${trigger} ${subjectWords(subject)}`);
      for (const { trigger, ...subject } of answer.cleared)
        log.push(`${at} cleared ${trigger} ${subjectWords(subject)}`);
      for (const { trigger, ...subject } of answer.noted) log.push(`${at} noted ${trigger} ${subjectWords(subject)}`);
      return answer;
    },
    look: () => self.tell({ is: "look", localOffsetMs: self.localOffsetMs }),
    /** Lets time pass. */
    pass(ms: number): void {
      const untilMs = nowMs + ms;
      for (;;) {
        const lookMs = nextLookMs(triggers, state, now());
        const nextMs = Math.min(seenAtMs, lookMs);
        if (nextMs > untilMs) break;
        nowMs = Math.max(nowMs, nextMs);
        if (nowMs >= seenAtMs) {
          const observation = see(nowMs - epochMs);
          if (observation) self.tell({ is: "observed", observation });
          seenAtMs += everyMs;
        }
        self.look();
        if (nextLookMs(triggers, state, now()) <= nowMs) throw new Error(`a look at ${nowMs} asks for another at once`);
      }
      nowMs = untilMs;
    },
    /** The machine runs on, and the agent does not: nothing is observed or looked at. */
    stall(ms: number): void {
      nowMs += ms;
      while (seenAtMs < nowMs) seenAtMs += everyMs;
    },
  };
  return self;
}
