/**
 * The agent's side of the mutual guard (watchdog/README.md): it beats to its watchdog, and starts the next one when that dies or
 * hangs, by the same machine that the watchdog runs. None of it waits for a disk: keys and words are read once, at the start.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import type { Random } from "@blueflame/shared/random/random.ts";
import { type Cancel, type Clock, nextRound } from "@blueflame/shared/time/clock.ts";
import type { Logger } from "pino";
import { beatEveryMs, flagsVariable } from "./constants.ts";
import { claim, type Door, holderOf, knock } from "./watchdog/door.ts";
import { parseFlags } from "./watchdog/flags.ts";
import { keyFor, readKey } from "./watchdog/key.ts";
import type { Line } from "./watchdog/line.ts";
import { type GuardPolicy, watchdogPolicy } from "./watchdog/policy.ts";
import { identify, lookAt, ownFolder, signalProcess } from "./watchdog/process.ts";
import { Runner } from "./watchdog/runner.ts";
import { type Effect, type Farewell, type Identity, same } from "./watchdog/state.ts";
import type { GuardKey, Message } from "./watchdog/wire.ts";
import { keepWord } from "./watchdog/word.ts";

/** Init restarts a watchdog of its own within this time; only then the agent starts one. */
const initFirstMs = 3000;
/** Who is not connected knocks again after this time; right after a start more often. */
const knockEveryMs = { soon: 50, later: 500 };
const soonMax = 40;
/** A disk that hangs keeps nobody from leaving. */
const wordWithinMs = 1000;
const looksMax = 10;
const watchdogBundle = "blueflame-watchdog.cjs";
/** It needs an eighth of that memory, and one thread of V8's is enough. Others flags cost more than they save (watchdog/README.md). */
const v8Flags = ["--max-old-space-size=32", "--max-semi-space-size=1", "--v8-pool-size=1"];

/** What the guard is given. */
export interface GuardOptions {
  readonly dataDir: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** How this agent is started again, program and arguments. */
  readonly command: readonly string[];
  /** False: it starts no watchdog. One that is there is used all the same. */
  readonly starts: boolean;
}

/** The agent's side of the guard; whoever opened it closes it. */
export interface Guard {
  /** The workloads are guarded: from now on our silence counts, and a watchdog is started where none is. */
  guarding(): void;
  /** A person asked for `down`: durable, or known to the watchdog, before any workload is stopped. Never rejects. */
  goesDown(by: string): Promise<void>;
  /** Says what the agent is about to do. True when a watchdog has heard it, and will start the next agent when that is wanted. */
  leave(farewell: Farewell): Promise<boolean>;
  /** Why the agent is not guarded; undefined when it is, or is not meant to be. */
  trouble(): string | undefined;
  /** The watchdog's process, while it is known: nobody's to end. */
  pids(): readonly number[];
  close(): void;
}

/** Rejects with STORE_LOCKED when another agent of this data directory lives. The directory exists. */
export async function openGuard(options: GuardOptions): Promise<Guard> {
  const key = keyFor(options.dataDir);
  if (!key) return new AgentGuard(options, undefined, undefined);
  const name = `${key.name}-agent`;
  const claimed = await claim(name, options.dataDir, (socket) => socket.destroy());
  if (claimed !== "taken") return new AgentGuard(options, key, claimed);
  const holder = holderOf(name);
  if (holder) {
    const stopped = lookAt(holder).sight === "stopped";
    const state = stopped ? `, stopped by a signal; \`blueflame-agent emergency\` brings the node back` : "";
    throw new Fault("STORE_LOCKED", `process ${holder.pid} is the agent of '${options.dataDir}'${state}`);
  }
  // A stranger's, who knows our name and cannot be stopped from taking it; the store's own lock still stands.
  return new AgentGuard(options, key, undefined);
}

class AgentGuard implements Guard {
  readonly #options: GuardOptions;
  #key: GuardKey | undefined;
  readonly #claim: Door | undefined;
  readonly #self = identify(process.pid);
  readonly #program: readonly string[] | undefined;
  #runner: Runner | undefined;
  #line: { readonly line: Line; readonly peer: Identity } | undefined;
  /** The last one that we heard of was init's, which brings back its own. */
  #init = false;
  #figures = process.env[flagsVariable] ?? "";
  #guards = false;
  #goesDown = false;
  #knocks = 0;
  #knocking = false;
  #closed = false;
  /** Started by us and not heard of yet. */
  #started: Identity | undefined;
  readonly #cancels = new Set<Cancel>();

