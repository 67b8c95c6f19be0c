import type { TriggerInfo } from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import type { Cancel, Clock } from "@blueflame/shared/time/clock.ts";
import { nextLookMs, step } from "../triggers/machine.ts";
import { triggerInfos } from "../triggers/present.ts";
import {
  type Condition,
  conditionOf,
  type Event,
  fresh,
  mustOutlive,
  resumed,
  type State,
  type Step,
} from "../triggers/state.ts";
import type { Trigger } from "../triggers/trigger.ts";

/** Two looks of one moment are one. */
const nextAtLeastMs = 1;

/** What the triggers are run with. No callback may throw. */
export interface TriggerDeskParts {
  readonly triggers: readonly Trigger[];
  readonly clock: Clock;
  /** What an earlier agent process has kept, and whether it was in this boot. */
  readonly stored: { readonly state: State; readonly sameBoot: boolean } | undefined;
  /** Local time less UTC at a wall time. */
  readonly offsetMs: (wallMs: number) => number;
  /** What fired, was cleared or noted; called only when something was. */
  readonly told: (step: Step) => void;
  /** Keeps the state; called when something of it must outlive the process. */
  readonly keep: (state: State) => void;
}

/** Runs the triggers' machine: one event after the other, and a look when time alone may change something. Whoever made it closes it. */
export class TriggerDesk {
  readonly #parts: TriggerDeskParts;
  #state: State;
  #cancel: Cancel = () => undefined;
  #closed = false;

  constructor(parts: TriggerDeskParts) {
    this.#parts = parts;
    const { stored, triggers, clock } = parts;
    this.#state = stored ? resumed(stored.state, triggers, stored.sameBoot, clock.monotonicMs()) : fresh();
    this.#look();
  }

  tell(event: Event): void {
    if (this.#closed) return;
    const { triggers, clock, told, keep } = this.#parts;
    const before = this.#state;
    const now = { ms: clock.monotonicMs(), wallMs: clock.wallMs() };
    const answer = step(triggers, before, event, now);
    this.#state = answer.state;
    const { fired, cleared, noted, lapsed, holding } = answer;
    if (fired.length + cleared.length + noted.length + lapsed.length + holding.length > 0) told(answer);
    if (mustOutlive(before, answer)) keep(this.#state); // who was told may have told something else already
    this.#sleep();
  }

  /** Where it stands for the workload (empty: the node), once it has fired. */
  condition(trigger: string, workload: string): Condition {
    return conditionOf(this.#state, trigger, { workload });
  }

  infos(): TriggerInfo[] {
    const { triggers, clock } = this.#parts;
    return triggerInfos(triggers, this.#state, clock.monotonicMs());
  }

  close(): void {
    this.#closed = true;
    this.#cancel();
  }

  #look(): void {
    this.tell({ is: "look", localOffsetMs: this.#parts.offsetMs(this.#parts.clock.wallMs()) });
  }

  #sleep(): void {
    const { triggers, clock } = this.#parts;
    const nowMs = clock.monotonicMs();
    const dueMs = nextLookMs(triggers, this.#state, { ms: nowMs, wallMs: clock.wallMs() });
    this.#cancel();
    this.#cancel = clock.wakeAt(Math.max(dueMs, nowMs + nextAtLeastMs), () => {
      if (!this.#closed) this.#look();
    });
  }
}
