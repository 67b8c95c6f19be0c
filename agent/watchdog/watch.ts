/** The watchdog's shell: takes the lock, opens the door, and does what the machine says. */
import { spawn } from "node:child_process";
import { setPriority } from "node:os";
import { join } from "node:path";
import { flagsVariable, laterCode, places, revivedVariable } from "../constants.ts";
import { Critical, ordinary } from "./critical.ts";
import { type Door, holderOf, openDoor } from "./door.ts";
import type { Flags } from "./flags.ts";
import { goodProgram, isDamaged } from "./good.ts";
import type { InitFeed } from "./init.ts";
import type { Line } from "./line.ts";
import type { Log } from "./log.ts";
import { identify, lookAt, ownFolder, signalProcess } from "./process.ts";
import { currentCommand, programOf, revival } from "./program.ts";
import { Runner } from "./runner.ts";
import type { Effect, Identity, State } from "./state.ts";
import type { GuardKey, Message } from "./wire.ts";
import { clearWord, type Word, wordOf } from "./word.ts";

/** A process that has closed its line is not always gone at once: looked at after 2, 4, 8 … ms. */
const goneLooks = 10;

/** Above the ordinary, so that a machine at its limit lets us speak; only root may. */
const priority = -5;

/** What the watchdog starts with. */
export interface Start {
  readonly flags: Flags;
  readonly key: GuardKey;
  readonly word: Word | undefined;
  readonly log: Log;
  readonly feed: InitFeed | undefined;
}

/** Guards until it leaves. Resolves with "taken" when another one holds the lock: then nothing was done. */
export async function watch(start: Start): Promise<"left" | "taken"> {
  const left = Promise.withResolvers<"left">();
  const watchdog = new Watchdog(start, () => left.resolve("left"));
  return (await watchdog.open()) ? left.promise : "taken";
}

class Watchdog {
  readonly #start: Start;
  readonly #leave: () => void;
  readonly #lines = new Map<Line, Identity>();
  /** Processes that we have started, and whose exit is still to be reported to us. */
  readonly #children = new Set<number>();
  readonly #critical: Critical;
  #runner: Runner | undefined;
  #door: Door | undefined;
  /** How the agent is started; the last one that lived has said it. */
  #command: readonly string[];
  /** The folder that relative paths in it are meant from, when that is not ours. */
  #cwd: string | undefined;

  constructor(start: Start, leave: () => void) {
    this.#start = start;
    this.#leave = leave;
    this.#command = currentCommand(start.flags.words);
    this.#critical = new Critical(start.flags.dataDir, (msg, fields) => start.log.say(40, msg, fields));
  }

  async open(): Promise<boolean> {
    const { key, flags, word, log } = this.#start;
    const self = identify(process.pid);
    const door = await openDoor(key, flags.dataDir, self, (line, hello) => this.#met(line, hello));
    if (door === "taken") return false;
    this.#door = door;
    try {
      setPriority(priority);
    } catch {
      // Not root: as important as everybody else.
    }
    this.#runner = new Runner(() => flags.policy, this.#world(), word);
    log.say(30, "the watchdog guards", { pid: process.pid, init: flags.init, ...(word && { word }) });
    // Word of a person, and not of init: there is nothing to stay for.
    if (word && !flags.init) this.#runner.post({ is: "ordered", to: "rest" });
    const living = holderOf(`${key.name}-agent`);
    if (living) this.#runner.post({ is: "seen", process: living, guards: true });
    // It is on its way down, or has not heard of it: it is the last one in any case.
    if (living && word) this.#runner.post({ is: "ordered", to: "rest" });
    for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => this.#signalled(signal));
    return true;
  }

  #world() {
    return {
      nowMs: () => performance.now(),
      chance: Math.random,
      wakeAt: (atMs: number, wake: () => void) => {
        const timer = setTimeout(wake, Math.min(Math.max(0, Math.ceil(atMs - performance.now())), 2 ** 31 - 1));
        return () => clearTimeout(timer);
      },
      look: lookAt,
      perform: (effect: Exclude<Effect, { do: "look" }>, state: State) => this.#perform(effect, state),
    };
  }

