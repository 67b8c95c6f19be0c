import { type BudgetPolicy, budgetDefaults } from "@blueflame/hub/actions/budget.ts";
import { massPolicyOf } from "@blueflame/hub/escalation/mass.ts";
import { policyOf, seconds } from "@blueflame/hub/escalation/policy.ts";
import { type Effect, type Health, levelOf } from "@blueflame/hub/escalation/state.ts";
import { IncidentState } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Hub, type Seen, sweepEveryMs } from "../sim/hub.ts";

/**
 * Runs a story of the escalation: commands flush left, what happened indented under each. Everything that is indented is
 * thrown away and written anew, so a story is read and reviewed as it stands. The commands:
 *
 *    budget concurrent=1 perHour=60 siteShare=0.34     before the first node
 *    node NAME… [site=S] [probe=alive|dead] [respawn=ok,fail,…]   respawn: the outcomes in turn, the last one for ever
 *    alive NAME…    says hello and beats every 15 s from now on       silent NAME…  neither beats nor has a stream
 *    mute NAME…     hangs with an open stream until it is told to restart           failed NAME…  like alive, but calls itself failed
 *    hello NAME…    says hello and nothing else                        leave NAME WHY   a clean leave
 *    probe NAME alive|dead     what the second path says from now on
 *    stall S    the hub does nothing for S seconds      restart    the hub's process ends and starts again
 *    override GROUP PERSON     pass S    S seconds go by      show    the nodes and their incidents
 */
export function tell(story: string): string {
  const teller = new Teller();
  const told: string[] = [];
  for (const line of story.split("\n")) {
    if (line.startsWith(" ") || line === "") {
      if (line === "" && told.at(-1) !== "") told.push("");
      continue;
    }
    told.push(line);
    if (!line.startsWith("#")) told.push(...teller.run(line).map((seen) => `  ${seen}`));
  }
  return `${told.join("\n").trimEnd()}\n`;
}

interface Actor {
  beating: Health | "no";
  probe: boolean;
  respawns: string[];
  incarnation: number;
}

class Teller {
  readonly #clock = new VirtualClock();
  readonly #actors = new Map<string, Actor>();
  #budget: BudgetPolicy = budgetDefaults;
  #hub: Hub | undefined;
  #lines: string[] = [];

