import { unreachable } from "@blueflame/shared/errors/fault.ts";
import { AuditOutcome, type Incident } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import type { Moment } from "@blueflame/shared/time/clock.ts";
import type { JsonObject } from "@bufbuild/protobuf";
import { askBudget, type Budget, emptyBudget, releaseBudget } from "../actions/budget.ts";
import { newOrder, type Order, type OrderEvent, orderDeadlineMs, orderMessage, orderStep } from "../actions/order.ts";
import { type Effect, levelOf, type Spending } from "../escalation/state.ts";
import {
  type About,
  carryOut,
  detectMs,
  type IncidentEffect,
  isOpen,
  merge,
  recoverMs,
} from "../incidents/incident.ts";
import type { Alert } from "../notify/alert.ts";
import type { Entry } from "./entry.ts";
import type { Judge } from "./judge.ts";
import { type Act, auditOf, decisionOf } from "./records.ts";
import { outcome } from "./replay.ts";
import { emptyTally } from "./tally.ts";

/** Carries out what the machines decide: rows into the draft now, deeds once the draft is durable. */
export class Carrier {
  readonly tally = emptyTally();
  /** Open ones only. */
  readonly incidents = new Map<string, Incident>();
  readonly orders = new Map<string, Order>();
  budget: Budget = emptyBudget;
  onIncident: (incident: Incident) => void = () => {};
  readonly #judge: Judge;

  constructor(judge: Judge) {
    this.#judge = judge;
  }

