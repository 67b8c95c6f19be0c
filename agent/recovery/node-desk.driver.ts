import {
  AuditOutcome,
  type AuditRecord,
  AuditRecordSchema,
  type DecisionRecord,
  DecisionRecordSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { uuid7 } from "@blueflame/shared/ids/uuid7.ts";
import type { Random } from "@blueflame/shared/random/random.ts";
import type { Cancel, Clock, Moment } from "@blueflame/shared/time/clock.ts";
import { create } from "@bufbuild/protobuf";
import { nextNodeLookMs, stepNode } from "../ladder/node-machine.ts";
import type { NodeEffect, NodeEvent, NodeState, NodeStep } from "../ladder/node-state.ts";
import type { StageAlerts } from "../records/untold.ts";
import { askAgainMs, type RemedyPort } from "../remedies/ports.ts";
import type { AgentStore } from "../store/ports.ts";
import { duration, incidentOf, timestamp } from "../supervise/report.ts";
import type { IncidentFacts } from "../supervise/state.ts";

/** A disk that has not answered by then holds up no healing, as with workloads. */
const actAfterMs = 500;
const outcomes = { success: AuditOutcome.SUCCESS, failure: AuditOutcome.FAILURE, refused: AuditOutcome.REFUSED };
/** Events that wait for a write; beyond it looks are dropped, for the next one sees the same. */
const queueMax = 500;

/** What the node's own recovery is made of. No callback may throw. */
export interface NodeDeskParts {
  readonly nodeId: string;
  readonly site: string;
  readonly stored: NodeState;
  readonly rebooted: boolean;
  /** Owes what the disk refuses: `store/arrears.ts`. */
  readonly store: Pick<AgentStore, "saveStep">;
  readonly remedies: Pick<RemedyPort, "play" | "cancel">;
  readonly clock: Clock;
  readonly random: Random;
  readonly incident: (facts: IncidentFacts) => void;
  readonly stageAlerts: StageAlerts;
  readonly log: (level: "info" | "warn" | "error", fields: Readonly<Record<string, unknown>>, message: string) => void;
}

/** Runs the node's machine: decide, write down, act; a disk that refuses or is silent holds nothing up. Whoever made it closes it. */
export class NodeDesk {
  readonly #parts: NodeDeskParts;
  #state: NodeState;
  readonly #queue: NodeEvent[] = [];
  #running = false;
  #cancelLook: Cancel = () => undefined;
  #closed = false;

  constructor(parts: NodeDeskParts) {
    this.#parts = parts;
    this.#state = parts.stored;
  }

  /** Goes on where an earlier agent process was; `held` while the kill switch is on. */
  boot(held: boolean): void {
    this.tell({ is: "boot", rebooted: this.#parts.rebooted, held });
  }

  tell(event: NodeEvent): void {
    if (this.#closed || (event.is === "look" && this.#queue.length >= queueMax)) return;
    this.#queue.push(event);
    void this.#drain();
  }

  state(): NodeState {
    return this.#state;
  }

  close(): void {
    this.#closed = true;
    this.#cancelLook();
  }

  async #drain(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    try {
      for (let event = this.#queue.shift(); event && !this.#closed; event = this.#queue.shift())
        await this.#apply(event);
    } finally {
      this.#running = false;
    }
  }

  async #apply(event: NodeEvent): Promise<void> {
    const { clock, random } = this.#parts;
    const wallMs = clock.wallMs();
    const now: Moment = { ms: clock.monotonicMs(), wallMs, id: uuid7(wallMs, random) };
    const before = this.#state;
    const result = stepNode(before, event, now);
    this.#state = result.state;
    if (result.effects.length > 0 || result.state !== before)
      await this.#patiently(this.#record(before, event, result, now));
    for (const effect of result.effects) if (!this.#closed) this.#act(effect);
    this.#sleep();
  }

  async #patiently(work: Promise<void>): Promise<void> {
    const { clock } = this.#parts;
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = clock.wakeAt(clock.monotonicMs() + actAfterMs, resolve);
    await Promise.race([work, promise]);
    cancel();
  }

  /** What the disk refuses is owed, and told by the store's own trouble. */
  async #record(before: NodeState, event: NodeEvent, result: NodeStep, now: Moment): Promise<void> {
    const { nodeId, site, store, log } = this.#parts;
    const incidents = result.effects.flatMap((effect) => (effect.do === "incident" ? [effect.facts] : []));
    const audit = result.effects.flatMap((effect) =>
      effect.do === "audit" ? [this.#auditOf(effect, before, result.state, now)] : [],
    );
    for (const { action, because } of result.effects.flatMap((effect) => (effect.do === "audit" ? [effect] : [])))
      log("info", { node: nodeId, action }, because);
    const decision = decisionOf(before, event, result, now);
    const untold = this.#staged(before, incidents);
    // All of it or nothing: what a case is and what its incident is must not part. Of each incident the newest revision.
    const newest = new Map(incidents.map((facts) => [facts.id, incidentOf(facts, nodeId, site, "")]));
    const [incident, ...others] = newest.values();
    const cases = { memory: { key: "node", value: result.state }, ...(incident && { incident }), others } as const;
    const write = { workload: "", ...cases, decision, audit, ...(untold && { untold }) };
    await store.saveStep(write, "batched").catch(() => undefined);
  }

  /** One step may speak of several cases. */
  #staged({ cases }: NodeState, revisions: readonly IncidentFacts[]): ReturnType<StageAlerts> {
    const all = Object.values(cases).map(({ incident }) => incident);
    let staged: ReturnType<StageAlerts>;
    const last = new Map(all.flatMap((one) => (one ? [[one.id, one] as const] : [])));
    for (const facts of revisions) {
      staged = this.#parts.stageAlerts("", last.get(facts.id), [facts]) ?? staged;
      last.set(facts.id, facts);
    }
    return staged;
  }

  #act(effect: NodeEffect): void {
    const { remedies, incident } = this.#parts;
    if (effect.do === "incident") incident(effect.facts);
    if (effect.do === "cancel") remedies.cancel(effect.id);
    if (effect.do !== "play") return;
    const { id, playbook, incidentId, budgetMs } = effect;
    void remedies
      .play({ id, playbook, workload: "", incidentId, budgetMs, begun: () => this.tell({ is: "acted", id }) })
      .then(({ turnedAway, ...result }) => {
        // Nothing was tried, so nothing has failed: it has its turn when the others have had theirs.
        if (turnedAway) this.#again(effect);
        else this.tell({ is: "played", id, ...result });
      });
  }

  #again(effect: Extract<NodeEffect, { do: "play" }>): void {
    const { clock } = this.#parts;
    clock.wakeAt(clock.monotonicMs() + askAgainMs, () => {
      const waits = Object.values(this.#state.cases).some(({ at, id }) => at === "playing" && id === effect.id);
      if (!this.#closed && waits) this.#act(effect);
    });
  }

  #sleep(): void {
    const dueMs = nextNodeLookMs(this.#state);
    this.#cancelLook();
    if (dueMs !== undefined && !this.#closed)
      this.#cancelLook = this.#parts.clock.wakeAt(dueMs, () => this.tell({ is: "look" }));
  }

  #auditOf(
    effect: Extract<NodeEffect, { do: "audit" }>,
    before: NodeState,
    after: NodeState,
    now: Moment,
  ): AuditRecord {
    const casesOf = ({ cases }: NodeState) => JSON.stringify({ cases: Object.keys(cases) });
    const { nodeId, random } = this.#parts;
    return create(AuditRecordSchema, {
      id: uuid7(now.wallMs, random),
      at: timestamp(now.wallMs),
      actor: "agent",
      action: effect.action,
      target: `node/${nodeId}`,
      because: effect.because,
      outcome: outcomes[effect.outcome],
      decisionId: now.id,
      took: duration(effect.tookMs ?? 0),
      beforeJson: casesOf(before),
      afterJson: casesOf(after),
      nodeId,
    });
  }
}

function decisionOf(before: NodeState, event: NodeEvent, result: NodeStep, now: Moment): DecisionRecord {
  const [audit] = result.effects.flatMap((effect) => (effect.do === "audit" ? [effect.because] : []));
  return create(DecisionRecordSchema, {
    id: now.id,
    at: timestamp(now.wallMs),
    machine: "agent/node",
    subject: "node",
    inputJson: JSON.stringify({ state: before, event, now }),
    outputJson: JSON.stringify(result),
    because: audit ?? `the node's cases after ${event.is}`,
  });
}
