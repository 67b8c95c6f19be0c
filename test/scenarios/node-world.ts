/**
 * A node on virtual time: the real machines of the agent (supervision, ladder, triggers, the node's own, what is learned), put
 * together as `agent/recovery/recovery.driver.ts` puts them together, and around them a world that fails as a story says. What is
 * remembered over an agent's death is what its store would hold. Nothing here decides.
 */
import { nextNodeLookMs, stepNode } from "@blueflame/agent/ladder/node-machine.ts";
import { calmNode, type NodeEffect, type NodeEvent, type NodeState } from "@blueflame/agent/ladder/node-state.ts";
import { boxPlaybooks } from "@blueflame/agent/playbooks/box.ts";
import { playbookOf } from "@blueflame/agent/playbooks/draft.ts";
import type { Action, Playbook } from "@blueflame/agent/playbooks/playbook.ts";
import { factOf, OpenIncidents } from "@blueflame/agent/recovery/open-incidents.ts";
import { poolDefaults, rungPools } from "@blueflame/agent/remedies/pools.ts";
import { askAgainMs, type RemedyResult } from "@blueflame/agent/remedies/ports.ts";
import { adoptable } from "@blueflame/agent/supervise/adopt.ts";
import { nextLookMs, step } from "@blueflame/agent/supervise/machine.ts";
import { dependencyOrder } from "@blueflame/agent/supervise/order.ts";
import { hasStarted, maySettleWaits, wokenBy } from "@blueflame/agent/supervise/stands.ts";
import type { Effect, Event, IncidentFacts } from "@blueflame/agent/supervise/state.ts";
import { awaitsRemedy } from "@blueflame/agent/supervise/treatment.ts";
import type { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { perform, rungDeeds } from "./node-deeds.ts";
import { Experience } from "./node-experience.ts";
import { factsOf, sightOf } from "./node-facts.ts";
import { Ground } from "./node-ground.ts";
import { type Actor, type Pace, remedyName, type Seen } from "./node-parts.ts";
import { Runs } from "./node-runs.ts";
import { Senses } from "./node-senses.ts";
import { TriggerDesk } from "./node-triggers.ts";

/** Read once for all worlds. */
const box = boxPlaybooks.map(({ file, text }) => playbookOf(text, file, false)).map((one) => [one.name, one] as const);
const signsEveryMs = 1000;
const observeEveryMs = 5000;
/** A dependent waits at most the grace of what it depends on, and this. */
const startMarginMs = 10_000;

/** The world of one story. */
export class NodeWorld extends Ground {
  readonly playbooks = new Map<string, Playbook>(box);
  readonly pools: Record<string, number> = { ...poolDefaults };
  readonly senses = new Senses(this);
  readonly triggers = new TriggerDesk(this);
  readonly runs: Runs;
  /** Called after each computation of the meta-health. */
  onMeta: () => void = () => undefined;
  /** Called when the agent's process has ended. */
  onAgentDeath: () => void = () => undefined;
  bootstrapAllowed = true;
  bootstrapMs: number | undefined;
  agentAlive = false;
  killSwitch = false;
  #experience: Experience;
  #nodeState: NodeState = calmNode;
  #open = new OpenIncidents([]);
  /** The last revision of each incident, as the store has it. */
  readonly #last = new Map<string, IncidentFacts>();
  /** Workloads whose triggers were told that they are gone. */
  readonly #toldGone = new Set<string>();
  #lastBootId = "";
  #guardedUntilWallMs: number | undefined;
  readonly #looks = new Map<string, () => void>();
  readonly #waiting = new Map<string, readonly string[]>();

  constructor(see: (seen: Seen) => void, clock?: VirtualClock, pace?: Pace) {
    super(see, clock, pace);
    this.#experience = new Experience(this.clock, (workload, text) =>
      this.see({ is: "node", what: `suggestion for ${workload}`, because: text }),
    );
    this.runs = new Runs({
      clock: this.clock,
      bounds: this.pools,
      see,
      perform: (context) => perform(this, context),
      sight: (workload, failedBefore) => sightOf(this, workload, failedBefore),
      awaits: (workload) => this.actor(workload).state.phase.at === "mending",
    });
  }

  /** How many agents have lived. */
  get lives(): number {
    return this.life;
  }

  advice(workload: string) {
    return this.#experience.advice(workload, this.actor(workload).state.incident);
  }
  demoted(workload: string) {
    return this.#experience.demoted(workload);
  }
  trust(workload: string) {
    return this.#experience.trust(workload);
  }

  // ── the agent's life ───────────────────────────────────────────────────────────────────────────────────────────────

  startAgent(): void {
    if (this.agentAlive) return;
    this.agentAlive = true;
    this.life += 1;
    const rebooted = this.#lastBootId !== "" && this.#lastBootId !== this.bootId;
    this.#lastBootId = this.bootId;
    this.see({ is: "life", who: "agent", what: "starts" });
    for (const actor of this.actors.values()) {
      const { held: _before, ...free } = actor.kept;
      actor.state = this.killSwitch ? { ...free, held: true } : free;
      actor.told = false;
    }
    this.#open = new OpenIncidents([...this.#last.values()].filter(({ at }) => at !== "closed"));
    this.#toldGone.clear();
    this.triggers.boot(!rebooted);
    const adopted = this.#adopt();
    this.#startRest(adopted);
    this.tellNode({ is: "boot", rebooted, held: this.killSwitch });
    const cases = Object.entries(this.#nodeState.cases);
    this.triggers.settle(cases.filter(([, { maintenance }]) => !maintenance).map(([trigger]) => trigger));
    this.repeat(this.pace("firstLook"), observeEveryMs, () => this.#observe());
    this.repeat(this.pace("firstBeat"), signsEveryMs, () => this.senses.signs());
  }

  killAgent(): void {
    if (!this.agentAlive) return;
    this.agentAlive = false;
    this.#guardedUntilWallMs = this.clock.wallMs();
    this.life += 1;
    this.runs.dies();
    this.#waiting.clear();
    this.see({ is: "life", who: "agent", what: "dies" });
    this.onAgentDeath();
  }

  /** Everything ends, and after the machine's own start whoever is started by init. */
  reboot(start: () => void = () => this.startAgent()): void {
    this.killAgent();
    this.see({ is: "life", who: "machine", what: "reboots" });
    this.bootId = `boot-${this.clock.monotonicMs() + 2}`;
    for (const [name, actor] of this.actors) if (actor.instance) this.gone(name, actor);
    const boot = this.bootId;
    this.later(this.pace("boot"), () => {
      if (boot === this.bootId) start();
    });
  }

  /** The agent was stopped, starved or asleep, and knows it. */
  away(ms: number): void {
    this.clock.stall(ms);
    if (!this.agentAlive) return;
    for (const name of this.actors.keys()) this.tell(name, { is: "late", byMs: ms });
    this.triggers.tell({ is: "late", byMs: ms });
    this.tellNode({ is: "late", byMs: ms });
  }

  setKillSwitch(on: boolean, person: string): void {
    this.killSwitch = on;
    this.see({ is: "node", what: `kill-switch.${on ? "on" : "off"}`, because: `person:${person}` });
    const order = dependencyOrder([...this.actors.values()].map(({ spec }) => spec));
    const who = `person:${person}`;
    if (on) for (const name of order.reverse()) this.tell(name, { is: "hold", who });
    else this.#tellInOrder(order, (need) => !hasStarted(this.actor(need).state), { is: "release", who });
    this.tellNode({ is: on ? "held" : "released" });
  }

  #adopt(): Set<string> {
    const { bootId } = this;
    const now = { ms: this.clock.monotonicMs(), wallMs: this.clock.wallMs() };
    const adopted = new Set<string>();
    for (const [name, actor] of this.actors) {
      const found = actor.instance ? [actor.instance] : [];
      const instance = adoptable(actor.state, found, { bootId, now, lives: ({ id }) => actor.instance?.id === id });
      if (!instance) continue;
      actor.instance = { ...instance, adopted: true };
      adopted.add(name);
      this.tell(name, { is: "boot", bootId, found: actor.instance });
    }
    return adopted;
  }

  #startRest(adopted: ReadonlySet<string>): void {
    const { bootId } = this;
    const until = this.#guardedUntilWallMs;
    const order = dependencyOrder([...this.actors.values()].map(({ spec }) => spec));
    this.#tellInOrder(
      order.filter((name) => !adopted.has(name)),
      (need) => !adopted.has(need),
      { is: "boot", bootId, ...(until !== undefined && { guardedUntilWallMs: until }) },
    );
  }

  /** Each begins after what it depends on, or after that has had its time. */
  #tellInOrder(
    order: readonly string[],
    waitsFor: (need: string) => boolean,
    event: Extract<Event, { is: "boot" | "release" }>,
  ): void {
    for (const name of order) {
      const waitFor = this.actor(name).spec.dependsOn.filter(waitsFor);
      if (waitFor.length > 0) this.#waiting.set(name, waitFor);
      this.tell(name, { ...event, ...(waitFor.length > 0 && { waitFor }) });
      const limitMs = waitFor.reduce((most, need) => most + this.actor(need).spec.startGraceMs + startMarginMs, 0);
      if (waitFor.length > 0) this.soon(limitMs, () => this.#letGo(name));
    }
    this.#release();
  }

  #release(): void {
    for (const [name, needs] of [...this.#waiting])
      if (needs.every((need) => this.actor(need).told && hasStarted(this.actor(need).state))) this.#letGo(name);
  }
  #letGo(name: string): void {
    if (this.#waiting.delete(name)) this.tell(name, { is: "needsMet" });
  }

  // ── the agent's machines ───────────────────────────────────────────────────────────────────────────────────────────

  tell(name: string, event: Event): void {
    if (!this.agentAlive) return;
    const actor = this.actor(name);
    if (event.is === "boot") actor.told = true;
    if (event.is === "spawned") {
      this.senses.born(name);
      this.triggers.tell({ is: "born", workload: name });
    }
    const before = actor.state;
    const result = step(actor.spec, before, event, this.moment());
    const { phase, intent, treatment, awaited } = result.state;
    actor.state = result.state;
    // As the supervisor: what has no effect and moves nothing is not written down.
    if (
      result.effects.length > 0 ||
      before.phase !== phase ||
      before.intent !== intent ||
      before.treatment !== treatment ||
      before.awaited !== awaited
    ) {
      actor.kept = JSON.parse(JSON.stringify(result.state)) as typeof result.state;
      actor.state = actor.kept;
    }
    const moved = { is: "phase", workload: name, from: before, to: actor.state } as const;
    const moves = before.phase.at !== phase.at;
    if (moves && phase.at !== "backoff") this.see(moved);
    for (const effect of result.effects) this.#act(name, actor, effect, before);
    // A wait is told after its reason.
    if (moves && phase.at === "backoff") this.see(moved);
    this.#schedule(name, actor);
    if (this.#waiting.size > 0) this.#release();
    if (maySettleWaits(before, actor.state, event))
      for (const woken of wokenBy(this.actors.values())) this.soon(1, () => this.tell(woken, { is: "rootWell" }));
  }

  tellNode(event: NodeEvent): void {
    if (!this.agentAlive) return;
    const result = stepNode(this.#nodeState, event, this.moment());
    this.#nodeState = JSON.parse(JSON.stringify(result.state)) as NodeState;
    for (const effect of result.effects) {
      if (effect.do === "incident") this.#incident("", effect.facts);
      if (effect.do === "audit") this.see({ is: "node", what: effect.action, because: effect.because });
      if (effect.do === "cancel") this.runs.cancel(effect.id);
      if (effect.do !== "play") continue;
      this.soon(1, () => this.#playForNode(effect));
    }
    this.#looks.get("")?.();
    const due = nextNodeLookMs(this.#nodeState);
    if (due !== undefined)
      this.#looks.set(
        "",
        this.#at(due, () => this.tellNode({ is: "look" })),
      );
  }

  #act(name: string, actor: Actor, effect: Effect, before: Actor["state"]) {
    this.see({ is: "effect", workload: name, effect, state: actor.state, before });
    if (effect.do === "clean" || effect.do === "spawn" || effect.do === "signal") this.#acts(actor);
    switch (effect.do) {
      case "incident":
        return this.#incident(name, effect.facts);
      case "clean":
        return this.soon(this.pace("clean"), () => {
          if (this.manners.get("clean")?.ends === "fails")
            return this.tell(name, { is: "cleanFailed", because: "a process of it does not end" });
          if (actor.instance) this.gone(name, actor);
          this.tell(name, { is: "cleaned", killed: 0, removed: [], tookMs: 1 });
        });
      case "spawn":
        if (this.manners.get("spawn")?.ends === "fails")
          return this.soon(1, () => this.tell(name, { is: "spawnFailed", because: "its program is not there" }));
        return this.spawn(name, actor, effect.id, effect.safe === true);
      case "signal":
        // What hangs or is stopped does not hear it.
        if (effect.signal === "SIGCONT" || !actor.beating || actor.stopped) return;
        return this.later(this.pace("stop"), () => {
          if (actor.instance?.id === effect.instance.id) this.exit(name, 0);
        });
      case "examine":
        return this.soon(this.pace("examine"), () => this.tell(name, { is: "examined", facts: factsOf(this, name) }));
      case "cancelRemedy":
        return this.runs.cancel(effect.id);
      case "remedy": {
        const { id, remedy, budgetMs } = effect;
        const incidentId = actor.state.incident?.id ?? "";
        const begun = () => this.#acts(actor);
        const answer = ({ turnedAway, ...result }: RemedyResult) => {
          if (!turnedAway) return this.tell(name, { is: "remedied", id, ...result });
          this.soon(askAgainMs, () => awaitsRemedy(actor.state, id) && begin());
        };
        const begin = () => {
          if (remedy.by === "playbook")
            return this.#play({ id, playbook: remedy.playbook, workload: name, incidentId, budgetMs, begun }, answer);
          this.runs.clear(name, id);
          const action = { do: rungDeeds[remedy.rung] } as Action;
          const only = { name: "", timeoutMs: budgetMs, onFailure: "stop", once: false, action } as const;
          const pool = rungPools[remedy.rung];
          const about = { id, name: remedyName(remedy), workload: name, incidentId, budgetMs, pool, down: true };
          this.runs.begin({ ...about, begun, steps: [only] }, answer);
        };
        return this.soon(1, begin);
      }
      default:
        return;
    }
  }

  /** As the driver has it: beside the events, and written down with the next one. */
  #acts(actor: Actor): void {
    const now = { ms: this.clock.monotonicMs(), wallMs: this.clock.wallMs(), id: "" };
    actor.state = step(actor.spec, actor.state, { is: "acted" }, now).state;
  }

  #playForNode(effect: Extract<NodeEffect, { do: "play" }>): void {
    const { id, playbook, incidentId, budgetMs } = effect;
    const begun = () => this.tellNode({ is: "acted", id });
    this.#play({ id, playbook, workload: "", incidentId, budgetMs, begun }, ({ turnedAway, ...result }) => {
      if (!turnedAway) return this.tellNode({ is: "played", id, ...result });
      const waits = () => Object.values(this.#nodeState.cases).some((one) => one.at === "playing" && one.id === id);
      this.soon(askAgainMs, () => waits() && this.#playForNode(effect));
    });
  }

  #play(
    {
      id,
      playbook,
      workload,
      incidentId,
      budgetMs,
      begun,
    }: Record<"id" | "playbook" | "workload" | "incidentId", string> & { budgetMs: number; begun: () => void },
    answer: (result: RemedyResult) => void,
  ) {
    const found = this.playbooks.get(playbook);
    if (!found) return answer({ ok: false, because: `there is no playbook '${playbook}'` });
    const { steps, pool, timeoutMs } = found;
    const down = workload !== "" && this.actor(workload).state.phase.at === "mending";
    const request = { id, name: playbook, workload, incidentId, steps, pool, down, begun };
    this.runs.begin({ ...request, budgetMs: Math.min(budgetMs, timeoutMs) }, answer);
  }

  #incident(workload: string, facts: IncidentFacts): void {
    const { before, uptimeMs } = this.#open.told(facts, workload === "" ? undefined : this.actor(workload).state);
    this.#last.set(facts.id, facts);
    this.see({ is: "incident", workload, facts });
    const fact = workload === "" ? undefined : factOf(workload, before, facts);
    if (fact) this.triggers.tell(fact);
    this.#experience.incident(workload, before, facts, uptimeMs);
  }

  #observe(): void {
    this.triggers.tell({ is: "observed", observation: this.senses.observe() });
    for (const [name, { state, spec, config }] of this.actors) {
      const { phase, incident, mode } = state;
      const gone = phase.at === "stopped" || phase.at === "completed";
      if (gone && !this.#toldGone.has(name)) this.triggers.tell({ is: "gone", workload: name });
      if (gone) this.#toldGone.add(name);
      else this.#toldGone.delete(name);
      const longWell = phase.at === "running" && this.clock.monotonicMs() >= phase.readySinceMs + spec.probationMs;
      if (longWell && !incident && !mode && !config.healthy.includes(config.version))
        config.healthy.push(config.version);
    }
    if (this.senses.computeMeta()) this.onMeta();
  }

  // ── the world ──────────────────────────────────────────────────────────────────────────────────────────────────────

  // ── time ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  #schedule(name: string, actor: Actor): void {
    this.#looks.get(name)?.();
    const due = nextLookMs(actor.spec, actor.state);
    if (due !== undefined)
      this.#looks.set(
        name,
        this.#at(due, () => this.tell(name, { is: "look" })),
      );
  }
  #at(dueMs: number, act: () => void) {
    return this.clock.wakeAt(Math.max(dueMs, this.clock.monotonicMs() + 1), act);
  }
}
