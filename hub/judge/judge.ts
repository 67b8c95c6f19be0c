import { isFault } from "@blueflame/shared/errors/fault.ts";
import { AuditOutcome } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import type { Order as OrderMessage } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { uuid7 } from "@blueflame/shared/ids/uuid7.ts";
import type { Random } from "@blueflame/shared/random/random.ts";
import { OutcomeUnknown } from "@blueflame/shared/store/state.ts";
import type { Clock, Moment } from "@blueflame/shared/time/clock.ts";
import type { JsonObject } from "@bufbuild/protobuf";
import type { BudgetPolicy } from "../actions/budget.ts";
import { step } from "../escalation/machine.ts";
import type { MassPolicy } from "../escalation/mass.ts";
import type { Policy } from "../escalation/policy.ts";
import { type Event, type Health, needsStep, newNode, type State } from "../escalation/state.ts";
import type { Alert } from "../notify/alert.ts";
import type { Step as StoreStep } from "../store/hub-store.ts";
import type { NodeRow } from "../store/rows.ts";
import { Carrier } from "./carry.ts";
import { Draft } from "./draft.ts";
import { Beats, type Entry } from "./entry.ts";
import { Groups } from "./groups.ts";
import { decisionOf } from "./records.ts";
import { outcome } from "./replay.ts";

/** What the judge needs of the world; every call returns at once, or never rejects. */
export interface JudgePorts {
  readonly clock: Clock;
  readonly random: Random;
  policyOf(nodeId: string): Policy;
  readonly mass: MassPolicy;
  readonly budget: BudgetPolicy;
  epoch(): bigint;
  /** Durable on return. */
  save(step: StoreStep): Promise<void>;
  /** False when the node has no open session. */
  send(nodeId: string, order: OrderMessage): boolean;
  askSecondPath(nodeId: string): Promise<{ readonly alive: boolean; readonly because: string }>;
  respawn(nodeId: string, attempt: number): Promise<{ readonly ok: boolean; readonly because: string }>;
  /** Throws when it could not be told; it is told again later. */
  tell(alert: Alert): void;
  readonly log: Log;
  nodeChanged(nodeId: string): void;
  /** This hub must not go on: another one has taken over the store, or what was decided cannot be written at all. */
  fatal(error: unknown): void;
}

/** Facts with fields, one line each. */
export interface Log {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** A write that failed is tried again this often; what is decided meanwhile joins it. */
const writeAgainMs = 1_000;
/** Nodes count as gone after weeks: a few hours more or less are nothing. Of a large fleet so many at a look; a look comes every few minutes. */
const heardEveryMs = 6 * 3_600_000;
const heardMax = 1_000;
/** A level goes up by one step at a look; more looks than levels bring nothing. */
const looksMax = 4;

/**
 * Runs the pure machines over all nodes: feeds them events, keeps their states in memory and in the store, and has their
 * effects carried out once what led to them is durable. It reads time through its clock only.
 */
export class Judge {
  readonly entries = new Map<string, Entry>();
  readonly beats = new Beats();
  readonly carrier: Carrier;
  readonly groups: Groups;
  readonly ports: JudgePorts;
  draft = new Draft();
  readonly #slots: Entry[] = [];
  #writing: Promise<void> | undefined;
  /** Until then who has not been heard yet is on the way back; see {@link settle}. */
  #settleUntilMs = Number.NEGATIVE_INFINITY;
  #lookedMs = 0;
  #closing = false;
  #closed = false;

  constructor(ports: JudgePorts) {
    this.ports = ports;
    this.carrier = new Carrier(this);
    this.groups = new Groups(this);
  }

  now(): Moment {
    const { clock, random } = this.ports;
    const wallMs = Math.floor(clock.wallMs());
    // Whole milliseconds: what is computed from them goes into messages that know no fractions.
    return { ms: Math.floor(clock.monotonicMs()), wallMs, id: uuid7(wallMs, random) };
  }

  /** A node that was not in memory; `state` is undefined for one that nobody has heard of. */
  add(row: NodeRow, state: State | undefined): Entry {
    const seed = Math.floor(this.ports.random() * 2 ** 31);
    const entry: Entry = {
      id: row.id,
      slot: this.#slots.length,
      policy: this.ports.policyOf(row.id),
      row,
      state: state ?? newNode(seed, this.now()),
      health: "unspecified",
      connected: false,
      heartbeat: undefined,
      status: undefined,
    };
    this.#slots.push(entry);
    this.entries.set(row.id, entry);
    this.beats.add(entry.slot);
    this.beats.plan(entry);
    return entry;
  }

  /** A heartbeat: in the steady state one number is written. */
  beat(entry: Entry, health: Health): void {
    const event: Event = { is: "beat", health };
    entry.health = health;
    if (needsStep(entry.state, event)) this.step(entry, event);
    this.beats.beat(entry.slot, Math.floor(this.ports.clock.monotonicMs()));
  }