  carryOut(entry: Entry, effect: Effect, now: Moment): void {
    const { draft, ports } = this.#judge;
    switch (effect.do) {
      case "setLevel":
        this.#setLevel(entry, effect, now);
        break;
      case "openIncident":
      case "updateIncident":
      case "closeIncident":
        this.incident(effect, { nodeId: entry.id, site: entry.row.site, symptom: "node_silent" }, now);
        break;
      case "askBudget":
        this.#askBudget(entry, effect.for);
        break;
      case "releaseBudget":
        this.budget = releaseBudget(this.budget, entry.id);
        this.#keepBudget();
        break;
      case "order":
        this.#makeOrder(entry, effect, now);
        break;
      case "sendOrder":
        this.#sendOrder(entry, effect.id);
        break;
      case "voidOrder":
        this.#orderEvent(effect.id, { is: "void", because: effect.because });
        break;
      case "askSecondPath":
        draft.after.push(() => {
          void ports
            .askSecondPath(entry.id)
            .then((answer) => this.#answered(entry, effect.ask, answer.alive, answer.because));
        });
        break;
      case "respawn":
        this.#respawn(entry, effect.attempt, effect.because, now);
        break;
      case "alert": {
        const { incident } = entry.state;
        const { kind, because } = effect;
        this.alert({ kind, node: entry.id, site: entry.row.site, because, incidentId: incident?.id ?? "" }, now);
        break;
      }
      default:
        unreachable(effect);
    }
  }

  /** Opens, revises or closes an incident of the hub's own. */
  incident(effect: IncidentEffect, about: About, now: Moment): void {
    const held = this.incidents.get(effect.id);
    const incident = carryOut(held, effect, about, now);
    if (!held || !isOpen(incident)) {
      const target = about.nodeId === "" ? `site/${about.site || "all"}` : `node/${about.nodeId}`;
      const action = held ? "incident.close" : "incident.open";
      this.act(now, { action, target, because: effect.change.because, nodeId: about.nodeId, incidentId: incident.id });
    }
    this.took(incident, held);
    this.#judge.draft.incident(incident, isOpen(incident));
  }

  /** An incident that a node reported and that is durable by now. */
  reported(incident: Incident): void {
    const held = this.incidents.get(incident.id);
    if (held && held.nodeId !== incident.nodeId) {
      // Ids are chance: whoever comes with one of another node's, or of the hub's own, means to overwrite it.
      const fields = { node: incident.nodeId, incident: incident.id, of: held.nodeId };
      this.#judge.ports.log.warn(fields, "an incident under the id of another's was left aside");
      return;
    }
    if (merge(held, incident) !== incident) return;
    this.took(incident, held);
  }

  /** Tells people, once it is durable that they have to be told; again after a crash in between. */
  alert(what: Omit<Alert, "id" | "at">, now: Moment): void {
    const id = `${now.id}-${what.kind}`;
    const alert: Alert = { id, at: new Date(now.wallMs).toISOString(), ...what };
    this.#judge.draft.alerts.set(id, alert);
    const target = what.node === "" ? `site/${what.site || "all"}` : `node/${what.node}`;
    this.act(now, {
      action: `alert.${what.kind}`,
      target,
      because: what.because,
      nodeId: what.node,
      incidentId: what.incidentId,
    });
    this.#judge.draft.after.push(() => this.tell(alert));
  }

  tell(alert: Alert): void {
    const { ports } = this.#judge;
    ports.log.error({ kind: alert.kind, node: alert.node, site: alert.site, because: alert.because }, "alert");
    try {
      ports.tell(alert);
      this.tally.alerts += 1;
      this.#judge.draft.toldAlerts.add(alert.id);
      this.#judge.write();
    } catch (error) {
      // It stays in the store and is told again at the next start; the log line above is out in any case.
      ports.log.error({ kind: alert.kind, because: String(error) }, "the alert could not be written to its file");
    }
  }

  /** A node says how an order ended. */
  orderResult(nodeId: string, id: string, how: "done" | "failed" | "refused", because: string): void {
    if (this.orders.get(id)?.node !== nodeId) return; // ended before, or not this node's
    this.#orderEvent(id, { is: "result", outcome: how, because });
  }

  lookAtOrders(): void {
    const nowMs = this.#judge.ports.clock.monotonicMs();
    for (const order of [...this.orders.values()]) {
      if (nowMs > orderDeadlineMs(order)) this.#orderEvent(order.id, { is: "look" });
    }
  }

  /** An audit record in the hub's own name; what says nothing of the state around it changed nothing of the node yet. */
  act(now: Moment, act: Omit<Act, "id" | "wallMs" | "decisionId">): void {
    const entry = this.#judge.entries.get(act.nodeId);
    const stand = entry ? { level: levelOf(entry.state) } : { nodes: this.#judge.entries.size };
    const moment = { id: this.#judge.now().id, wallMs: now.wallMs, decisionId: now.id };
    this.#judge.draft.audit.push(auditOf({ before: stand, after: stand, ...act, ...moment }));
  }

  took(incident: Incident, held: Incident | undefined): void {
    const open = isOpen(incident);
    if (open) this.incidents.set(incident.id, incident);
    else this.incidents.delete(incident.id);
    if (!held) {
      this.tally.incidentsOpened += 1;
      this.tally.detect(detectMs(incident));
    }
    if (!open) this.tally.incidentsClosed += 1;
    if (recoverMs(incident) !== undefined && (!held || recoverMs(held) === undefined)) {
      this.tally.recover(recoverMs(incident));
    }
    this.onIncident(incident);
  }

  #setLevel(entry: Entry, { from, to, because }: Extract<Effect, { do: "setLevel" }>, now: Moment): void {
    const { draft, ports, beats } = this.#judge;
    const silentMs = now.ms - beats.lastMs(entry.slot);
    const seenWallMs = Number.isFinite(silentMs) ? Math.floor(now.wallMs - silentMs) : entry.row.seenWallMs;
    entry.row = { ...entry.row, levelSinceWallMs: now.wallMs, levelBecause: because, seenWallMs };
    draft.nodes.set(entry.id, entry.row);
    this.tally.level(to);
    const target = `node/${entry.id}`;
    this.act(now, {
      action: "node.level",
      target,
      because,
      nodeId: entry.id,
      before: { level: from },
      after: { level: to },
    });
    const fields = { node: entry.id, from, to, because };
    if (to === "GREEN") ports.log.info(fields, "level");
    else ports.log.warn(fields, "level");
  }

  #askBudget(entry: Entry, spending: Spending): void {
    const { draft, ports, groups } = this.#judge;
    const now = this.#judge.now();
    const { site } = entry.row;
    const ask = { node: entry.id, site, siteNodes: groups.siteNodes(site), for: spending };
    const before = this.budget;
    const result = askBudget(ports.budget, before, ask, now);
    this.budget = result.budget;
    if (spending === "respawn" && !result.verdict.granted) this.tally.respawns.refused += 1;
    const because = result.verdict.granted ? `granted: a ${spending}` : result.verdict.because;
    const subject = `node/${entry.id}`;
    const call = {
      machine: "hub/budget",
      subject,
      policy: ports.budget,
      state: before,
      event: ask,
      now,
      result,
      because,
    } as const;
    draft.decisions.push({ nodeId: entry.id, record: decisionOf(call) });
    this.#keepBudget();
    this.#judge.step(entry, { is: "budget", for: spending, verdict: result.verdict });
  }
  #keepBudget(): void {
    this.#judge.draft.fleet.set("budget", { state: this.budget as unknown as JsonObject });
  }

