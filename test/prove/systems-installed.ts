import { copyFileSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { type GoodFile, writeGoodCopy } from "@blueflame/agent/bootstrap/good-copy.ts";
import { version } from "@blueflame/shared/version.ts";
import { inRoot } from "../../deploy/root.ts";
import { type Ended, run } from "../../deploy/running.ts";
import { SystemRig } from "./systems-rig.ts";

const commandMs = 180_000;
const programs = ["blueflame-agent.cjs", "blueflame-watchdog.cjs", "blueflame-emergency.cjs"];

/** A node as `install` leaves it: a program of its own, a good copy of program and config, a watchdog. */
export class InstalledRig extends SystemRig {
  readonly #opt: string;

  /** `parts` belong to the installation: they lie in the good copy, too. */
  constructor(config: ConstructorParameters<typeof SystemRig>[0], parts: readonly string[] = []) {
    super(config, { guarded: true });
    this.#opt = join(this.dir, "opt");
    mkdirSync(join(this.#opt, "native"), { recursive: true });
    const native = readdirSync(inRoot("dist", "native")).map((name) => join("native", name));
    const names = [...programs, ...native];
    for (const name of names) copyFileSync(inRoot("dist", name), join(this.#opt, name));
    mkdirSync(this.dataDir, { mode: 0o700 });
    const files = [...names.map((name) => join(this.#opt, name)), join(this.dir, "agent.yaml"), ...parts];
    const good = files.map((path): GoodFile => ({ source: path, target: path, name: this.#nameOf(path) }));
    writeGoodCopy(this.dataDir, good, version);
  }

  #nameOf(path: string): string {
    return path.startsWith(`${this.#opt}/`) ? path.slice(this.#opt.length + 1) : path.slice(path.lastIndexOf("/") + 1);
  }

  override command(...words: string[]): string[] {
    const [node = "", , ...rest] = super.command(...words);
    return [node, join(this.#opt, "blueflame-agent.cjs"), ...rest];
  }

  /** The operator's one command. */
  emergency(): Promise<Ended> {
    return run(this.command("emergency"), commandMs, this.dir);
  }
}
