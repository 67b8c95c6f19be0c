/**
 * A node that nobody can help: its hub cannot be reached, everything on it is killed at once, and it comes up with another boot id. All
 * workloads are there again with their state and their last config, also where the config file was torn meanwhile.
 */
import { randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { WorkloadPhase } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import { type Random, seeded } from "@blueflame/shared/random/random.ts";
import { stringify } from "yaml";
import { inRoot } from "../../deploy/root.ts";
import { signalIfThere, sweep } from "../../deploy/running.ts";
import { canMount } from "../contract/small-disk.ts";
import { verifyFirewalls } from "./agent-kills.ts";
import { HubRig } from "./hub-rig.ts";
import { AgentRig, type WorkloadConfig } from "./rig.ts";
import type { Trial } from "./trial.ts";

/** The issue's own figure. */
const backPromiseMs = 10_000;
/** In every so many rounds, and in the first, the config file is torn while the power is away. */
const tornEach = 3;
/** Runs what follows with this file in the place of the kernel's boot id. */
const anotherBoot = [
  "unshare",
  "-m",
  "sh",
  "-c",
  'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"',
] as const;
const plain = ["one", "two", "three"] as const;
const firewalls = ["firewall-0", "firewall-1"] as const;

export const offlineReboot: Trial = {
  name: "offline-reboot",
  about:
    "no hub, everything killed at once, another boot id: all workloads are back with their state and their last config",
  async run({ rounds, seed, say, skip }) {
    if (!canMount()) {
      skip?.("this user may not mount, so no boot id can be changed");
      return [];
    }
    const chance = seeded(seed);
    const dir = mkdtempSync(join(tmpdir(), "bf-offline-"));
    // Nobody ever starts this hub: its authority made the node's certificate, and that is all there is of it.
    const hub = await (await HubRig.open(dir, {})).section("prove");
    const rig = new OfflineRig({ hub, workloads: workloads() });
    const backMs: number[] = [];
    let torn = 0;
    try {
      await rig.start();
      await rig.allRun(60_000);
      await pause(2000);
      let before = await rig.memories();
      for (let round = 1; round <= rounds; round++) {
        await pause(chance() * 300);
        const tear = round % tornEach === 1;
        const beganMs = await rig.reboot(tear ? cutOf(rig.configText, torn, chance) : undefined);
        torn += tear ? 1 : 0;
        await rig.allRun(4 * backPromiseMs);
        backMs.push(Math.round(performance.now() - beganMs));
        const now = await rig.memories();
        rig.compare(before, now, tear);
        before = now;
      }
      say(
        `${rounds} reboots without a hub, ${torn} of them onto a torn config; firewalls at bars ${before.bars.join(", ")}`,
      );
    } finally {
      await rig.close();
      rmSync(dir, { recursive: true, force: true });
    }
    return [
      {
        name: "all workloads back",
        measure: "after the agent's start",
        promise: backPromiseMs,
        unit: "ms",
        values: backMs,
      },
    ];
  },
};

/**
 * How much of the config file is left: by turns up to a workload, where what is left can be run and nobody would miss the rest, up to
 * the end of any line, and up to any character.
 */
function cutOf(text: string, turn: number, chance: Random): number {
  const begins = [...text.matchAll(/^ {2}- /gm)].map(({ index }) => index).slice(1); // one workload is left at least
  const lines = [...text.matchAll(/\n/g)].map(({ index }) => index + 1).slice(0, -1);
  const any = Array.from(text, (_, at) => at);
  const places = [begins, lines, any][turn % 3] ?? any;
  const place = places[Math.floor(chance() * places.length)];
  if (place === undefined) throw new Error(`the config file has no such place: ${text}`);
  return place;
}

function workloads(): WorkloadConfig[] {
  const pace = { backoff: { base: "20ms", cap: "500ms", reset_after: "200ms" }, probation: "1s" };
  const idle = (name: string) => ({ ...pace, name, command: ["/bin/sh", "-c", "while :; do sleep 1; done"] });
  const firewall = (name: string, at: number) => ({
    ...pace,
    name,
    command: [process.execPath, inRoot("dist", "risk-firewall.mjs")],
    env: { RISK_FIREWALL_PORT: "0", RISK_FIREWALL_STEP_MS: String(20 + at) },
    beat: { timeout: "5s" },
  });
  return [...plain.map(idle), ...firewalls.map(firewall)];
}

/** What must not be forgotten. */
interface Memories {
  /** Where each firewall stands; its ledger was verified. */
  readonly bars: readonly number[];
  /** The version of its config that each workload runs. */
  readonly versions: Readonly<Record<string, string>>;
}

class OfflineRig extends AgentRig {
  #bootFile: string | undefined;
  /** What the log held when the last reboot began. */
  #logged = 0;

  /** On many lines, as people write it: most of its beginnings are a config too. */
  override configure(config: object): void {
    writeFileSync(
      join(this.dir, "agent.yaml"),
      stringify({ node: { id: "prove" }, ...config }, { aliasDuplicateObjects: false }),
    );
  }
  get configText(): string {
    return readFileSync(join(this.dir, "agent.yaml"), "utf8");
  }

  override command(...words: string[]): string[] {
    const own = super.command(...words, ...(words[0] === "up" ? ["--last-good"] : []));
    return this.#bootFile && words[0] === "up" ? [...anotherBoot, this.#bootFile, ...own] : own;
  }

  /** All dies at once; with `cut` only so much of the config file is left. Resolves with the moment of the next agent's start, when it answers. */
  async reboot(cut: number | undefined): Promise<number> {
    await this.kill();
    for (const { pid } of this.leads()) signalIfThere(-pid, "SIGKILL");
    await sweep(this.dir, 0);
    const config = join(this.dir, "agent.yaml");
    const whole = this.configText;
    if (cut !== undefined) writeFileSync(config, whole.slice(0, cut));
    this.#logged = this.log().length;
    this.#bootFile = join(this.dir, "boot-id");
    writeFileSync(this.#bootFile, `${randomUUID()}\n`);
    try {
      const beganMs = performance.now();
      await this.start();
      return beganMs;
    } finally {
      writeFileSync(config, whole);
    }
  }

  async allRun(withinMs: number): Promise<void> {
    const wanted = plain.length + firewalls.length;
    await this.until(
      "all workloads run",
      async () => {
        const seen = await this.status().catch(() => []);
        return seen.filter(({ phase, pid }) => phase === WorkloadPhase.RUNNING && pid > 0).length === wanted;
      },
      withinMs,
    );
  }

  async memories(): Promise<Memories> {
    const versions = Object.fromEntries((await this.status()).map(({ name, configVersion }) => [name, configVersion]));
    return { bars: await verifyFirewalls(this), versions };
  }

  compare(before: Memories, now: Memories, torn: boolean): void {
    const back = now.bars.findIndex((bar, at) => bar < (before.bars[at] ?? 0));
    if (back !== -1) throw new Error(`firewall ${back} was at bar ${before.bars[back]} and is at ${now.bars[back]}`);
    if (JSON.stringify(now.versions) !== JSON.stringify(before.versions)) {
      throw new Error(`another config runs: ${JSON.stringify({ before: before.versions, now: now.versions, torn })}`);
    }
    const told = this.log().slice(this.#logged).includes("CONFIG_TORN");
    if (torn !== told)
      throw new Error(torn ? "a torn config file was not named" : "a whole config file was taken for torn");
  }
}