  #makeOrder(entry: Entry, effect: Extract<Effect, { do: "order" }>, now: Moment): void {
    const { id, incarnation, because } = effect;
    const incidentId = entry.state.incident?.id ?? "";
    const validForMs = entry.policy.orderValidMs;
    const order = newOrder(
      { id, node: entry.id, action: { is: "restartAgent" }, incarnation, because, incidentId, validForMs },
      now,
    );
    this.orders.set(id, order);
    this.#judge.draft.order(order, false);
    if (effect.how === "send") this.#sendOrder(entry, id);
    else this.act(now, { action: "order.keep", target: `node/${entry.id}`, because, nodeId: entry.id, incidentId });
  }

  #sendOrder(entry: Entry, id: string): void {
    const { ports } = this.#judge;
    const epoch = ports.epoch();
    const sent = this.#orderEvent(id, { is: "send", epoch, incarnation: entry.state.incarnation });
    if (!sent) return;
    this.#judge.draft.after.push(() => {
      if (ports.send(entry.id, orderMessage(sent, epoch))) this.tally.ordersSent += 1;
      else this.#judge.step(entry, { is: "orderEnded", id, ok: false, because: "the stream was gone" });
    });
  }

  /** Steps an order; returns it when it is to go out. What ended is told to its node's machine. */
  #orderEvent(id: string, event: OrderEvent): Order | undefined {
    const before = this.orders.get(id);
    if (!before) return undefined;
    const now = this.#judge.now();
    const result = orderStep(before, event, now);
    if (result.effects.length === 0) return undefined;
    // Text on the way into JSON, which knows no bigint; the machine takes both.
    const written = event.is === "send" ? { ...event, epoch: event.epoch.toString() } : event;
    const subject = `node/${before.node}`;
    const { because } = result;
    const call = { machine: "hub/order", subject, policy: null, state: before, event: written, now, because } as const;
    this.#judge.draft.decisions.push({ nodeId: before.node, record: decisionOf({ ...call, result: outcome(result) }) });
    const ended = result.effects.find((effect) => effect.do === "ended");
    if (ended?.do === "ended") this.orders.delete(id);
    else this.orders.set(id, result.state);
    this.#judge.draft.order(result.state, ended !== undefined);
    const { node, incidentId } = before;
    const action = ended?.do === "ended" ? `order.${ended.how}` : "order.send";
    const bad = ended?.do === "ended" && ended.how !== "done" && ended.how !== "void";
    const outcomeOf = bad ? AuditOutcome.FAILURE : AuditOutcome.SUCCESS;
    this.act(now, { action, target: subject, because, nodeId: node, incidentId, outcome: outcomeOf });
    const entry = this.#judge.entries.get(node);
    if (ended?.do === "ended" && entry && event.is !== "void") {
      this.#judge.step(entry, { is: "orderEnded", id, ok: ended.how === "done", because: ended.because });
    }
    return ended ? undefined : result.state;
  }

  #answered(entry: Entry, ask: number, alive: boolean, because: string): void {
    const now = this.#judge.now();
    if (alive) this.tally.respawns.alive += 1;
    const target = `node/${entry.id}`;
    const said = `${alive ? "it lives" : "nobody says that it lives"}: ${because}`;
    this.act(now, { action: "node.probe", target, because: said, nodeId: entry.id });
    this.#judge.step(entry, { is: "probeAnswered", ask, alive, because });
  }

  #respawn(entry: Entry, attempt: number, because: string, now: Moment): void {
    const { draft, ports } = this.#judge;
    const target = `node/${entry.id}`;
    this.act(now, { action: "node.respawn", target, because, nodeId: entry.id, after: { attempt } });
    draft.after.push(() => {
      void ports.respawn(entry.id, attempt).then((ended) => {
        this.tally.respawns[ended.ok ? "started" : "failed"] += 1;
        const result = ended.ok ? AuditOutcome.SUCCESS : AuditOutcome.FAILURE;
        const done = { action: "node.respawned", target, because: ended.because, nodeId: entry.id, outcome: result };
        this.act(this.#judge.now(), done);
        this.#judge.step(entry, { is: "respawnEnded", attempt, ...ended });
      });
    });
  }
}
