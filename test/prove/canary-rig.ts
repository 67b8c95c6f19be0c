import { generateKeyPairSync } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { run } from "@blueflame/agent/bootstrap/child.ts";
import { type Agent, connect } from "@blueflame/agent/client/client.driver.ts";
import { findKeks } from "@blueflame/agent/store/keys/key-file.ts";
import { Ring } from "@blueflame/agent/store/keys/ring.ts";
import { readRingFile } from "@blueflame/agent/store/keys/ring-file.ts";
import { snapshotNumbers, snapshotsIn } from "@blueflame/agent/store/snapshot-file.ts";
import { environOf } from "@blueflame/agent/supervise/proc.driver.ts";
import type { Random } from "@blueflame/shared/random/random.ts";
import { processesOf, signalIfThere } from "../../deploy/running.ts";
import { canaryOf, type Kind, named, shaped, shapes, word } from "./canary-forms.ts";
import type { Lookout } from "./canary-places.ts";
import { AgentRig } from "./rig.ts";

const commandMs = 120_000;
/** Nobody listens there. */
const nobody = "127.0.0.1:1";
/** For a command that says by it how the node is. */
export const anyCode = -1;
/** What people and tools at the node ask for; what workloads keep (`state get`, `state log`) and configs (`config show`) are asked for by name. */
const questions = [
  "status",
  "incidents",
  "incidents last",
  "decisions -n 500",
  "audit -n 500",
  "audit export",
  "triggers",
  "playbooks",
  "health",
  "doctor",
  "config versions",
  "state list",
  "logs --part phoenix",
] as const;

/** A real node with a workload that is given secrets of every kind; what it does then is `canary-deeds.ts`. */
export class CanaryRig extends AgentRig {
  readonly chance: Random;
  readonly lookout: Lookout;
  /** What an escrow key's holder keeps; empty while the store is entrusted to nobody. */
  escrowPem = "";
  #shape = 0;
  #flags: readonly string[] = [];

  constructor(chance: Random, lookout: Lookout) {
    super({ workloads: [] });
    this.chance = chance;
    this.lookout = lookout;
    this.#shape = Math.floor(chance() * shapes.all);
    mkdirSync(join(this.dir, "plays"));
    this.secrets();
  }

