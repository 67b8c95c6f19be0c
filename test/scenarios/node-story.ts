import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { NodeChecker } from "./node-checker.ts";
import { emergency } from "./node-emergency.ts";
import { Guards } from "./node-guard.ts";
import type { Actor, Ailment, Manner } from "./node-parts.ts";
import { systemOf, useSystem } from "./node-system.ts";
import { Narrator, type Shown, standing, type ToldIncident } from "./node-told.ts";
import { beatEveryFrom, specFrom } from "./node-words.ts";
import { NodeWorld } from "./node-world.ts";

/** What a whole story has shown, for the figures over the corpus. */
export interface Told {
  readonly text: string;
  readonly incidents: readonly ToldIncident[];
  /** What must never happen and did, one sentence each. */
  readonly violations: readonly string[];
  readonly shown: Shown;
}

/** A promise that waits is settled within so much virtual time: only the order of a dead node has any. */
const settleEveryMs = 1000;

/**
 * Runs a story against the agent's real machines and returns it with what happened indented under each command.
 *
 *   workload NAME [depends=A,B] [leans] [beat=3] [beats=150] [probe] [safe] [sandbox=77] [starts=3/60] [probation=300]
 *            [restart=never|onFailure] [backup] [delay=5] [grace=10] [budget=RUNG:S,…] [critical]     leans: it ends when what it
 *            depends on is gone; beat: its timeout; beats: so far apart, also where no beat is expected
 *   use SYSTEM                 examples/SYSTEM.yaml: its workloads, triggers, playbooks, jobs, pools and meta-health
 *   clock DAY HH:MM            what the wall clock says now; DAY is sun … sat
 *   agent starts|dies|hangs    watchdog starts|dies    reboot    pass S    away S (the agent was stopped so long)    emergency PERSON
 *   crash NAME [CODE]          oom NAME (SIGKILL)      hang NAME (no beats)    freeze NAME (stopped by a signal)   mute NAME (probes fail)
 *   breaks NAME until FIX,… [how=exit|mute|late|slow] [after=S] [code=N]    what each start comes to: it exits at once, gives no
 *                              sign, exits after S, or gives its first sign after S; until a rung, a step, or `restart` was done, or `never`;
 *                              `for N` instead of `until`: the next N starts
 *   heal NAME                  somebody else mends that
 *   deploy NAME VERSION        another config, from now on; what was healthy for its probation can be gone back to
 *   facts NAME [hints=config,corruption,…] [exhausted=WORDS_WITH_UNDERSCORES] [backup]      bootstrap lately
 *   set SUBJECT FIGURE VALUE|unknown [until=FIX,…]     SUBJECT is node or a workload; as before once a fix was done: FIX or SUBJECT:FIX
 *   stranger WORDS    late JOB S|no    source NAME AGE    port HOST:PORT refuses|accepts [until=FIX,…]    rule NAME broken|well
 *   remedy NAME works|fails|hangs [takes=S]    NAME is a rung, a playbook (its first step), a kind of step, a step's name, a job,
 *                             or `clean`, `spawn`
 *   requests NAME COUNT timeouts=N errors=N [every=S] [until=FIX,…]     errors NAME COUNT [every=S] [until=FIX,…]
 *   anomaly NAME yes|no WORDS  trend SUBJECT METRIC in S|no
 *   stop|start|restart NAME PERSON     kill-switch on|off PERSON     show
 */
export async function tellNode(story: string, clock: VirtualClock = new VirtualClock(0)): Promise<Told> {
  const teller = new Teller(clock);
  const told: string[] = [];
  for (const line of story.split("\n")) {
    if (line.startsWith(" ")) continue;
    if (line === "") {
      if (told.at(-1) !== "") told.push("");
      continue;
    }
    told.push(line);
    if (!line.startsWith("#")) told.push(...(await teller.run(line)).map((seen) => `  ${seen}`));
  }
  return { text: `${told.join("\n").trimEnd()}\n`, ...teller.all() };
}

class Teller {
  readonly #world: NodeWorld;
  readonly #narrator: Narrator;
  readonly #checker = new NodeChecker();
  #guards: Guards | undefined;

