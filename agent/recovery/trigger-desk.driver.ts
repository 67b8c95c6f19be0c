import type { TriggerInfo } from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import type { Cancel, Clock } from "@blueflame/shared/time/clock.ts";
import { nextLookMs, step } from "../triggers/machine.ts";
import { triggerInfos } from "../triggers/present.ts";
import {
  type Condition,
  conditionOf,
  type Event,
  fresh,
  isUsualOld,
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
  /** Keeps the state; called when something of it must outlive the process, also while it is closed. */
  readonly keep: (state: State) => void;
}

/** Runs the triggers' machine: one event after the other, and a look when time alone may change something. Whoever made it closes it. */
export class TriggerDesk {
  readonly #parts: TriggerDeskParts;
  #state: State;
  /** What is usual, as it was kept last. */
  #kept: { readonly usual: State["usual"]; readonly ms: number };
  #cancel: Cancel = () => undefined;
  #closed = false;

  constructor(parts: TriggerDeskParts) {
    this.#parts = parts;
    const { stored, triggers, clock } = parts;
    this.#state = stored ? resumed(stored.state, triggers, stored.sameBoot, clock.monotonicMs()) : fresh();
    this.#kept = { usual: this.#state.usual, ms: clock.monotonicMs() };
    this.#look();
  }

  tell(event: Event): void {
    if (this.#closed) return;
    const { triggers, clock, told } = this.#parts;
    const before = this.#state;
    const now = { ms: clock.monotonicMs(), wallMs: clock.wallMs() };
    const answer = step(triggers, before, event, now);
    this.#state = answer.state;
    const { fired, cleared, noted, lapsed, holding } = answer;
    if (fired.length + cleared.length + noted.length + lapsed.length + holding.length > 0) told(answer);
    const { usual, ms } = this.#kept;
    // Who was told may have told something else already.
    if (mustOutlive(before, answer) || isUsualOld(usual, ms, this.#state, now.ms)) this.#keep();
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
    if (this.#state.usual !== this.#kept.usual) this.#keep();
  }

  #keep(): void {
    this.#kept = { usual: this.#state.usual, ms: this.#parts.clock.monotonicMs() };
    this.#parts.keep(this.#state);
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
