import { Fault } from "@blueflame/shared/errors/fault.ts";
import { NodeHealth } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import type { Cancel, Clock } from "@blueflame/shared/time/clock.ts";
import type { AgentStore } from "../store/ports.ts";
import {
  type ConfigMemory,
  type ConfigOrigin,
  judged,
  type KeptConfig,
  lastHealthy,
  noMemory,
  pruned,
  received,
  used,
} from "./memory.ts";
import { sumOf } from "./stamp.ts";

/** The node's own config stands in the store under the name that no workload can have. */
const place = "";
/** Between two looks at how the node is. */
const lookMs = 5000;
/** For so long without a break it has to be well. */
const healthyMs = 60_000;

/** A config as it came in. */
export interface Received {
  readonly text: string;
  readonly origin: ConfigOrigin;
  readonly from: string;
}
/** What a start was given: what runs, and what does not and why. */
export interface GivenConfigs {
  readonly inUse: Received;
  readonly refused?: Received & { readonly because: string };
}

export interface ConfigMemoryOptions {
  readonly store: Pick<AgentStore, "configVersions" | "saveConfigVersions" | "configContents">;
  readonly clock: Clock;
  readonly given: GivenConfigs;
  readonly health: () => NodeHealth;
  /** Why the node is not well, in words. */
  readonly trouble: () => string;
}

/** One version for people. */
export interface ListedConfig extends KeptConfig {
  readonly inUse: boolean;
  readonly lastHealthy: boolean;
}

/**
 * Keeps every config that this node was given, with what became of it, in the store: it survives the file, and is in every snapshot.
 * A store that takes nothing is tried again at each look. Whoever opened it closes it.
 */
export class ConfigKeeper {
  readonly #options: ConfigMemoryOptions;
  #memory: ConfigMemory = noMemory;
  /** What the store holds; undefined until it could be read. */
  #stored: ConfigMemory | undefined;
  readonly #fresh = new Map<string, string>();
  #wellSinceMs: number | undefined;
  #turn: Promise<void> = Promise.resolve();
  #cancel: Cancel = () => undefined;
  #closed = false;

  constructor(options: ConfigMemoryOptions) {
    this.#options = options;
    for (const one of [options.given.inUse, options.given.refused]) if (one) this.#fresh.set(sumOf(one.text), one.text);
    this.#look();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancel();
    await this.#turn;
  }

  /** Newest first. */
  list(): ListedConfig[] {
    const healthy = lastHealthy(this.#memory)?.sum;
    return this.#memory.versions.map((one) => {
      return { ...one, inUse: one.sum === this.#memory.inUse, lastHealthy: one.sum === healthy };
    });
  }

  /** The text of the version whose sum begins with `sum`. Throws NOT_FOUND, STORE_DAMAGED, STORE_WRITE_FAILED. */
  async text(sum: string): Promise<string> {
    const found = this.#memory.versions.find((one) => sum.length >= 6 && one.sum.startsWith(sum));
    if (!found) throw new Fault("NOT_FOUND", `there is no version '${sum.slice(0, 80)}' of the config`);
    const held = this.#fresh.get(found.sum) ?? (await this.#held(found.sum));
    if (held === undefined || sumOf(held) !== found.sum) {
      throw new Fault("STORE_DAMAGED", `what is kept of version ${found.sum.slice(0, 12)} is not what it held`);
    }
    return held;
  }
  async #held(sum: string): Promise<string | undefined> {
    const bytes = (await this.#options.store.configContents(place, [sum])).get(sum);
    return bytes && new TextDecoder().decode(bytes);
  }

  #look(): void {
    const { clock } = this.#options;
    this.#judge();
    this.#turn = this.#keep();
    this.#cancel = clock.wakeAt(clock.monotonicMs() + lookMs, () => {
      if (!this.#closed) void this.#turn.then(() => this.#closed || this.#look());
    });
  }

  #judge(): void {
    const nowMs = this.#options.clock.monotonicMs();
    const health = this.#options.health();
    if (health !== NodeHealth.HEALTHY) this.#wellSinceMs = undefined;
    else this.#wellSinceMs ??= nowMs;
    if (this.#wellSinceMs !== undefined && nowMs - this.#wellSinceMs >= healthyMs) {
      this.#memory = judged(this.#memory, "healthy", "");
    }
    if (health === NodeHealth.FAILED) this.#memory = judged(this.#memory, "unhealthy", this.#options.trouble());
  }

  /** Never rejects. */
  async #keep(): Promise<void> {
    const { store } = this.#options;
    try {
      if (this.#stored === undefined) await this.#begin();
      const next = pruned(this.#memory);
      if (next === this.#stored) return;
      const kept = new Set(next.versions.map(({ sum }) => sum));
      const drop = (this.#stored?.versions ?? []).map(({ sum }) => sum).filter((sum) => !kept.has(sum));
      const add = new Map([...this.#fresh].map(([sum, text]) => [sum, new TextEncoder().encode(text)]));
      await store.saveConfigVersions(place, { history: next, add, drop });
      this.#memory = next;
      this.#stored = next;
      this.#fresh.clear();
    } catch {
      // The store says itself that it is in trouble; the next look tries again.
    }
  }

  async #begin(): Promise<void> {
    const { store, clock, given } = this.#options;
    const found = ((await store.configVersions(place)) as ConfigMemory | undefined) ?? noMemory;
    const of = ({ text, origin, from }: Received) => {
      return { sum: sumOf(text), bytes: Buffer.byteLength(text), origin, from, receivedWallMs: clock.wallMs() };
    };
    // What runs was there before what was refused came instead of it.
    const known = found.versions.some(({ sum, verdict }) => sum === sumOf(given.inUse.text) && verdict !== "refused");
    const ran = given.refused && known ? found : received(found, of(given.inUse));
    const all = given.refused ? received(ran, of(given.refused), given.refused.because) : ran;
    this.#memory = used(all, sumOf(given.inUse.text));
    this.#stored = found;
  }
}
