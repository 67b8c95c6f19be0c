import { AuditOutcome } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import type { JsonObject } from "@bufbuild/protobuf";
import {
  everyone,
  type Group,
  groupsOf,
  type MassEvent,
  massDeadline,
  massStep,
  newGroup,
} from "../escalation/mass.ts";
import type { State } from "../escalation/state.ts";
import type { Entry } from "./entry.ts";
import type { Judge } from "./judge.ts";
import { auditOf, decisionOf } from "./records.ts";
import { outcome } from "./replay.ts";

/** Keeps the groups whose silence is judged together, and takes their census. */
export class Groups {
  readonly #judge: Judge;
  readonly #groups = new Map<string, Group>();
  /** Nodes of each site that has any. */
  readonly #sites = new Map<string, number>();
  /** Since the last census, by group. */
  #fell = new Map<string, string[]>();
  #back = new Map<string, string[]>();

  constructor(judge: Judge) {
    this.#judge = judge;
  }

  restore(group: Group): void {
    this.#groups.set(group.group, group);
  }
  /** The groups whose escalation is frozen now. */
  frozen(): string[] {
    return [...this.#groups.values()].filter(({ at }) => at === "frozen").map(({ group }) => group);
  }
  siteNodes(site: string): number {
    return this.#sites.get(site) ?? 0;
  }

  /** A node has come to a site, or left one for it. What is frozen there holds for it too. */
  join(entry: Entry, leftSite: string | undefined): void {
    const { site } = entry.row;
    if (leftSite === site) return;
    this.#sites.set(site, this.siteNodes(site) + 1);
    if (leftSite !== undefined) this.#leave(entry, leftSite);
    for (const group of this.#of(entry)) {
      if (this.#groups.get(group)?.at === "frozen") this.#judge.step(entry, { is: "frozen", group });
    }
  }

  /**
   * After a restart of the hub: a freeze and its nodes are rows of their own, and the last hub may have died between them.
   * The group's word counts: whom nothing frozen holds would never be judged again.
   */
  agree(): void {
    for (const entry of this.#judge.entries.values()) {
      for (const group of entry.state.frozenBy) {
        if (this.#groups.get(group)?.at !== "frozen") this.#judge.step(entry, { is: "thawed", group });
      }
      for (const group of this.#of(entry)) {
        if (this.#groups.get(group)?.at === "frozen") this.#judge.step(entry, { is: "frozen", group });
      }
    }
  }

  /** Notes who fell silent and who came back, for the next census. */
  note(entry: Entry, before: State, after: State): void {
    if (before.at === after.at) return;
    const fell = before.at === "green" && after.at === "yellow";
    const silent = before.at === "yellow" || before.at === "orange" || before.at === "red";
    const back = silent && (after.at === "green" || after.at === "away");
    if (!fell && !back) return;
    for (const group of this.#of(entry)) noteIn(fell ? this.#fell : this.#back, group, entry.id);
  }

  /** Judges every group that has news or a deadline; the group of all first, because it explains the others. */
  census(): void {
    const nowMs = this.#judge.now().ms;
    const [fell, back] = [this.#fell, this.#back];
    this.#fell = new Map();
    this.#back = new Map();
    const due = [...this.#groups.values()].filter((group) => nowMs > massDeadline(this.#judge.ports.mass, group));
    const names = new Set([...fell.keys(), ...back.keys(), ...due.map(({ group }) => group)]);
    if (names.size === 0) return;
    const alive = this.#alive();
    for (const group of [...names].sort((left) => (left === everyone ? -1 : 0))) {
      this.#step(group, {
        is: "census",
        fell: fell.get(group) ?? [],
        back: back.get(group) ?? [],
        alive: alive.get(group) ?? 0,
        covered: group !== everyone && this.#groups.get(everyone)?.at === "frozen",
      });
    }
  }

  amnesty(byMs: number): void {
    for (const group of this.#groups.keys()) this.#step(group, { is: "amnesty", byMs });
  }

  #step(group: string, event: MassEvent): void {
    const { ports, carrier } = this.#judge;
    const now = this.#judge.now();
    const before = this.#groups.get(group) ?? newGroup(group);
    const result = massStep(ports.mass, before, event, now);
    // A site that nobody has any more must leave nothing behind: its name is whatever a node once said.
    if (result.state.at === "calm" && result.state.fallen.length === 0) this.#groups.delete(group);
    else this.#groups.set(group, result.state);
    if (result.state.at === "frozen" || before.at === "frozen") {
      this.#judge.draft.fleet.set(`mass/${group}`, { state: result.state as unknown as JsonObject });
    }
    if (result.effects.length === 0) return;
    const record = decisionOf({
      machine: "hub/mass",
      subject: group,
      policy: ports.mass,
      state: before,
      event,
      now,
      result: outcome(result),
      because: result.because,
    });
    this.#judge.draft.decisions.push({ nodeId: "", record });
    const site = group.startsWith("site/") ? group.slice("site/".length) : "";
    for (const effect of result.effects) {
      if (effect.do === "freeze" || effect.do === "thaw") {
        ports.log.warn({ group, because: result.because }, effect.do === "freeze" ? "escalation is frozen" : "thawed");
        this.#judge.draft.audit.push(
          auditOf({
            id: `${now.id}-${effect.do}`,
            wallMs: now.wallMs,
            action: `group.${effect.do}`,
            target: group,
            because: result.because,
            nodeId: "",
            outcome: AuditOutcome.SUCCESS,
            before: { frozen: effect.do === "thaw" },
            after: { frozen: effect.do === "freeze" },
            decisionId: now.id,
          }),
        );
        if (effect.do === "freeze") {
          for (const entry of this.#members(group)) this.#judge.step(entry, { is: "frozen", group });
        } else this.#thaw(group);
      } else if (effect.do === "alert") {
        const incidentId = result.state.at === "frozen" ? result.state.incidentId : "";
        carrier.alert({ kind: effect.kind, node: "", site, because: effect.because, incidentId }, now);
      } else {
        carrier.incident(effect, { nodeId: "", site, symptom: "site_silent" }, now);
      }
    }
  }

  // Whoever it holds, wherever they belong by now: nobody else would ever let them go.
  #thaw(group: string): void {
    for (const entry of this.#judge.entries.values()) {
      if (entry.state.frozenBy.includes(group)) this.#judge.step(entry, { is: "thawed", group });
    }
  }
  // It came from elsewhere with a hello: there it is missing no longer.
  #leave(entry: Entry, site: string): void {
    const left = this.siteNodes(site) - 1;
    if (left > 0) this.#sites.set(site, left);
    else this.#sites.delete(site);
    const [group = everyone] = groupsOf(site, 1);
    if (this.#groups.has(group) && !this.#of(entry).includes(group)) noteIn(this.#back, group, entry.id);
  }
  #of(entry: Entry): readonly string[] {
    // While everyone is frozen that group lasts, also when all have moved to one site: else its thaw could not be seen.
    const sites = this.#groups.get(everyone)?.at === "frozen" ? 2 : this.#sites.size;
    return groupsOf(entry.row.site, sites);
  }
  #members(group: string): Entry[] {
    return [...this.#judge.entries.values()].filter((entry) => this.#of(entry).includes(group));
  }
  #alive(): Map<string, number> {
    const alive = new Map<string, number>();
    for (const entry of this.#judge.entries.values()) {
      if (entry.state.at !== "green") continue;
      for (const group of this.#of(entry)) alive.set(group, (alive.get(group) ?? 0) + 1);
    }
    return alive;
  }
}

function noteIn(noted: Map<string, string[]>, group: string, id: string): void {
  const ids = noted.get(group);
  if (ids) ids.push(id);
  else noted.set(group, [id]);
}
