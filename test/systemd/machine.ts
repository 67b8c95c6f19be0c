import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inRoot } from "../../deploy/root.ts";
import { looks } from "../support/looks.ts";
import { cgroupRoot } from "./image.ts";

/** An orderly shutdown; a init that hangs is ended after it. */
const offLimitMs = 60_000;
const commandLimitMs = 60_000;

/** What a command inside has answered. */
export interface Answer {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/**
 * A copy of a root image that can be booted, with systemd as process 1 of namespaces of its own; the kernel is this machine's.
 * It cannot outlive the process that has started it. Whoever made it closes it, and with that it is gone.
 */
export class ImageMachine {
  readonly #dir = mkdtempSync(join(tmpdir(), "bf-init-"));
  #unshare: ChildProcess | undefined;
  #cgroup = "";
  #init = 0;

  constructor(image: string) {
    mkdirSync(this.root);
    const copied = spawnSync("cp", ["-a", "--reflink=auto", `${image}/.`, this.root], { encoding: "utf8" });
    if (copied.status !== 0) throw new Error(`the image cannot be copied: ${copied.stderr}`);
  }

  /** Its root as a folder of this machine, to put files into while it is off. */
  get root(): string {
    return join(this.#dir, "root");
  }

  /** A path of the machine that runs, as one of ours; its /run and /tmp are there too. */
  inside(path: string): string {
    return join("/proc", String(this.#init), "root", path);
  }

  /** Process 1, by our numbers; 0 when it is off. */
  get init(): number {
    return this.#init;
  }

  /** Switches it on; resolves when systemd answers. */
  async boot(): Promise<void> {
    this.#cgroup = join(cgroupRoot() ?? "", `blueflame-init-${randomUUID().slice(0, 8)}`);
    mkdirSync(this.#cgroup);
    const log = openSync(join(this.#dir, "console"), "a");
    const args = [inRoot("test/systemd/boot.sh"), this.root, this.#cgroup, randomUUID(), "/lib/systemd/systemd"];
    const unshare = spawn("bash", args, { stdio: ["ignore", log, log], detached: true });
    closeSync(log);
    this.#unshare = unshare;
    await this.#until("there is an init", () => {
      if (unshare.exitCode !== null || unshare.signalCode !== null)
        throw new Error(`it does not boot: ${this.console()}`);
      this.#init = Number(childrenOf(unshare.pid ?? 0)[0] ?? 0);
      return this.#init !== 0 && existsSync(this.inside("/run/systemd/private"));
    });
  }

  /** Runs a command inside, as root, and waits for its end. */
  run(...command: string[]): Promise<Answer> {
    const args = ["--target", String(this.#init), "--all", "--wd", "--", ...command];
    return new Promise((resolve) => {
      const env = { PATH: "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C.UTF-8" };
      const done = (error: Error | null, out: string, err: string) =>
        resolve({ code: error === null ? 0 : Number((error as { code?: unknown }).code ?? 255), out, err });
      execFile("nsenter", args, { env, timeout: commandLimitMs, maxBuffer: 16 * 1024 * 1024 }, done);
    });
  }

  /** As `run`; throws unless it ends with code 0. Returns what it has printed. */
  async must(...command: string[]): Promise<string> {
    const { code, out, err } = await this.run(...command);
    if (code !== 0) throw new Error(`${command.join(" ")} ended with ${code}: ${err || out}`);
    return out;
  }

  /** Processes that run inside, by our numbers. */
  processes(): number[] {
    return this.#cgroup === "" ? [] : pidsBelow(this.#cgroup);
  }

  /** Their command lines, words joined by blanks. */
  commands(): string[] {
    return this.processes().map((pid) => commandOf(pid));
  }

  /** What the system inside does at `systemctl reboot`, up to the moment at which firmware would start it again. */
  async shutDown(): Promise<void> {
    const unshare = this.#unshare;
    if (!unshare) return;
    await this.run("systemctl", "--no-block", "reboot");
    await this.#until("it is off", () => unshare.exitCode !== null || unshare.signalCode !== null, offLimitMs);
    await this.#wasOff();
  }

  /** Pulls the plug. */
  async cut(): Promise<void> {
    const unshare = this.#unshare;
    if (!unshare) return;
    unshare.kill("SIGKILL"); // its death kills the init, and that everything inside
    await this.#wasOff();
  }

  async #wasOff(): Promise<void> {
    await this.#until("nothing of it runs", () => isRemoved(this.#cgroup));
    this.#unshare = undefined;
    this.#init = 0;
    this.#cgroup = "";
  }

  console(): string {
    return readFileSync(join(this.#dir, "console"), "utf8");
  }

  async close(): Promise<void> {
    await this.cut();
    rmSync(this.#dir, { recursive: true, force: true });
  }

  async #until(what: string, holds: () => boolean, withinMs = 30_000): Promise<void> {
    for await (const _ of looks(withinMs)) if (holds()) return;
    throw new Error(`waited ${withinMs} ms in vain until ${what}; its console: ${this.console().slice(-2000)}`);
  }
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").join(" ").trim();
  } catch {
    return ""; // it has just ended
  }
}

function childrenOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean);
  } catch {
    return [];
  }
}

/** The deepest first. */
function foldersBelow(cgroup: string): string[] {
  const entries = readdirSync(cgroup, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return [...entries.flatMap((entry) => foldersBelow(join(cgroup, entry.name))), cgroup];
}

/** False while somebody in it still dies. */
function isRemoved(cgroup: string): boolean {
  try {
    for (const folder of foldersBelow(cgroup)) rmdirSync(folder);
    return true;
  } catch {
    return false;
  }
}

function pidsBelow(cgroup: string): number[] {
  try {
    return foldersBelow(cgroup).flatMap((folder) =>
      readFileSync(join(folder, "cgroup.procs"), "utf8").split("\n").filter(Boolean).map(Number),
    );
  } catch {
    return existsSync(cgroup) ? pidsBelow(cgroup) : []; // one went away in between, or all of it
  }
}