  /** One event for one node; everything that follows from it is in the draft on return. */
  step(entry: Entry, event: Event): void {
    if (this.#closed) return;
    const now = this.now();
    const state = this.beats.heard(entry);
    const result = step(entry.policy, state, event, now);
    entry.state = result.state;
    this.beats.plan(entry);
    this.groups.note(entry, state, result.state);
    if (result.effects.length > 0) {
      const subject = `node/${entry.id}`;
      const record = decisionOf({
        machine: "hub/escalation",
        subject,
        policy: entry.policy,
        state,
        event,
        now,
        result: outcome(result),
        because: result.because,
      });
      this.draft.decisions.push({ nodeId: entry.id, record });
    }
    if (result.effects.length > 0 || differs(state, result.state)) {
      this.draft.states.set(entry.id, { state: result.state as unknown as JsonObject, savedWallMs: now.wallMs });
    }
    for (const effect of result.effects) this.carrier.carryOut(entry, effect, now);
    if (result.effects.length > 0) this.ports.nodeChanged(entry.id);
    this.write();
  }

  /**
   * After a start with nodes that are known: agents that have lost their hub come back after a random wait, so for this
   * long the silence of those not yet heard does not count.
   */
  settle(forMs: number): void {
    this.#lookedMs = this.now().ms;
    this.#settleUntilMs = this.#lookedMs + forMs;
  }

  /** Looks at every deadline that has passed. First all that turn YELLOW, then mass silence, then the rest. */
  sweep(): void {
    const nowMs = this.ports.clock.monotonicMs();
    if (this.#lookedMs < this.#settleUntilMs) {
      const byMs = Math.floor(Math.min(nowMs, this.#settleUntilMs)) - this.#lookedMs;
      this.#lookedMs += byMs;
      for (const entry of this.#slots) if (!entry.state.heard) this.step(entry, { is: "amnesty", byMs });
    }
    for (const entry of this.#slots) {
      if (entry.state.at === "green" && this.beats.due(entry, nowMs)) this.step(entry, { is: "sweep" });
    }
    this.groups.census();
    for (let look = 0; look < looksMax; look++) {
      let looked = 0;
      for (const entry of this.#slots) {
        if (!this.beats.due(entry, nowMs)) continue;
        looked += 1;
        this.step(entry, { is: "sweep" });
      }
      if (looked === 0) break;
    }
    this.carrier.lookAtOrders();
    this.write();
  }

  /** The hub was late or away by that much: it blames nobody for it. */
  amnesty(byMs: number): void {
    this.groups.amnesty(byMs);
    for (const entry of this.#slots) this.step(entry, { is: "amnesty", byMs });
  }

  /** Keeps when each node was heard last, now and then: a later hub must not take for gone who is silent for a while. */
  noteHeard(): void {
    const now = this.now();
    let noted = 0;
    for (const entry of this.#slots) {
      const seenWallMs = Math.floor(now.wallMs - (now.ms - this.beats.lastMs(entry.slot)));
      if (!Number.isFinite(seenWallMs) || Math.abs(seenWallMs - entry.row.seenWallMs) < heardEveryMs) continue;
      entry.row = { ...entry.row, seenWallMs };
      this.draft.nodes.set(entry.id, entry.row);
      if (++noted === heardMax) break; // the rest at the next look
    }
    this.write();
  }

  /** Starts to write the draft unless it is being done. */
  write(): void {
    if (this.#writing || this.draft.empty || this.#closed) return;
    this.#writing = this.#writeAll().finally(() => {
      this.#writing = undefined;
      this.write();
    });
  }

  /** Takes no more events; resolves when what was decided is durable, or a last try has failed. */
  async close(): Promise<void> {
    this.#closing = true;
    await this.settled();
    this.#closed = true;
  }

  /** Resolves when nothing is being written. */
  async settled(): Promise<void> {
    while (this.#writing) await this.#writing;
  }

  async #writeAll(): Promise<void> {
    const draft = this.draft;
    this.draft = new Draft();
    try {
      await this.ports.save(draft.step());
    } catch (error) {
      const passes = error instanceof OutcomeUnknown || (isFault(error) && error.retry === "later");
      if (!passes || isFault(error, "STORE_LOCKED") || this.#closing) {
        this.#closed = true;
        this.ports.log.error({ because: String(error) }, "what was decided cannot be written");
        this.ports.fatal(error);
        return;
      }
      this.draft = draft.followedBy(this.draft);
      this.ports.log.error({ because: String(error) }, "the store takes nothing; what was decided waits");
      const { clock } = this.ports;
      await new Promise<void>((resolve) => clock.wakeAt(clock.monotonicMs() + writeAgainMs, resolve));
      return;
    }
    if (draft.dropped > 0) {
      const because = `the store took nothing for so long that ${draft.dropped} decisions and audit records were dropped`;
      this.carrier.act(this.now(), {
        action: "audit.drop",
        target: "hub",
        because,
        nodeId: "",
        outcome: AuditOutcome.FAILURE,
      });
    }
    for (const run of draft.after) run();
  }
}

/** True when a restarted hub would have to know it. When a node was last heard is not: after a restart that counts anew. */
function differs(before: State, after: State): boolean {
  return (
    before.at !== after.at ||
    (after.at === "red" && before.at === "red" && before.phase !== after.phase) ||
    before.incident !== after.incident ||
    before.order !== after.order ||
    before.flight !== after.flight ||
    before.holds !== after.holds ||
    before.frozenBy !== after.frozenBy ||
    before.incarnation !== after.incarnation
  );
}