  constructor(options: GuardOptions, key: GuardKey | undefined, claimed: Door | undefined) {
    this.#options = options;
    this.#key = key;
    this.#claim = claimed;
    this.#program = watchdogProgram();
    delete process.env[flagsVariable]; // handed on by arguments; a workload has no use for it
    if (!key) return;
    this.#knock();
    this.#beat();
  }

  guarding(): void {
    this.#guards = true;
    this.#say({ is: "beat", guards: true });
    const { starts, log } = this.#options;
    if (!starts || !this.#key || this.#closed) return;
    if (!this.#program) {
      log.warn("the watchdog's program is not there: nobody guards this agent");
      return;
    }
    this.#runner = new Runner(() => this.#policy(), this.#world(), undefined);
    if (this.#line) this.#runner.post({ is: "seen", process: this.#line.peer, guards: true });
    // One that is stopped holds the name all the same, and is found silent in time.
    const holder = this.#line ? undefined : holderOf(this.#key.name);
    if (holder) this.#runner.post({ is: "seen", process: holder, guards: true });
  }

  /** Figures that were set for the watchdog hold for both. */
  #policy(): GuardPolicy {
    const flags = parseFlags(this.#figures.split(" ").filter(Boolean), "");
    const { wellAfterMs, restartsMax, cooldownMs } = "refused" in flags ? watchdogPolicy : flags.policy;
    const firstWaitMs = this.#init ? initFirstMs : 0;
    return { ...watchdogPolicy, firstWaitMs, wellAfterMs, restartsMax, cooldownMs };
  }

  async goesDown(by: string): Promise<void> {
    this.#goesDown = true;
    this.#say({ is: "word", again: false });
    await this.#keep("down", by);
  }

  async leave(farewell: Farewell): Promise<boolean> {
    const heard = this.#line !== undefined;
    this.#runner?.stop();
    this.#say({ is: "leaving", farewell });
    if (farewell === "agent_restart") return heard;
    if (farewell === "stop") await this.#keep("stop", "signal");
    // One that is just starting has not heard it, and would revive us.
    if (this.#started && !this.#line) signalProcess(this.#started, "SIGTERM");
    return heard;
  }

  pids(): readonly number[] {
    return this.#line ? [this.#line.peer.pid] : [];
  }

  trouble(): string | undefined {
    const { starts } = this.#options;
    if (!starts || !this.#guards || this.#line) return undefined;
    if (!this.#key) return "the agent is not guarded: the data directory takes no key for it and its watchdog";
    if (!this.#program) return "the agent is not guarded: the watchdog's program is not installed beside it";
    const at = this.#runner?.state.phase.at;
    return at === "cooldown" ? "the agent is not guarded: its watchdog does not stay alive" : undefined;
  }

  close(): void {
    this.#closed = true;
    this.#runner?.stop();
    for (const cancel of this.#cancels) cancel();
    this.#claim?.close();
    this.#line?.line.end();
  }

  async #keep(word: "down" | "stop", by: string): Promise<void> {
    const { dataDir, log } = this.#options;
    const late = new Promise<false>((resolve) => this.#after(wordWithinMs, () => resolve(false)));
    if (!(await Promise.race([keepWord(dataDir, word, by), late])))
      log.warn(`'${word}' could not be written down: after a reboot init starts this node again`);
  }

  // ── the line ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  #after(ms: number, run: () => void): void {
    this.#at(this.#options.clock.monotonicMs() + ms, run);
  }

  #at(atMs: number, run: () => void): void {
    const cancel = this.#options.clock.wakeAt(atMs, () => {
      this.#cancels.delete(cancel);
      run();
    });
    this.#cancels.add(cancel);
  }

  #beat(): void {
    if (this.#closed) return;
    this.#say({ is: "beat", guards: this.#guards });
    this.#at(nextRound(this.#options.clock.monotonicMs(), beatEveryMs), () => this.#beat());
  }

  #say(message: Message): void {
    this.#line?.line.send(message);
  }

  #knock(): void {
    if (this.#closed || this.#knocking || this.#line || !this.#key) return;
    this.#knocking = true;
    const { dataDir, command } = this.#options;
    const cwd = ownFolder();
    const hello = { ...this.#self, role: "agent" as const, command, guards: this.#guards, ...(cwd && { cwd }) };
    void knock(this.#key, dataDir, hello).then((knocked) => {
      this.#knocking = false;
      if (this.#closed) return knocked.is === "open" ? knocked.line.end() : undefined;
      if (knocked.is === "open") return this.#met(knocked.line, knocked.peer, knocked.welcome);
      // A watchdog makes a new key when a stranger has taken its name.
      if (knocked.is === "stranger") this.#key = readKey(dataDir) ?? this.#key;
      if (knocked.is === "silent" && knocked.holder) this.#blame(knocked.holder);
      this.#after(this.#knocks++ < soonMax ? knockEveryMs.soon : knockEveryMs.later, () => this.#knock());
    });
  }

  /** It listens and says nothing: seen once, and from then on judged by its silence. */
  #blame(holder: Identity): void {
    const phase = this.#runner?.state.phase;
    if (!phase || ("process" in phase && same(phase.process, holder))) return;
    this.#runner?.post({ is: "seen", process: holder, guards: true });
  }

  #met(line: Line, peer: Identity, welcome: Message & { is: "welcome" }): void {
    this.#line = { line, peer };
    this.#init = welcome.init;
    this.#figures = welcome.flags;
    this.#started = undefined;
    this.#options.log.info({ watchdog: peer.pid, init: welcome.init }, "guarded by its watchdog");
    this.#say({ is: "beat", guards: this.#guards });
    if (this.#goesDown) this.#say({ is: "word", again: true });
    this.#runner?.post({ is: "seen", process: peer, guards: true });
    line.listen(
      (message) => {
        if (message.is === "leaving") this.#runner?.post({ is: "told", process: peer, farewell: "agent_restart" });
        if (message.is === "beat") this.#runner?.post({ is: "seen", process: peer, guards: true });
      },
      () => {
        this.#line = undefined;
        this.#knocks = 0;
        this.#knock();
        this.#lookForDeath(peer, 0);
      },
    );
  }

  #lookForDeath(peer: Identity, round: number): void {
    if (this.#closed) return;
    const { sight } = lookAt(peer);
    if (sight === "gone") this.#runner?.post({ is: "looked", process: peer, sight });
    else if (round < looksMax) this.#after(2 ** round, () => this.#lookForDeath(peer, round + 1));
  }

  // ── what the machine says ────────────────────────────────────────────────────────────────────────────────────────────

  #world() {
    const { clock, random } = this.#options;
    return {
      nowMs: () => clock.monotonicMs(),
      chance: random,
      wakeAt: (atMs: number, wake: () => void) => clock.wakeAt(atMs, wake),
      look: lookAt,
      perform: (effect: Exclude<Effect, { do: "look" }>) => this.#perform(effect),
    };
  }

  #perform(effect: Exclude<Effect, { do: "look" }>): void {
    const { log } = this.#options;
    if (effect.do === "spawn") this.#spawn();
    else if (effect.do === "signal") signalProcess(effect.process, effect.signal);
    else if (effect.do === "note") {
      const bad = effect.to === "ending" || effect.to === "cooldown";
      log[bad ? "warn" : "debug"]({ from: effect.from, to: effect.to }, `watchdog: ${effect.because}`);
    }
  }

