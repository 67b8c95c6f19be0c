/** The triggers of a story's node: the agent's real machine, run and heard as its desk and its recovery do. */
import type { JobSpec } from "@blueflame/agent/config/sections.ts";
import { SymptomDesk } from "@blueflame/agent/recovery/symptom-desk.ts";
import { nextLookMs, step } from "@blueflame/agent/triggers/machine.ts";
import {
  conditionOf,
  type Event,
  fresh,
  isUsualOld,
  mustOutlive,
  resumed,
  type State,
} from "@blueflame/agent/triggers/state.ts";
import type { Symptom } from "@blueflame/agent/triggers/symptom.ts";
import { catalogue, type Trigger } from "@blueflame/agent/triggers/trigger.ts";
import { factsOf } from "./node-facts.ts";
import type { NodeWorld } from "./node-world.ts";

/** The same job is not triggered again within this time. */
const jobAgainMs = 60_000;

/** One desk for all lives of a story's agent. */
export class TriggerDesk {
  readonly #world: NodeWorld;
  readonly #symptoms: SymptomDesk;
  all: readonly Trigger[] = catalogue;
  jobs: readonly Pick<JobSpec, "name" | "command">[] = [];
  #state: State = fresh();
  #kept: State = fresh();
  #keptAs = { usual: this.#state.usual, ms: 0 };
  #cancelLook: () => void = () => undefined;
  readonly #triggeredMs = new Map<string, number>();

  constructor(world: NodeWorld) {
    this.#world = world;
    this.#symptoms = new SymptomDesk({
      machines: () => ({
        names: () => [...world.actors.keys()],
        state: (name) => world.actor(name).state,
        post: (name, event) => world.tell(name, event),
      }),
      nowMs: () => world.clock.monotonicMs(),
      configOf: (name, then) => then(factsOf(world, name).config),
      condition: (trigger, name) => conditionOf(this.#state, trigger, { workload: name }),
      isOwn: (playbook) => world.playbooks.get(playbook)?.added === true,
      demoted: (name) => world.demoted(name),
      lowForMs: (name) => world.trust(name).lowForMs,
      noted: ({ trigger }, because) => world.see({ is: "node", what: `${trigger} leads to nothing`, because }),
    });
  }

  boot(sameBoot: boolean): void {
    this.#state = resumed(this.#kept, this.all, sameBoot, this.#world.clock.monotonicMs());
    this.tell({ is: "look", localOffsetMs: 0 });
  }

  tell(event: Event): void {
    const world = this.#world;
    if (!world.agentAlive) return;
    const before = this.#state;
    const answer = step(this.all, before, event, world.moment());
    this.#state = answer.state;
    const { fired, cleared } = answer;
    const nowMs = world.clock.monotonicMs();
    if (mustOutlive(before, answer) || isUsualOld(this.#keptAs.usual, this.#keptAs.ms, answer.state, nowMs)) {
      this.#kept = JSON.parse(JSON.stringify(answer.state)) as State;
      this.#keptAs = { usual: answer.state.usual, ms: nowMs };
    }
    world.see({ is: "triggers", step: answer });
    this.#sleep();
    for (const symptom of fired) this.#fired(symptom);
    if (event.is === "observed" && !world.killSwitch) this.#symptoms.observed();
    this.#symptoms.told(answer);
    for (const { trigger, workload } of cleared) if (!workload) world.tellNode({ is: "cleared", trigger });
  }

  /** The agent has started: who waits for what does not hold any more waits no longer. */
  settle(ofNode: readonly string[]): void {
    this.#symptoms.settle();
    for (const trigger of ofNode)
      if (conditionOf(this.#state, trigger, { workload: "" }) === "over")
        this.#world.tellNode({ is: "cleared", trigger });
  }

  #fired(symptom: Symptom) {
    const world = this.#world;
    const kind = this.all.find(({ name }) => name === symptom.trigger)?.kind;
    if (kind === "crash" || kind === "frozen" || kind === "sandbox") return;
    if (kind === "job_late") return world.killSwitch ? undefined : this.#lateJob();
    if (symptom.workload && world.killSwitch) {
      const because = `${symptom.trigger}: ${symptom.because}; the kill switch is on: nothing is done about it`;
      return world.see({ is: "told", workload: symptom.workload, page: symptom.severity === "critical", because });
    }
    if (!symptom.workload) {
      world.tellNode({ is: "symptom", symptom, maintenance: kind === "schedule" });
      return world.killSwitch ? undefined : this.#symptoms.blame(symptom);
    }
    this.#symptoms.take(symptom, kind);
  }

  /** As the agent: started where it has a command, else told. */
  #lateJob(): void {
    const world = this.#world;
    const nowMs = world.clock.monotonicMs();
    for (const job of Object.keys(world.senses.lateJobs)) {
      const lastMs = this.#triggeredMs.get(job) ?? Number.NEGATIVE_INFINITY;
      if (!this.jobs.find(({ name }) => name === job)?.command) {
        world.see({ is: "node", what: `job ${job}`, because: "it has no command: somebody else has to run it" });
      } else if (nowMs >= lastMs + jobAgainMs) this.trigger(job);
    }
  }

  trigger(job: string) {
    const world = this.#world;
    this.#triggeredMs.set(job, world.clock.monotonicMs());
    world.see({ is: "node", what: `job ${job}`, because: "it is triggered" });
    const manner = world.manners.get(job);
    if (manner?.ends === "hangs") return;
    world.later(manner?.takesMs ?? world.pace("job"), () => {
      if (manner?.ends === "fails") return world.see({ is: "node", what: `job ${job}`, because: "it failed" });
      delete world.senses.lateJobs[job];
      world.see({ is: "node", what: `job ${job}`, because: "it is done" });
    });
  }

  #sleep(): void {
    const { clock } = this.#world;
    const nowMs = clock.monotonicMs();
    const dueMs = nextLookMs(this.all, this.#state, { ms: nowMs, wallMs: clock.wallMs() });
    this.#cancelLook();
    this.#cancelLook = clock.wakeAt(Math.max(dueMs, nowMs + 1), () => this.tell({ is: "look", localOffsetMs: 0 }));
  }
}
