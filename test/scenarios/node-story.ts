import { ladderDefaults } from "@blueflame/agent/ladder/policy.ts";
import { alertsOf } from "@blueflame/agent/records/alert.ts";
import type { ProbeSpec, WorkloadSpec } from "@blueflame/agent/supervise/spec.ts";
import type { Effect, IncidentFacts } from "@blueflame/agent/supervise/state.ts";
import { specOf } from "../support/spec.ts";
import { type Actor, NodeWorld, remedyName, type Seen } from "./node-world.ts";

/** What a whole story has shown, for the figures over the corpus. */
export interface Told {
  readonly text: string;
  /** The last revision of each incident, and of what it is. */
  readonly incidents: readonly {
    readonly workload: string;
    readonly facts: IncidentFacts;
    readonly personNeeded: boolean;
  }[];
}

/**
 * Runs a story against the agent's real machines and returns it with what happened indented under each command.
 *
 *   workload NAME [depends=A,B] [beat=3] [probe] [safe] [sandbox=77] [starts=3/60] [probation=300] [restart=never] [backup] [delay=5]
 *   agent starts | dies        reboot        pass S
 *   crash NAME [CODE]          oom NAME (SIGKILL)          hang NAME (no beats)   freeze NAME (stopped by a signal)   mute NAME (probes fail)
 *   breaks NAME until FIX,…    each start fails until a rung or playbook of that name was used; `never` heals it not
 *   facts NAME changed=S [healthy=VERSION] [hints=config,corruption,…] [exhausted=WORDS_WITH_UNDERSCORES] [backup] [nobootstrap]
 *   set SUBJECT FIGURE VALUE   SUBJECT is node or a workload          stranger WORDS          late JOB S
 *   remedy NAME works|fails|hangs [takes=S] [sets=SUBJECT:FIGURE:VALUE]
 *   requests NAME COUNT timeouts=N errors=N     errors NAME COUNT     anomaly NAME yes|no WORDS     trend SUBJECT METRIC in S
 *   stop|start|restart NAME PERSON     kill-switch on|off PERSON     show
 */
export function tellNode(story: string): Told {
  const teller = new Teller();
  const told: string[] = [];
  for (const line of story.split("\n")) {
    if (line.startsWith(" ")) continue;
    if (line === "") {
      if (told.at(-1) !== "") told.push("");
      continue;
    }
    told.push(line);
    if (!line.startsWith("#")) told.push(...teller.run(line).map((seen) => `  ${seen}`));
  }
  return { text: `${told.join("\n").trimEnd()}\n`, incidents: teller.incidents() };
}

const probe: ProbeSpec = {
  name: "ping",
  use: "liveness",
  everyMs: 1000,
  timeoutMs: 1000,
  failures: 2,
  ask: { by: "tcp", host: "127.0.0.1", port: 1 },
};

class Teller {
  readonly #world = new NodeWorld((seen) => this.#see(seen));
  readonly #last = new Map<string, IncidentFacts>();
  readonly #persons = new Set<string>();
  #lines: string[] = [];