  #spawn(): void {
    const { dataDir, command, log } = this.#options;
    const [file = "", ...program] = this.#program ?? [];
    const words = command.slice(command.indexOf("up"));
    const figures = this.#figures.split(" ").filter(Boolean);
    try {
      const child = spawn(
        file,
        [...program, "watchdog", "--data-dir", dataDir, "--handover", ...figures, "--", ...words],
        // Its own session: what ends ours, or our terminal, does not end it. Our successor's log goes where ours goes.
        { detached: true, stdio: ["pipe", "ignore", "inherit"] },
      );
      child.on("error", (error) => this.#runner?.post({ is: "spawnFailed", because: error.message }));
      if (child.pid === undefined) return;
      const started = identify(child.pid);
      this.#started = started;
      child.stdin.on("error", () => undefined); // it ended before it had read
      child.stdin.end(JSON.stringify(this.#key));
      child.on("exit", (code) => {
        if (same(this.#started, started)) this.#started = undefined;
        this.#runner?.post({ is: "looked", process: started, sight: "gone", quiet: code === 0 });
      });
      child.unref();
      this.#runner?.post({ is: "spawned", process: started });
      this.#knocks = 0;
      this.#knock();
    } catch (error) {
      log.warn(`the watchdog cannot be started: ${(error as Error).message}`);
      this.#runner?.post({ is: "spawnFailed", because: (error as Error).message });
    }
  }
}

/** How a watchdog is started: packaged it is this executable, else the small bundle beside ours; undefined when that is missing. */
function watchdogProgram(): readonly string[] | undefined {
  if ("pkg" in process) return [process.execPath];
  const bundle = join(dirname(fileURLToPath(import.meta.url)), watchdogBundle);
  return existsSync(bundle) ? [process.execPath, ...v8Flags, bundle] : undefined;
}
