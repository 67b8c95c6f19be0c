/**
 * The agent's store under power cuts: it lies on a file system of its own in a file. Its writer is stopped at a random moment, the file
 * is copied, and the copy is what a machine finds when its power comes back: what the kernel had not given to the disk yet is not in it.
 */
import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { procStat } from "@blueflame/agent/supervise/proc.driver.ts";
import { type Random, seeded } from "@blueflame/shared/random/random.ts";
import { note, rowsOf } from "./store-kills.ts";
import { Ledger } from "./store-ledger.ts";
import { startLife } from "./store-start.ts";
import type { Trial } from "./trial.ts";

const diskBytes = 48 * 1024 * 1024;
/** So many cuts of one disk; then a new one, so that checking stays fast. */
const cutsPerDisk = 10;
/** Between two cuts. */
const writingMs = 150;
/** The kernel's own threads may still be writing when the writer stands still: the same twice is one moment. */
const copiesMax = 20;
const folder = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

export const powerCuts: Trial = {
  name: "power-cuts",
  about: "the agent's store on a disk whose power is cut while it writes: what was synced is there, on every copy",
  async run({ rounds, seed, say, skip }) {
    if (!canLoop()) {
      skip?.("this user may not mount a file system from a file, so no power was cut");
      return [];
    }
    const wrong = { lost: [], unopenable: [], changed: [] };
    let acked = 0;
    for (let done = 0, disk = 0; done < rounds; disk++) {
      const cuts = Math.min(cutsPerDisk, rounds - done);
      acked += await cutOne(seed + disk, cuts, { wrong });
      done += cuts;
      if (disk % 10 === 9) say(`${done} cuts, ${acked} acknowledged writes`);
    }
    say(`${rounds} cuts, ${acked} acknowledged writes; disk n has the seed ${seed} + n`);
    for (const one of Object.values(wrong).flat().slice(0, 20)) say(`WRONG: ${one}`);
    return rowsOf({ wrong }, "power cut");
  },
};

/** Whether this user may mount a file system from a file. */
export function canLoop(): boolean {
  const dir = mkdtempSync(join(folder, "bf-loop-"));
  try {
    new Disk(dir, "probe").make().unmount();
    return true;
  } catch {
    return false;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** A file system in a file of `dir`, mounted beside it. */
class Disk {
  readonly image: string;
  readonly place: string;

  constructor(dir: string, name: string) {
    this.image = join(dir, `${name}.img`);
    this.place = join(dir, name);
  }
  make(): this {
    writeFileSync(this.image, "");
    truncateSync(this.image, diskBytes);
    execFileSync("mkfs.ext4", ["-q", "-F", "-J", "size=4", this.image], { stdio: "ignore" });
    return this.mount();
  }
  mount(): this {
    mkdirSync(this.place, { recursive: true });
    execFileSync("mount", ["-o", "loop", this.image, this.place], { stdio: "ignore" });
    return this;
  }
  unmount(): void {
    execFileSync("umount", [this.place], { stdio: "ignore" });
  }
  /** The file as it was at one moment. The writer stands still. */
  async copyTo(other: Disk): Promise<void> {
    for (let copies = 0; copies < copiesMax; copies++) {
      copyFileSync(this.image, other.image);
      if (readFileSync(other.image).equals(readFileSync(this.image))) return;
      await pause(5);
    }
    throw new Error("the disk does not come to rest although nobody writes");
  }
}

/** Cuts the power of one disk again and again; each copy is checked, the writer goes on. Returns how many writes were acknowledged. */
async function cutOne(seed: number, cuts: number, tally: Parameters<typeof note>[3]): Promise<number> {
  const chance = seeded(seed);
  const dir = mkdtempSync(join(folder, "bf-power-"));
  const disk = new Disk(dir, "disk").make();
  const ledgerFile = join(dir, "ledger");
  const writer = startLife(join(disk.place, "d"), ledgerFile, "write", String(seed));
  const ended = new Promise<void>((resolve) => writer.once("close", () => resolve()));
  let complaint = "";
  writer.stderr.on("data", (bytes) => (complaint += bytes));
  try {
    await new Promise<void>((resolve, reject) => {
      writer.stdout.on("data", (said) => String(said).includes("w") && resolve());
      writer.once("close", () => reject(new Error(`the writer ended: ${complaint}`)));
    });
    for (let cut = 1; cut <= cuts; cut++) {
      await pause(chance() * writingMs);
      const copy = new Disk(dir, `copy-${cut}`);
      note(await cutAndLook(writer.pid ?? 0, disk, copy, dir, chance), seed, cut, tally);
    }
    note(complaint, seed, cuts, tally);
    const ledger = new Ledger(ledgerFile);
    const total = ledger.total();
    ledger.close();
    return total;
  } finally {
    writer.kill("SIGKILL");
    await ended;
    disk.unmount();
    rmSync(dir, { recursive: true, force: true });
  }
}

/**
 * `copy` has a name that was never used: whoever makes a mount namespace meanwhile, as other tests do, keeps what is mounted then, and
 * the kernel gives a file that is mounted anywhere as it was first mounted, whatever was copied into it since.
 */
async function cutAndLook(writer: number, disk: Disk, copy: Disk, dir: string, chance: Random): Promise<string> {
  process.kill(writer, "SIGSTOP");
  try {
    while (!["T", "t"].includes(procStat(writer)?.state ?? "T")) await pause(1);
    copyFileSync(join(dir, "ledger"), join(dir, "ledger-copy"));
    await disk.copyTo(copy);
  } finally {
    process.kill(writer, "SIGCONT");
  }
  copy.mount();
  try {
    anotherBoot(join(copy.place, "d", "store.lock"), chance);
    const checker = startLife(join(copy.place, "d"), join(dir, "ledger-copy"), "check", "power");
    let said = "";
    checker.stderr.on("data", (bytes) => (said += bytes));
    const code = await new Promise<number | null>((resolve) => checker.once("close", resolve));
    return said === "" && code !== 0 ? `unopenable: the checker ended with ${code}` : said;
  } finally {
    copy.unmount();
    rmSync(copy.image);
  }
}

/** A machine that had no power has another boot id: the lock of its writer is dead. */
function anotherBoot(lock: string, chance: Random): void {
  if (!existsSync(lock)) return;
  const text = readFileSync(lock, "utf8").replace(/"boot":"/, `"boot":"${Math.floor(chance() * 1e6)}-`);
  writeFileSync(lock, text);
}