  /** A name that an API takes; lengths from 11 to `longest`. */
  name(kind: Kind, longest: number): string {
    const canary = named(kind, this.chance, 11 + Math.floor(this.chance() * (longest - 10)));
    return Buffer.from(this.lookout.add(canary).bytes).toString();
  }
  /** Text that a config or an environment can hold; each call another shape. */
  text(kind: Kind): string {
    return Buffer.from(this.lookout.add(shaped(kind, this.chance, this.#shape++ % shapes.text)).bytes).toString();
  }
  /** Anything that a program keeps. */
  bytes(kind: Kind, longest?: number): Uint8Array {
    return this.lookout.add(shaped(kind, this.chance, this.#shape++, longest)).bytes;
  }

  /** From its next start on the workload prints these words and a secret. */
  prints(words: string): void {
    writeFileSync(join(this.dir, "said"), `${words}: ${this.name("output", 60)}\n`);
  }

  get config(): string {
    return join(this.dir, "agent.yaml");
  }

  /** Writes a config with other secrets than before. With another scheme than http it is one that cannot be used. */
  secrets(scheme = "http"): void {
    writeFileSync(join(this.dir, "own.conf"), this.text("config file"));
    writeFileSync(join(this.dir, "book.db"), this.bytes("data file"));
    this.prints("error");
    const answers = join(this.dir, "answers");
    writeFileSync(answers, `error: ${this.name("answer", 60)}\n`);
    const program = join(this.dir, "look.sh");
    writeFileSync(program, `cat ${answers}; exit 4\n`);
    const step = { command: ["/bin/sh", program, this.name("argument", 60)] };
    const play = {
      ...{ name: "look-closer", description: "Everything is written down." },
      steps: [{ diagnose: {} }, { exec: step, on_failure: "continue" }],
    };
    writeFileSync(join(this.dir, "plays", "look-closer.yaml"), JSON.stringify(play));
    const ask = { every: "1s", use: "readiness" };
    const loop = "while :; do sleep 1; done";
    this.configure({
      playbooks: join(this.dir, "plays"),
      workloads: [
        {
          name: "risk",
          critical: true,
          command: ["/bin/sh", "-c", `cat ${join(this.dir, "said")}; ${loop}`],
          env: { RISK_PASSWORD: this.text("environment"), RISK_SETTINGS: this.text("environment") },
          safe_mode: { env: { RISK_PASSWORD: this.text("safe mode") } },
          config_files: [join(this.dir, "own.conf")],
          data: { paths: [join(this.dir, "book.db")], every: "1s", keep: 2 },
          backoff: { base: "20ms", cap: "200ms", reset_after: "200ms" },
          starts: { max: 1000, within: "60s" },
          probation: "0s",
          start_grace: "0s",
        },
        {
          name: "asked",
          command: ["/bin/sh", "-c", loop],
          start_grace: "0s",
          performance: { url: `http://${nobody}/health?key=${this.name("probe", 40)}`, every: "1s" },
          probes: [
            {
              ...ask,
              name: "page",
              http: { url: `${scheme}://${this.name("probe", 40)}@${nobody}/health?key=${this.name("probe", 40)}` },
            },
            { ...ask, name: "good", exec: { command: ["/bin/cat", answers] } },
            { ...ask, name: "bad", exec: { command: ["/bin/sh", "-c", `cat ${answers} >&2; exit 3`] } },
            { ...ask, name: "door", tcp: { address: nobody, send: `AUTH ${this.name("probe", 40)}\r\n` } },
          ],
        },
      ],
    });
  }

  override async start(...flags: string[]): Promise<void> {
    this.#flags = flags;
    await super.start();
    await this.well("risk");
    this.takeDown();
  }
  override command(...words: string[]): string[] {
    return super.command(...words, ...(words[0] === "up" ? this.#flags : []));
  }

  /** Cuts the config file somewhere; returns what it held. */
  tear(): string {
    const whole = readFileSync(this.config, "utf8");
    writeFileSync(this.config, whole.slice(0, 20 + Math.floor(this.chance() * (whole.length - 40))));
    return whole;
  }

  /** Every token and key that is in use now is a canary, too. */
  takeDown(): void {
    for (const { pid } of this.leads()) {
      const token = environOf(pid, "BLUEFLAME_TOKEN");
      if (token) this.#once("token", Buffer.from(token));
    }
    const ring = readRingFile(this.dataDir);
    const keks = findKeks({ dataDir: this.dataDir, credentials: undefined });
    for (const { bytes } of keks) this.#once("key file", bytes);
    if (!ring || keks.length === 0) return;
    const open = Ring.open(ring, keks);
    for (const { id } of ring.keys) {
      const key = open.key(id);
      if (key) this.#once("data key", key.export());
    }
    this.#once("data key", open.derive("names"));
  }
  #once(kind: Kind, bytes: Uint8Array): void {
    const known = this.lookout.canaries.some((one) => one.kind === kind && Buffer.compare(one.bytes, bytes) === 0);
    if (!known) this.lookout.add(canaryOf(kind, bytes));
  }

  /** The workload's own line, or one with a token of your own. Whoever opened it closes it. */
  line(token = environOf(this.lead(), "BLUEFLAME_TOKEN") ?? ""): Agent {
    return connect({ socket: join(this.dataDir, "agent.sock"), token });
  }
  lead(): number {
    return this.leads().find(({ workload }) => workload === "risk")?.pid ?? 0;
  }

  /** What the operator's command prints is a place, too. Throws when it ends with another code. */
  async says(words: string, code = 0): Promise<void> {
    const ended = await run(this.command(...words.split(" ")), { timeoutMs: commandMs, cwd: this.dir });
    this.lookout.text(`$ ${words}`, Buffer.from(`${ended.out}\n${ended.err}`));
    if (code !== anyCode && ended.code !== code) throw new Error(`'${words}' ended with ${ended.code}: ${ended.err}`);
  }

  /** Asks everything that there is to ask, two at a time, each in a format of chance. */
  async ask(): Promise<void> {
    const left = questions.map((words) => {
      const format = this.chance() < 0.5 ? "table" : "json";
      return words === "audit export" ? words : `${words} -o ${format}`;
    });
    const asker = async () => {
      for (let next = left.pop(); next !== undefined; next = left.pop()) await this.says(next, anyCode);
    };
    await Promise.all([asker(), asker()]);
  }

  hasBackup(): boolean {
    const backups = join(this.dataDir, "backups", "risk");
    return existsSync(backups) && readdirSync(backups).some((name) => !name.startsWith("."));
  }
  /** 0: there is none. */
  newestSnapshot(): number {
    return Math.max(0, ...snapshotNumbers(snapshotsIn(this.dataDir)));
  }

  /** Looks everywhere that is no command. */
  look(): void {
    this.takeDown();
    this.lookout.commandLines();
    this.lookout.folder(this.dir);
  }

  /** Spoils the store while nobody has it open. */
  spoil(): void {
    const folder = join(this.dataDir, "store");
    const files = readdirSync(folder).filter((name) => /\.(ldb|log)$/.test(name));
    const sizes = files.map((name) => ({ path: join(folder, name), size: statSync(join(folder, name)).size }));
    const largest = sizes.sort((a, b) => b.size - a.size)[0];
    if (!largest) throw new Error("the store has no files");
    const bytes = readFileSync(largest.path);
    const at = Math.floor(bytes.length / 3);
    bytes.write(word(this.chance, 64), at, "latin1");
    writeFileSync(largest.path, bytes);
  }

  /** A person's part: with three damaged stores beside it no store is mended. */
  clear(): void {
    for (const name of readdirSync(this.dataDir).filter((one) => one.startsWith("store.damaged-")))
      rmSync(join(this.dataDir, name), { recursive: true });
  }

  /** Agent and watchdog are gone; either would start the other again. The workloads live on: one that never gets ready could not be healed. */
  async end(): Promise<void> {
    for (let guards = this.#guards(); guards.length > 0; guards = this.#guards()) {
      for (const pid of guards) signalIfThere(pid, "SIGKILL");
      await pause(20);
    }
    await this.kill();
  }
  #guards(): number[] {
    const named = (pid: number) => commandLine(pid).includes(".cjs");
    return processesOf(this.dir).filter(named);
  }

  /** Entrusts the store to the holder of a new private key. */
  async entrust(): Promise<void> {
    const pair = generateKeyPairSync("x25519");
    const secret = Buffer.from(String(pair.privateKey.export({ format: "jwk" }).d), "base64url");
    this.lookout.add(canaryOf("escrow key", secret));
    writeFileSync(join(this.dir, "public.pem"), pair.publicKey.export({ format: "pem", type: "spki" }));
    await this.says(`store entrust ${join(this.dir, "public.pem")}`);
    this.escrowPem = String(pair.privateKey.export({ format: "pem", type: "pkcs8" }));
  }

  /** The key file is lost, and the holder of the escrow key brings the private half. The agent must be down. */
  async openWithEscrow(): Promise<void> {
    const path = join(this.dir, "escrow.pem");
    rmSync(join(this.dataDir, "store.key"));
    writeFileSync(path, this.escrowPem, { mode: 0o600 });
    await this.says(`store open-with ${path}`);
    this.look();
    rmSync(path);
  }
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1");
  } catch {
    return ""; // it has ended
  }
}