  constructor(clock: VirtualClock) {
    this.#narrator = new Narrator(() => clock.monotonicMs());
    this.#world = new NodeWorld((seen) => {
      this.#narrator.see(seen);
      this.#checker.see(seen, clock.monotonicMs());
    }, clock);
  }

  async run(line: string): Promise<string[]> {
    const [command = "", ...words] = line.split(/\s+/);
    const settings = new Map(words.filter((word) => word.includes("=")).map(split));
    const plain = words.filter((word) => !word.includes("="));
    if (command === "pass") await this.#pass(Number(plain[0]) * 1000);
    else if (command === "show") return standing(this.#world, this.#narrator.incidents());
    else if (!(await this.#does(command, plain, settings))) throw new Error(`a story has no command '${line}'`);
    // What follows in the same moment is part of what was told.
    this.#world.clock.advance(0);
    return this.#narrator.take();
  }

  all(): Omit<Told, "text"> {
    const { shown } = this.#narrator;
    return { incidents: this.#narrator.incidents(), violations: this.#checker.violations, shown };
  }

  async #pass(ms: number): Promise<void> {
    const { clock, senses } = this.#world;
    if (!senses.metaSpec) return void clock.advance(ms);
    for (let left = ms; left > 0; left -= settleEveryMs) {
      clock.advance(Math.min(left, settleEveryMs));
      for (let turn = 0; turn < 10; turn++) await undefined;
    }
  }

  async #does(command: string, words: string[], settings: Map<string, string>): Promise<boolean> {
    return (
      this.#life(command, words) ||
      this.#person(command, words) ||
      this.#ill(command, words, settings) ||
      this.#measured(command, words, settings) ||
      this.#told(command, words, settings) ||
      (await this.#given(command, words, settings))
    );
  }

  async #given(command: string, words: string[], settings: Map<string, string>): Promise<boolean> {
    const world = this.#world;
    const [first = "", second = ""] = words;
    switch (command) {
      case "use":
        useSystem(world, await systemOf(first));
        return true;
      case "workload":
        world.add(specFrom(first, words, settings), words.includes("leans"), beatEveryFrom(settings));
        if (words.includes("backup")) world.actor(first).facts = { ...world.actor(first).facts, backup };
        return true;
      case "facts":
        world.actor(first).facts = factsFrom(world.actor(first), words, settings);
        return true;
      case "bootstrap":
        world.bootstrapAllowed = false;
        return true;
      case "deploy":
        Object.assign(world.actor(first).config, { version: second, changedAtMs: world.clock.monotonicMs() });
        return true;
      case "remedy": {
        const takes = settings.get("takes");
        const ends = second as Manner["ends"];
        world.manners.set(first, { ends, ...(takes && { takesMs: Number(takes) * 1000 }) });
        return true;
      }
      default:
        return false;
    }
  }

  #life(command: string, [first = "", second = ""]: string[]): boolean {
    const world = this.#world;
    switch (`${command} ${first}`) {
      case "agent starts":
        world.startAgent();
        return true;
      case "agent dies":
        if (this.#guards) this.#guards.kill("agent");
        else world.killAgent();
        return true;
      case "agent hangs":
        this.#guards?.hang("agent");
        return true;
      case "watchdog starts":
        this.#guards ??= new Guards(world);
        this.#guards.start("watchdog");
        return true;
      case "watchdog dies":
        this.#guards?.kill("watchdog");
        return true;
      case "reboot ": {
        const guards = this.#guards;
        guards?.reboots();
        world.reboot(guards && (() => guards.start("watchdog")));
        return true;
      }
      default:
        break;
    }
    if (command === "away") world.away(Number(first) * 1000);
    else if (command === "clock") setClock(world.clock, first, second);
    else return false;
    return true;
  }

  #person(command: string, [first = "", second = ""]: string[]): boolean {
    const world = this.#world;
    switch (command) {
      case "stop":
      case "start":
      case "restart":
        world.tell(first, { is: command, who: `person:${second}` });
        return true;
      case "kill-switch":
        world.setKillSwitch(first === "on", second);
        return true;
      case "emergency":
        this.#guards ??= new Guards(world);
        emergency(world, this.#guards, first, () => undefined);
        return true;
      default:
        return false;
    }
  }

  #ill(command: string, words: string[], settings: Map<string, string>): boolean {
    const world = this.#world;
    const [first = "", second = "", until = ""] = words;
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
      case "heal":
        world.actor(first).ailment = undefined;
        return true;
      case "breaks": {
        const how = (settings.get("how") ?? "exit") as Ailment["how"];
        const afterMs = Number(settings.get("after") ?? 0) * 1000;
        const starts = second === "for" ? { starts: Number(until) } : {};
        world.ail(first, { until: until.split(","), how, afterMs, code: Number(settings.get("code") ?? 1), ...starts });
        return true;
      }
      default:
        return false;
    }
  }

  #measured(command: string, words: string[], settings: Map<string, string>): boolean {
    const world = this.#world;
    const { senses } = world;
    const [first = "", second = "", third = ""] = words;
    const until = settings.get("until")?.split(",") ?? [];
    switch (command) {
      case "set": {
        const figures = first === "node" ? world.node : world.actor(first).figures;
        const before = figures[second] ?? 0;
        if (third === "unknown") delete figures[second];
        else figures[second] = Number(third);
        if (until.length > 0) world.fault(first, until, () => Object.assign(figures, { [second]: before }));
        return true;
      }
      case "stranger":
        senses.stranger = words.join(" ");
        return true;
      case "late":
        if (second === "no") delete senses.lateJobs[first];
        else senses.lateJobs[first] = Number(second) * 1000;
        return true;
      case "source":
        senses.sources.set(first, { ageMs: Number(second) * 1000, atMs: world.clock.monotonicMs() });
        return true;
      case "port":
        if (second === "refuses") senses.refusing.add(first);
        else senses.refusing.delete(first);
        if (until.length > 0) world.fault("node", until, () => senses.refusing.delete(first));
        return true;
      case "rule":
        if (second === "broken") senses.broken.add(first);
        else senses.broken.delete(first);
        return true;
      default:
        return false;
    }
  }

  #told(command: string, words: string[], settings: Map<string, string>): boolean {
    const { triggers } = this.#world;
    const [first = "", second = "", ...more] = words;
    switch (command) {
      case "requests": {
        const [timeouts, errors] = [Number(settings.get("timeouts") ?? 0), Number(settings.get("errors") ?? 0)];
        this.#again(first, settings, () =>
          triggers.tell({ is: "requests", workload: first, count: Number(second), timeouts, errors }),
        );
        return true;
      }
      case "errors":
        this.#again(first, settings, () => triggers.tell({ is: "errors", workload: first, count: Number(second) }));
        return true;
      case "anomaly":
        triggers.tell({ is: "anomaly", workload: first, anomalous: second === "yes", because: more.join(" ") });
        return true;
      case "trend": {
        const workload = first === "node" ? "" : first;
        const eta = more.at(-1) === "no" ? {} : { etaMs: Number(more.at(-1)) * 1000 };
        const because = "etaMs" in eta ? `${second} grows steadily` : `${second} does not grow`;
        triggers.tell({ is: "trend", workload, metric: second, ...eta, confidence: 0.95, because });
        return true;
      }
      default:
        return false;
    }
  }

  /** Now, and again and again until it is mended, where the story says so. */
  #again(subject: string, settings: Map<string, string>, act: () => void): void {
    const everyMs = Number(settings.get("every") ?? 0) * 1000;
    let over = everyMs === 0;
    const until = settings.get("until")?.split(",") ?? [];
    this.#world.fault(subject, until, () => {
      over = true;
    });
    const go = (): void => {
      act();
      if (!over) this.#world.later(everyMs, () => !over && go());
    };
    go();
  }
}

const backup = { id: "b1", ageMs: 600_000 };

function factsFrom({ facts }: Actor, words: string[], settings: Map<string, string>): Actor["facts"] {
  const exhausted = settings.get("exhausted")?.split(",");
  return {
    ...facts,
    hints: (settings.get("hints")?.split(",") ?? facts.hints) as Actor["facts"]["hints"],
    exhausted: exhausted?.map((one) => one.replaceAll("_", " ")) ?? facts.exhausted,
    ...(words.includes("backup") && { backup }),
  };
}

/** The coming moment at which the week stands so. */
function setClock(clock: VirtualClock, day: string, time: string): void {
  const [hour = 0, minute = 0] = time.split(":").map(Number);
  const wanted = (["sun", "mon", "tue", "wed", "thu", "fri", "sat"].indexOf(day) * 24 + hour) * 60 + minute;
  const now = new Date(clock.wallMs());
  const is = (now.getUTCDay() * 24 + now.getUTCHours()) * 60 + now.getUTCMinutes();
  clock.stepWall((((wanted - is + 10_080) % 10_080) * 60 - now.getUTCSeconds()) * 1000);
}

function split(word: string): [string, string] {
  const at = word.indexOf("=");
  return [word.slice(0, at), word.slice(at + 1)];
}
