/** One step of the machine while it is being made: what may be written to, and the one way from a finding to an answer. */
import type { Moment } from "@blueflame/shared/time/clock.ts";
import type { Errors } from "../anomaly/burst.ts";
import { type Culprit, culpritOf, type Share } from "./culprit.ts";
import { endsWithRecovery, sharedOf } from "./finding.ts";
import { Kept } from "./kept.ts";
import { type Finding, isFresh, lapse, type Mark, move, type Stand, strike } from "./stand.ts";
import {
  keyOf,
  keysMax,
  own,
  type State,
  type Step,
  type Subject,
  subjectOf,
  subjectWords,
  triggerOf,
} from "./state.ts";
import type { Symptom } from "./symptom.ts";
import type { Trigger } from "./trigger.ts";
import type { Window } from "./window.ts";

/** Lives for one step and is not shared. */
export class Turn {
  readonly nowMs: number;
  readonly stands: Kept<Stand>;
  readonly windows: Kept<Window>;
  readonly usual: Kept<Errors>;
  readonly shares: Kept<Share>;
  readonly #marks: Kept<Mark>;
  readonly #before: State;
  readonly #counts: Record<string, number>;
  readonly #fired: Symptom[] = [];
  readonly #cleared: ({ trigger: string } & Subject)[] = [];
  readonly #lapsed: ({ trigger: string } & Subject)[] = [];
  readonly #holding: ({ trigger: string } & Subject)[] = [];
  readonly #noted: ({ trigger: string; because: string } & Subject)[] = [];
  #passedOver: number;

  constructor(before: State, now: Pick<Moment, "ms">) {
    this.nowMs = now.ms;
    this.#before = before;
    this.stands = new Kept(before.stands, keysMax);
    this.windows = new Kept(before.windows, keysMax);
    this.usual = new Kept(before.usual, keysMax);
    this.shares = new Kept(before.shares ?? {}, keysMax);
    this.#marks = new Kept(before.marks, keysMax);
    this.#counts = { ...before.fired };
    this.#passedOver = before.passedOver;
  }

  /** Takes what is known of a condition; `knownMs` when it was known earlier already. */
  find(trigger: Trigger, subject: Subject, finding: Finding, knownMs = this.nowMs): void {
    const key = keyOf(trigger.name, subject);
    const stand = this.stands.at(key);
    if (stand === undefined && finding.is !== "holds") return;
    this.#take(trigger, subject, key, move(trigger, stand, this.#marks.at(key) ?? {}, finding, this.nowMs, knownMs));
  }

  /** Nothing is known of its condition any more. */
  lapse(trigger: Trigger, subject: Subject): void {
    const key = keyOf(trigger.name, subject);
    const stand = this.stands.at(key);
    if (stand) this.#take(trigger, subject, key, lapse(stand, this.#marks.at(key) ?? {}, this.nowMs));
  }

  /** Takes a fact that happened. */
  strike(trigger: Trigger, subject: Subject, because: string): void {
    const key = keyOf(trigger.name, subject);
    this.#take(trigger, subject, key, strike(trigger, this.#marks.at(key) ?? {}, because, this.nowMs));
  }

  /** Says it without any stand: a schedule has come. */
  tell(trigger: Trigger, because: string): void {
    this.#fire(trigger, { workload: "" }, because, this.nowMs);
  }

  /** The subjects for which a trigger is not quiet. */
  standing({ name }: Trigger): Subject[] {
    return Object.keys(this.stands.all)
      .filter((key) => triggerOf(key) === name)
      .map(subjectOf);
  }

  /** Forgets the marks that are of no more use. */
  sweep(triggers: ReadonlyMap<string, Trigger>): void {
    for (const [key, mark] of Object.entries(this.#marks.all)) {
      const trigger = triggers.get(triggerOf(key));
      if (trigger === undefined || !isFresh(trigger, mark, this.nowMs)) this.#marks.put(key, undefined);
    }
  }

  /** Forgets everything of a subject. */
  forget(subject: Subject): void {
    const end = ` ${subjectWords(subject)}`;
    for (const kept of [this.stands, this.windows, this.usual, this.shares, this.#marks])
      for (const key of Object.keys(kept.all)) if (key.endsWith(end)) kept.put(key, undefined);
  }

  /** The answer; `more` is what of the state was changed elsewhere. */
  answer(more: Partial<State> = {}): Step {
    return {
      state: {
        ...this.#before,
        stands: this.stands.all,
        marks: this.#marks.all,
        windows: this.windows.all,
        usual: this.usual.all,
        ...(Object.keys(this.shares.all).length > 0 && { shares: this.shares.all }),
        fired: this.#counts,
        passedOver: this.#passedOver,
        ...more,
      },
      fired: this.#fired,
      cleared: this.#cleared,
      lapsed: this.#lapsed,
      holding: this.#holding,
      noted: this.#noted,
    };
  }

  #take(trigger: Trigger, subject: Subject, key: string, moved: ReturnType<typeof move>): void {
    if (moved.stand && !this.stands.at(key) && this.stands.isFull) {
      this.#passedOver++;
      return;
    }
    this.stands.put(key, moved.stand);
    const isMarked = moved.mark.firedMs !== undefined || moved.mark.notedMs !== undefined;
    this.#marks.put(key, isMarked ? moved.mark : undefined);
    const about = { trigger: trigger.name, ...subject };
    if (moved.out === "cleared") this.#cleared.push(about);
    if (moved.out === "lapsed") this.#lapsed.push(about);
    if (moved.out === "holding") this.#holding.push(about);
    if (moved.out === "noted" && moved.stand)
      this.#noted.push({ ...about, because: `${moved.stand.because}; ${moved.stand.excuse ?? ""}` });
    if (moved.out === "fired" && moved.stand) this.#fire(trigger, subject, moved.stand.because, moved.stand.heldMs);
  }

  #fire(trigger: Trigger, subject: Subject, because: string, sinceMs: number): void {
    const { name, severity, playbook } = trigger;
    this.#counts[name] = (own(this.#counts, name) ?? 0) + 1;
    const lasting = endsWithRecovery(trigger) ? {} : ({ lasting: true } as const);
    const culprit = subject.workload === "" && subject.job === undefined ? this.#culprit(trigger) : undefined;
    const words = culprit ? `${because}; ${culprit.because}` : because;
    const blamed = culprit && { culprit: culprit.workload };
    this.#fired.push({ trigger: name, ...subject, severity, playbook, ...lasting, ...blamed, because: words, sinceMs });
  }

  /** Who of ours it is, where the figure is of a resource that is shared and no calm is missing. */
  #culprit(trigger: Trigger): Culprit | undefined {
    const resource = sharedOf(trigger);
    if (!resource || own(this.#before.calm, trigger.name) === undefined) return undefined;
    const shares = Object.entries(this.shares.all).filter(([key]) => triggerOf(key) === trigger.name);
    return culpritOf(
      resource,
      shares.map(([key, share]) => [subjectOf(key).workload, share] as const),
    );
  }
}