  // ── who comes to the door ────────────────────────────────────────────────────────────────────────────────────────────

  #met(line: Line, hello: Message & { is: "hello" }): void {
    const { flags, log } = this.#start;
    const peer = { pid: hello.pid, startTicks: hello.startTicks };
    const phase = this.#runner?.state.phase;
    // Who leaves for good keeps no promise to anybody: a person is told that no watchdog answers.
    if (hello.role === "person" && phase?.at === "leaving" && phase.thenLeave) {
      line.end();
      return;
    }
    line.send({ is: "welcome", init: flags.init, flags: flags.figures });
    if (hello.role === "watchdog") {
      line.end();
      if (!flags.init) this.#makeWay(peer);
      return;
    }
    if (hello.role === "person") {
      line.listen(
        (message) => {
          if (message.is === "rest" || message.is === "run") this.#runner?.post({ is: "ordered", to: message.is });
        },
        () => undefined,
      );
      return;
    }
    // One that runs from the good copy says nothing about where the current one is.
    const { command, cwd } = hello;
    if (command && !command.some((word) => word.startsWith(join(flags.dataDir, places.good)))) this.#command = command;
    this.#cwd = cwd === ownFolder() ? undefined : cwd;
    this.#lines.set(line, peer);
    log.say(30, "an agent is connected", { pid: peer.pid });
    this.#runner?.post({ is: "seen", process: peer, guards: hello.guards ?? false });
    line.listen(
      (message) => this.#heard(line, peer, message),
      () => {
        this.#lines.delete(line);
        // The exit of one that we have started tells more: by which signal it has ended.
        if (!this.#children.has(peer.pid)) this.#lookForDeath(peer, 0);
      },
    );
  }

  #heard(line: Line, process: Identity, message: Message): void {
    if (message.is === "beat") {
      // Each beat is answered by one: who hears no answer knows of a hang, and nobody wakes twice for it.
      line.send({ is: "beat", guards: true });
      this.#runner?.post({ is: "seen", process, guards: message.guards });
      if (message.guards) this.#start.feed?.ready();
    } else if (message.is === "word") {
      this.#runner?.post({ is: "word", process });
      // The watchdog before this one has heard a newer word, which nobody but the file has kept: that the older one is gone.
      if (message.again && !wordOf(this.#start.flags.dataDir)) this.#runner?.post({ is: "ordered", to: "run" });
    } else if (message.is === "leaving") this.#runner?.post({ is: "told", process, farewell: message.farewell });
  }

  #lookForDeath(process: Identity, round: number): void {
    const { sight } = lookAt(process);
    if (sight === "gone") this.#runner?.post({ is: "looked", process, sight });
    // Alive and without a line, it knocks again, or is found silent.
    else if (round < goneLooks) setTimeout(() => this.#lookForDeath(process, round + 1), 2 ** round);
  }

  #tell(message: Message): void {
    for (const line of this.#lines.keys()) line.send(message);
  }

  // ── what the machine says ────────────────────────────────────────────────────────────────────────────────────────────

  #perform(effect: Exclude<Effect, { do: "look" }>, state: State): void {
    const { dataDir } = this.#start.flags;
    switch (effect.do) {
      case "note":
        this.#note(effect);
        break;
      case "spawn":
        void this.#spawnAgent(effect.program);
        break;
      case "examine":
        void isDamaged(dataDir).then((damaged) => damaged && this.#runner?.post({ is: "damaged" }));
        break;
      case "signal":
        signalProcess(effect.process, effect.signal);
        break;
      case "emergency":
        void this.#emergency(effect.program);
        break;
      case "tend":
        void this.#critical.tend(performance.now(), () => this.#runner?.state.phase.at === state.phase.at);
        break;
      case "clearWord":
        clearWord(dataDir);
        break;
      case "leave":
        this.#close();
        break;
    }
  }

  #note({ from, to, because }: Effect & { do: "note" }): void {
    const { log, feed } = this.#start;
    const bad = ["waiting", "ending", "cooldown", "emergency", "good"].includes(to) || to === "starting";
    log.say(to === "cooldown" || to === "emergency" ? 50 : bad ? 40 : 30, because, { from, to });
    feed?.status(`the agent: ${to} (${because})`);
  }

