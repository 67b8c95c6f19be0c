import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { inRoot } from "../../deploy/root.ts";
import { findTool } from "../tools.ts";
import { freePort, type WorkloadConfig } from "./rig.ts";
import { InstalledRig } from "./systems-installed.ts";
import { example, figuresOf, type Patient, Ward } from "./systems-rig.ts";

/** What SynergyMesh's node runs: the launcher and its worker, and one patient for each rung. Whoever made it removes it. */
export class SynergyWard {
  readonly #ward = new Ward();
  readonly #mesh = example("synergymesh");
  readonly #short: boolean;
  readonly #say: (line: string) => void;
  readonly #others: WorkloadConfig[] = [];
  launcher!: Patient;
  worker!: Patient;
  /** Its config is suspected. */
  kiosk!: Patient;
  /** Its data rots. */
  ledger!: Patient;
  /** It cannot do without a redis; absent where there is none. */
  api: Patient | undefined;
  redisPort = 0;
  /** Everything fails. */
  engine!: Patient;
  /** A part of the installation that the engine cannot do without. */
  settings = "";

  constructor(short: boolean, say: (line: string) => void) {
    this.#short = short;
    this.#say = say;
  }

  get dir(): string {
    return this.#ward.dir;
  }
  names(): string[] {
    return [...this.#ward.patients.map(({ name }) => name), ...this.#others.map(({ name }) => name)];
  }
  /** Who has which process, as text. */
  pids(rig: InstalledRig): string {
    return JSON.stringify(
      rig
        .leads()
        .map(({ workload, pid }) => [workload, pid])
        .sort(),
    );
  }
  remove(): void {
    this.#ward.remove();
  }

  async rig(): Promise<InstalledRig> {
    const admit = (name: string, config: Record<string, unknown> = {}, env: Record<string, string> = {}) =>
      this.#ward.admit(name, { ...this.#figures(name), ...config }, env);
    const home = (name: string, file: string) => join(this.dir, name, file);
    this.launcher = await admit(
      "launcher",
      { config_files: [home("launcher", "launcher.conf")], starts: figuresOf(this.#mesh, "launcher").starts },
      { SICK_CONFIG: home("launcher", "launcher.conf") },
    );
    this.worker = await admit("worker", { depends_on: ["launcher"] });
    this.kiosk = await admit("kiosk", {}, { SICK_STARTS: home("kiosk", "starts") });
    const verify = [process.execPath, inRoot("dist", "sick.mjs"), "verify"];
    const data = (path: string) => ({ data: { paths: [path], every: "1s", keep: 3, verify } });
    const ledger = home("ledger", "ledger.db");
    this.ledger = await admit("ledger", data(ledger), { SICK_DATA: ledger });
    await this.#withRedis(admit);
    this.settings = home("engine", "settings");
    this.engine = await admit(
      "engine",
      { config_files: [home("engine", "engine.conf")], ...data(home("engine", "engine.db")), depends_on: ["worker"] },
      {
        SICK_CONFIG: this.settings,
        SICK_DATA: home("engine", "engine.db"),
        SICK_LAMENT: "the database file is corrupt: checksum mismatch in block 7",
      },
    );
    writeFileSync(this.launcher.file("launcher.conf"), '{"latencyMs": 5}\n');
    writeFileSync(this.settings, '{"latencyMs": 5}\n');
    writeFileSync(this.engine.file("engine.conf"), "version 1\n");
    const workloads = [...this.#ward.patients.map(({ config }) => config), ...this.#others];
    return new InstalledRig({ ...this.#sections(), workloads }, [this.settings]);
  }

  /** The launcher of the example, with files and ports of this one. */
  #figures(name: string): Record<string, unknown> {
    const figures = figuresOf(this.#mesh, "launcher");
    const { timeout } = figures.beat as { timeout: string };
    return {
      ...figures,
      config_files: [],
      data: undefined,
      beat: { file: join(this.dir, name, "beat"), timeout },
      probation: "1s",
      // The next rung's turn comes sooner.
      ...(this.#short && { starts: { max: 1, within: "5m" } }),
    };
  }

  #sections(): Record<string, unknown> {
    const playbooks = join(this.dir, "playbooks");
    mkdirSync(playbooks);
    // What no playbook may do: it names what belongs to the agent alone.
    const steps =
      "steps:\n  - exec: {command: [/bin/cat, /etc/hostname]}\n  - exec: {command: [/usr/bin/passwd, root]}\n";
    writeFileSync(
      join(playbooks, "greedy.yaml"),
      `name: greedy\ndescription: It wants more than it may have.\n${steps}`,
    );
    return {
      sensors: { every: "1s" },
      ladder: this.#mesh.ladder,
      playbooks,
      pager: ["/bin/sh", "-c", 'cat "$1" >> "$0"', join(this.dir, "pages")],
    };
  }

  async #withRedis(
    admit: (name: string, config: Record<string, unknown>, env: Record<string, string>) => Promise<Patient>,
  ): Promise<void> {
    const program = findTool("redis-server");
    if (!program || !findTool("redis-cli")) {
      this.#say("redis is not installed: its dependent is not tried");
      return;
    }
    this.redisPort = await freePort();
    const home = join(this.dir, "redis");
    mkdirSync(home);
    const words = ["--port", String(this.redisPort), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    this.#others.push({
      name: "redis",
      command: [program, ...words, "--dir", home],
      cwd: home,
      // It accepts connections as long as it lives: it looks well while it answers nobody.
      probes: [{ name: "port", tcp: { address: `127.0.0.1:${this.redisPort}` } }],
      stop: { grace: "1s" },
      clean: { ports: [this.redisPort] },
      probation: "1s",
    });
    this.api = await admit("api", { depends_on: ["redis"] }, { SICK_NEEDS: String(this.redisPort) });
  }
}