  run(line: string): string[] {
    this.#lines = [];
    const [command = "", ...words] = line.split(/\s+/);
    const settings = new Map(words.filter((word) => word.includes("=")).map(split));
    const plain = words.filter((word) => !word.includes("="));
    if (!this.#agent(command, plain) && !this.#fault(command, plain, settings) && !this.#told(command, plain, settings))
      throw new Error(`a story has no command '${line}'`);
    // What follows in the same moment is part of what was told.
    this.#world.clock.advance(0);
    return this.#lines;
  }

  incidents(): Told["incidents"] {
    const last = new Map<string, { workload: string; facts: IncidentFacts }>();
    for (const one of this.#world.incidents) last.set(one.facts.id, one);
    return [...last.values()].map((one) => ({ ...one, personNeeded: this.#persons.has(one.facts.id) }));
  }

  #agent(command: string, [first = "", second = ""]: string[]): boolean {
    const world = this.#world;
    switch (command) {
      case "agent":
        if (first === "starts") world.startAgent();
        else world.killAgent();
        return true;
      case "reboot":
        world.reboot();
        return true;
      case "pass":
        world.clock.advance(Number(first) * 1000);
        return true;
      case "stop":
      case "start":
      case "restart":
        world.tell(first, { is: command, who: `person:${second}` });
        return true;
      case "kill-switch":
        for (const name of world.actors.keys())
          world.tell(name, { is: first === "on" ? "hold" : "release", who: `person:${second}` });
        return true;
      case "show":
        this.#show();
        return true;
      default:
        return false;
    }
  }

  #fault(command: string, words: string[], settings: Map<string, string>): boolean {
    const world = this.#world;
    const [first = "", second = "", third = ""] = words;
    switch (command) {
      case "crash":
        world.exit(first, second === "" ? 1 : Number(second));
        return true;
      case "oom":
        world.exit(first, 0, "SIGKILL");
        return true;
      case "hang":
        world.actor(first).beating = false;
        return true;
      case "freeze":
        world.actor(first).stopped = true;
        return true;
      case "mute":
        world.actor(first).probing = false;
        return true;
      case "breaks": {
        const actor = world.actor(first);
        actor.brokenUntil = third.split(",");
        actor.done = new Set();
        actor.exitCode = Number(settings.get("code") ?? 1);
        return true;
      }
      case "set":
        if (first === "node") world.node[second] = Number(third);
        else world.actor(first).figures[second] = Number(third);
        return true;
      case "stranger":
        world.stranger = words.join(" ");
        return true;
      case "late":
        if (second === "no") delete world.lateJobs[first];
        else world.lateJobs[first] = Number(second) * 1000;
        return true;
      default:
        return false;
    }
  }

  #told(command: string, words: string[], settings: Map<string, string>): boolean {
    const world = this.#world;
    const [first = "", second = "", ...more] = words;
    switch (command) {
      case "workload":
        world.add(specFrom(first, words, settings));
        if (words.includes("backup"))
          world.actor(first).facts = { ...world.actor(first).facts, backup: { id: "b1", ageMs: 600_000 } };
        return true;
      case "facts":
        world.actor(first).facts = factsFrom(world.actor(first), words, settings);
        return true;
      case "remedy":
        world.manners.set(first, {
          ends: second as "works" | "fails" | "hangs",
          takesMs: Number(settings.get("takes") ?? 2) * 1000,
          sets: (settings.get("sets")?.split(",") ?? []).map((one) => {
            const [subject = "", figure = "", value = ""] = one.split(":");
            return { subject, figure, value: Number(value) };
          }),
        });
        return true;
      case "requests": {
        const [timeouts, errors] = [Number(settings.get("timeouts") ?? 0), Number(settings.get("errors") ?? 0)];
        world.tellTriggers({ is: "requests", workload: first, count: Number(second), timeouts, errors });
        return true;
      }
      case "errors":
        world.tellTriggers({ is: "errors", workload: first, count: Number(second) });
        return true;
      case "anomaly":
        world.tellTriggers({ is: "anomaly", workload: first, anomalous: second === "yes", because: more.join(" ") });
        return true;
      case "trend": {
        const workload = first === "node" ? "" : first;
        const because = `${second} grows steadily`;
        const etaMs = Number(more.at(-1)) * 1000;
        world.tellTriggers({ is: "trend", workload, metric: second, etaMs, confidence: 0.95, because });
        return true;
      }
      default:
        return false;
    }
  }

  // ── what an operator would want to read ────────────────────────────────────────────────────────────────────────────

  #see(seen: Seen): void {
    const say = (who: string, text: string) => this.#lines.push(`${this.#at()} ${who || "node"} ${text}`);
    switch (seen.is) {
      case "phase": {
        const { from, to } = seen;
        if (["running", "stopped", "completed", "backoff"].includes(to.phase.at))
          say(seen.workload, `${from.phase.at} -> ${to.phase.at}: ${short(to.because)}`);
        return;
      }
      case "effect":
        this.#effect(seen.workload, seen.effect, say);
        return;
      case "incident":
        this.#incident(seen.workload, seen.facts, say);
        return;
      case "node":
        say("", `${seen.what}: ${short(seen.because)}`);
        return;
      case "triggers":
        for (const { trigger, workload, because } of seen.step.fired)
          say(workload, `trigger ${trigger} fires: ${short(because)}`);
        for (const { trigger, workload } of seen.step.cleared) say(workload, `trigger ${trigger} is over`);
        for (const { trigger, workload, because } of seen.step.noted)
          say(workload, `trigger ${trigger} is noted only: ${short(because)}`);
    }
  }

  #effect(workload: string, effect: Effect, say: (who: string, text: string) => void): void {
    if (effect.do === "spawn") say(workload, effect.safe ? "starts in safe mode" : "starts");
    if (effect.do === "remedy") say(workload, `${remedyName(effect.remedy)} begins`);
    if (effect.do === "cancelRemedy") say(workload, "its remedy is called off");
    if (effect.do === "audit" && effect.outcome !== "success")
      say(workload, `${effect.action}: ${short(effect.because)}`);
  }