  run(line: string): string[] {
    this.#lines = [];
    const [command = "", ...words] = line.split(/\s+/);
    const settings = new Map(words.filter((word) => word.includes("=")).map((word) => split(word)));
    this.#do(
      command,
      words.filter((word) => !word.includes("=")),
      settings,
    );
    return this.#lines;
  }

  #do(command: string, names: string[], settings: Map<string, string>): void {
    const [first = "", second = ""] = names;
    switch (command) {
      case "budget": {
        const numbers = Object.fromEntries([...settings].map(([key, value]) => [key, Number(value)]));
        this.#budget = { ...budgetDefaults, ...numbers };
        return;
      }
      case "node":
        for (const name of names) this.#node(name, settings);
        return;
      case "alive":
      case "failed":
        for (const name of names) this.#alive(name, command === "alive" ? "healthy" : "failed");
        return;
      case "hello":
        for (const name of names) this.#hello(name);
        return;
      case "silent":
      case "mute":
        for (const name of names) {
          this.#actor(name).beating = "no";
          if (command === "silent") this.hub.tell(name, { is: "sessionClosed" });
        }
        return;
      case "leave":
        this.#actor(first).beating = "no";
        this.hub.tell(first, { is: "goingAway", because: second, comesBack: second !== "stop" });
        this.hub.tell(first, { is: "sessionClosed" });
        return;
      case "probe":
        this.#actor(first).probe = second === "alive";
        return;
      case "stall":
        this.#clock.stall(Number(first) * 1000);
        return;
      case "restart":
        this.hub.restart();
        for (const [name, actor] of this.#actors) if (actor.beating !== "no") this.#hello(name);
        return;
      case "override":
        this.hub.override(first, second);
        return;
      case "pass":
        this.#clock.advance(Number(first) * 1000);
        return;
      case "show":
        this.#show();
        return;
      default:
        throw new Error(`a story has no command '${command}'`);
    }
  }

  get hub(): Hub {
    if (this.#hub) return this.#hub;
    const hub = new Hub({
      clock: this.#clock,
      mass: massPolicyOf(policyOf()),
      budget: this.#budget,
      see: (seen) => this.#see(seen),
      hands: {
        probe: (node, ask) => this.#later(1_000, () => this.#answer(node, ask)),
        respawn: (node, attempt) => this.#later(2_000, () => this.#respawn(node, attempt)),
        order: (node, order) => {
          if (!this.hub.stateOf(node).connected) return;
          this.#later(3_000, () => this.#alive(node, "healthy"));
          this.#later(3_100, () => hub.orderResult(order.id, "done", "the agent restarted"));
        },
      },
    });
    this.#hub = hub;
    const sweep = (): void => {
      hub.sweep();
      this.#later(sweepEveryMs, sweep);
    };
    this.#later(sweepEveryMs, sweep);
    return hub;
  }

  #node(name: string, settings: Map<string, string>): void {
    const respawns = settings.get("respawn")?.split(",") ?? [];
    const policy = policyOf({ secondPath: settings.has("probe"), respawn: respawns.length > 0 });
    this.hub.add(name, settings.get("site") ?? "lab", policy);
    this.#actors.set(name, { beating: "no", probe: settings.get("probe") === "alive", respawns, incarnation: 1 });
  }
  #hello(name: string): void {
    this.hub.tell(name, { is: "sessionOpened", incarnation: this.#actor(name).incarnation });
  }
  #alive(name: string, health: Health): void {
    const actor = this.#actor(name);
    const was = actor.beating;
    actor.beating = health;
    if (was !== "no") return;
    this.#hello(name);
    const beat = (): void => {
      if (actor.beating === "no") return;
      this.hub.beat(name, actor.beating);
      this.#later(15_000, beat);
    };
    beat();
  }
  #answer(node: string, ask: number): void {
    const alive = this.#actor(node).probe;
    const because = alive ? "it answers a ping" : "no answer";
    this.hub.tell(node, { is: "probeAnswered", ask, alive, because });
  }
  #respawn(node: string, attempt: number): void {
    const actor = this.#actor(node);
    const ok = actor.respawns[0] === "ok";
    if (actor.respawns.length > 1) actor.respawns.shift();
    this.hub.tell(node, { is: "respawnEnded", attempt, ok, because: ok ? "exit code 0" : "exit code 1" });
    if (!ok) return;
    actor.incarnation++;
    this.#later(5_000, () => this.#alive(node, "healthy"));
  }

  #see(seen: Seen): void {
    const say = (text: string) => this.#lines.push(`${this.#at()} ${text}`);
    switch (seen.is) {
      case "away":
        say(`the hub was away for ${seconds(seen.ms)}`);
        return;
      case "group":
        say(
          seen.what === "alert"
            ? `${seen.group} ALERT: ${seen.because}`
            : `${seen.group} ${seen.what}: ${seen.because}`,
        );
        return;
      case "refused":
        say(`${seen.node} is refused by the budget: ${seen.because}`);
        return;
      case "order":
        say(`${seen.node} order ${seen.how}: ${seen.because}`);
        return;
      case "effect": {
        const text = words(seen.effect);
        if (text) say(`${seen.node} ${text}`);
      }
    }
  }

  #show(): void {
    for (const [name, { state }] of this.hub.rows) {
      const frozen = state.frozenBy.length > 0 ? `, frozen by ${state.frozenBy.join(", ")}` : "";
      this.#lines.push(`${name} ${levelOf(state)}${frozen}`);
    }
    for (const incident of this.hub.incidents.values()) {
      const person = incident.needsPerson ? ", needs a person" : "";
      const about = incident.nodeId || incident.site;
      this.#lines.push(`incident of ${about}: ${IncidentState[incident.state]}${person}: ${incident.summary}`);
      for (const { at, what, because } of incident.timeline) {
        this.#lines.push(`  ${at ? seconds(timestampMs(at) - this.#zeroMs()) : "?"} ${what}: ${because}`);
      }
    }
  }

  #zeroMs(): number {
    return this.#clock.wallMs() - this.#clock.monotonicMs();
  }
  #at(): string {
    return seconds(this.#clock.monotonicMs());
  }
  #later(ms: number, act: () => void): void {
    this.#clock.wakeAt(this.#clock.monotonicMs() + ms, act);
  }
  #actor(name: string): Actor {
    const actor = this.#actors.get(name);
    if (!actor) throw new Error(`a story speaks of '${name}' before it names the node`);
    return actor;
  }
}

function split(word: string): [string, string] {
  const at = word.indexOf("=");
  return [word.slice(0, at), word.slice(at + 1)];
}

// What an operator would want to read; the rest is seen through what it brings about.
function words(effect: Effect): string | undefined {
  switch (effect.do) {
    case "setLevel":
      return `${effect.from} -> ${effect.to}: ${effect.because}`;
    case "openIncident":
      return `incident opened: ${effect.change.summary}`;
    case "updateIncident":
      return `incident ${effect.change.stage ?? "goes on"}: ${effect.change.because}`;
    case "closeIncident":
      return `incident closed: ${effect.change.because}`;
    case "askSecondPath":
      return "second path is asked";
    case "respawn":
      return `respawn begins: ${effect.because}`;
    case "alert":
      return `ALERT ${effect.kind}: ${effect.because}`;
    default:
      return undefined;
  }
}