  async #spawnAgent(program: "current" | "good"): Promise<void> {
    const good = program === "good" ? await goodProgram(this.#start.flags.dataDir) : undefined;
    // The good copy takes the arguments of the current one; the config it finds by them, or the last good one.
    this.#launch(revival(this.#command, good), (started) => {
      if ("because" in started) {
        this.#cwd = undefined; // it may be the folder that is gone
        this.#runner?.post({ is: "spawnFailed", because: started.because });
      } else this.#runner?.post({ is: "spawned", process: started });
    });
  }

  #launch(
    command: readonly string[],
    returned: (started: Identity | { because: string }) => void,
    exited?: (code: number | null, signal: string | null) => void,
  ): void {
    const { flags, log } = this.#start;
    const [file = "", ...args] = command;
    try {
      const child = spawn(file, args, {
        detached: true,
        ...(this.#cwd && { cwd: this.#cwd }),
        // Its log goes where ours came from: a terminal, a file, init's journal.
        stdio: ["ignore", "ignore", "inherit"],
        env: { ...process.env, [revivedVariable]: "1", [flagsVariable]: flags.figures },
      });
      child.on("error", (error) => child.pid === undefined && returned({ because: error.message }));
      if (child.pid === undefined) return;
      ordinary(child.pid);
      const started = identify(child.pid);
      this.#children.add(started.pid);
      log.say(30, "started", { pid: child.pid, command: command.slice(0, 4) });
      child.on("exit", (code, signal) => {
        log.say(code === 0 ? 30 : 40, "ended", { pid: started.pid, code, signal });
        this.#children.delete(started.pid);
        exited?.(code, signal);
        // One that still started could not say it: a person has ended it, and that is no crash.
        if (signal === "SIGTERM" || signal === "SIGINT")
          this.#runner?.post({ is: "told", process: started, farewell: "stop" });
        this.#runner?.post({ is: "looked", process: started, sight: "gone", quiet: code === 0 });
      });
      returned(started);
    } catch (error) {
      returned({ because: error instanceof Error ? error.message : String(error) });
    }
  }

  async #emergency(program: "current" | "good"): Promise<void> {
    const { dataDir } = this.#start.flags;
    const good = program === "good" ? await goodProgram(dataDir) : undefined;
    const command = [...(good ?? programOf(this.#command)), "emergency", "--data-dir", dataDir, "--auto"];
    const ended = (ok: boolean, because: string, later = false) =>
      this.#runner?.post({ is: "emergencyEnded", ok, later, because });
    this.#launch(
      command,
      (started) => "because" in started && ended(false, started.because),
      (code, signal) => ended(code === 0, signal ? `ended by ${signal}` : `exit code ${code}`, code === laterCode),
    );
  }

  // ── how it ends ──────────────────────────────────────────────────────────────────────────────────────────────────────

  #signalled(signal: NodeJS.Signals): void {
    const { flags, log } = this.#start;
    log.say(30, `received ${signal}`, {});
    if (!flags.init) {
      // Not init's order, so no order to stop the agent: it starts the next one.
      if (signal !== "SIGHUP") this.#close();
    } else if (signal === "SIGHUP") this.#runner?.post({ is: "ordered", to: "run" });
    else {
      // Init has taken over what a SIGTERM to the agent meant; a person's `down` stays.
      clearWord(flags.dataDir, "stop");
      this.#runner?.post({ is: "ordered", to: "leave" });
    }
  }

  #makeWay(for_: Identity): void {
    this.#start.log.say(30, "makes way for the watchdog of init", { pid: for_.pid });
    this.#close();
  }

  #close(): void {
    // What the agent wrote when init's order reached it was not a person's word.
    if (this.#start.flags.init) clearWord(this.#start.flags.dataDir, "stop");
    this.#tell({ is: "leaving", farewell: "stop" });
    this.#runner?.stop();
    this.#door?.close();
    this.#start.feed?.close();
    for (const line of this.#lines.keys()) line.end();
    this.#leave();
  }
}