  #incident(workload: string, facts: IncidentFacts, say: (who: string, text: string) => void): void {
    const before = this.#last.get(facts.id);
    this.#last.set(facts.id, facts);
    if (facts.needsPerson) this.#persons.add(facts.id);
    const { diagnosis } = facts;
    if (diagnosis && diagnosis !== before?.diagnosis && JSON.stringify(diagnosis) !== JSON.stringify(before?.diagnosis))
      say(
        workload,
        `diagnosis ${diagnosis.cause} (${diagnosis.confidence.toFixed(2)})${diagnosis.root ? ` from ${diagnosis.root}` : ""}: ${short(diagnosis.evidence[0] ?? "")}`,
      );
    for (const { kind, page, because } of alertsOf(before, facts))
      say(workload, `${page ? "PAGE" : "alert"} ${kind}: ${short(because)}`);
  }

  #show(): void {
    const world = this.#world;
    for (const [name, { state, instance }] of world.actors) {
      const mode = state.mode === "safe" ? " in safe mode" : "";
      this.#lines.push(`${name} ${state.phase.at}${mode}, ${instance ? "its process lives" : "no process"}`);
    }
    for (const { workload, facts } of this.incidents()) {
      const tried = facts.attempts.map(
        ({ rung, playbook, ok }) => `${rung ?? playbook}${ok === undefined ? "" : ok ? " ✓" : " ✗"}`,
      );
      const took = facts.recoverTookMs === undefined ? "" : `, recovered in ${seconds(facts.recoverTookMs)}`;
      this.#lines.push(
        `incident of ${workload || "node"} ${facts.at}: ${facts.symptom}; tried ${tried.join(", ") || "nothing"}${took}`,
      );
    }
  }

  #at(): string {
    return seconds(this.#world.clock.monotonicMs());
  }
}

function specFrom(name: string, words: string[], settings: Map<string, string>): WorkloadSpec {
  const [max = 3, within = 60] = settings.get("starts")?.split("/").map(Number) ?? [];
  const beat = settings.get("beat");
  const restart = settings.get("restart");
  return specOf({
    name,
    dependsOn: settings.get("depends")?.split(",") ?? [],
    ...(beat && { beat: { timeoutMs: Number(beat) * 1000 } }),
    probes: words.includes("probe") ? [probe] : [],
    ...(words.includes("safe") && { safeMode: { env: {} } }),
    sandboxExitCodes: settings.has("sandbox") ? [Number(settings.get("sandbox"))] : [],
    starts: { max, withinMs: within * 1000 },
    probationMs: Number(settings.get("probation") ?? 300) * 1000,
    restart: restart === "never" || restart === "onFailure" ? restart : "always",
    backoff: { baseMs: 500, capMs: 30_000, resetAfterMs: 10_000, delayMs: Number(settings.get("delay") ?? 0) * 1000 },
    ladder: ladderDefaults,
  });
}

function factsFrom({ facts }: Actor, words: string[], settings: Map<string, string>): Actor["facts"] {
  const changed = settings.get("changed");
  const healthy = settings.get("healthy");
  const config = changed
    ? { version: "v2", changedAgoMs: Number(changed) * 1000, ...(healthy && { healthyVersion: healthy }) }
    : facts.config;
  return {
    ...facts,
    config,
    hints: (settings.get("hints")?.split(",") ?? facts.hints) as Actor["facts"]["hints"],
    exhausted:
      settings
        .get("exhausted")
        ?.split(",")
        .map((one) => one.replaceAll("_", " ")) ?? facts.exhausted,
    ...(words.includes("backup") && { backup: { id: "b1", ageMs: 600_000 } }),
    bootstrapAllowed: !words.includes("nobootstrap"),
  };
}

function split(word: string): [string, string] {
  const at = word.indexOf("=");
  return [word.slice(0, at), word.slice(at + 1)];
}
function seconds(ms: number): string {
  return ms % 1000 === 0 || ms >= 10_000 ? `${Math.round(ms / 1000)}s` : `${(ms / 1000).toFixed(1)}s`;
}
function short(text: string): string {
  return text.length > 160 ? `${text.slice(0, 157)}...` : text;
}
