/** The triggers of a story's node: the agent's real machine, run and heard as its desk and its recovery do. */
import type { JobSpec } from "@blueflame/agent/config-sections.ts";
import { whyNotBack } from "@blueflame/agent/ladder/take-back.ts";
import { nextLookMs, step } from "@blueflame/agent/triggers/machine.ts";
import { type Event, fresh, keyOf, own, resumed, type State } from "@blueflame/agent/triggers/state.ts";
import type { Symptom } from "@blueflame/agent/triggers/symptom.ts";
import { catalogue, type Trigger } from "@blueflame/agent/triggers/trigger.ts";
import { factsOf } from "./node-facts.ts";
import type { NodeWorld } from "./node-world.ts";

/** The same job is not triggered again within this time. */
const jobAgainMs = 60_000;

/** One desk for all lives of a story's agent. */
export class TriggerDesk {
  readonly #world: NodeWorld;
  all: readonly Trigger[] = catalogue;
  jobs: readonly Pick<JobSpec, "name" | "command">[] = [];
  #state: State = fresh();
  #kept: State = fresh();
  #cancelLook: () => void = () => undefined;
  readonly #triggeredMs = new Map<string, number>();

  constructor(world: NodeWorld) {
    this.#world = world;
  }

  boot(sameBoot: boolean): void {
    this.#state = resumed(this.#kept, this.all, sameBoot);
    this.tell({ is: "look", localOffsetMs: 0 });
  }

  tell(event: Event): void {
    const world = this.#world;
    if (!world.agentAlive) return;
    const before = this.#state;
    const answer = step(this.all, before, event, world.moment());
    this.#state = answer.state;
    const { fired, cleared } = answer;
    if (answer.state.schedules !== before.schedules || fired.length + cleared.length > 0)
      this.#kept = JSON.parse(JSON.stringify(answer.state)) as State;
    world.see({ is: "triggers", step: answer });
    this.#sleep();
    for (const symptom of fired) this.#fired(symptom);
    for (const { trigger, workload } of cleared) {
      if (workload) world.tell(workload, { is: "cleared", trigger });
      else world.tellNode({ is: "cleared", trigger });
    }
  }

  /** Has it fired for the workload (empty: the node), and is not over? */
  holds(trigger: string, workload: string): boolean {
    const stand = own(this.#state.stands, keyOf(trigger, { workload }));
    return stand !== undefined && stand.at !== "pending";
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
    if (!symptom.workload) return world.tellNode({ is: "symptom", symptom, maintenance: kind === "schedule" });
    if (symptom.playbook === "rollback-deployment") {
      const { state } = world.actor(symptom.workload);
      const because = whyNotBack(factsOf(world, symptom.workload).config, {
        busy: state.incident !== undefined,
        lostAgoMs: world.clock.monotonicMs() - symptom.sinceMs,
      });
      if (because) return world.see({ is: "node", what: `${symptom.trigger} leads to nothing`, because });
    }
    world.tell(symptom.workload, { is: "symptom", symptom });
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
