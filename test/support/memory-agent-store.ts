import type { AgentStore, StepWrite, StoredWorkload } from "@blueflame/agent/store/ports.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import type { DecisionRecord, Incident } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";

/** What outlives the agent's process: its disk. */
export class MemoryDisk {
  readonly states = new Map<string, string>();
  readonly incidents = new Map<string, Incident>();
  readonly decisions: DecisionRecord[] = [];
  /** Writes are refused while it is set. */
  full = false;
}

/**
 * The agent's store for one life of the agent, over a disk that outlives it. After `die()` nothing is written or answered any
 * more; `dieAtWrite(n)` dies in the middle of the n-th write from now, before or after it reached the disk.
 */
export class MemoryAgentStore implements Pick<AgentStore, "workloads" | "saveStep" | "forgetWorkload"> {
  readonly #disk: MemoryDisk;
  readonly #onDeath: () => void;
  #deathIn = Number.POSITIVE_INFINITY;
  #reaches = true;
  dead = false;

  constructor(disk: MemoryDisk, onDeath: () => void) {
    this.#disk = disk;
    this.#onDeath = onDeath;
  }

  dieAtWrite(n: number, reaches: boolean): void {
    this.#deathIn = n;
    this.#reaches = reaches;
  }
  die(): void {
    this.dead = true;
    this.#onDeath();
  }

  workloads(): Promise<StoredWorkload[]> {
    return Promise.resolve(
      [...this.#disk.states].map(([name, json]) => ({ name, state: JSON.parse(json) as unknown })),
    );
  }

  saveStep(write: StepWrite): Promise<void> {
    if (this.dead) return new Promise(() => undefined);
    if (this.#disk.full) return Promise.reject(new Fault("STORE_WRITE_FAILED", "the disk is full"));
    this.#deathIn -= 1;
    if (this.#deathIn > 0) return Promise.resolve(this.#keep(write));
    if (this.#reaches) this.#keep(write);
    this.die();
    return new Promise(() => undefined);
  }

  forgetWorkload(name: string): Promise<void> {
    this.#disk.states.delete(name);
    return Promise.resolve();
  }

  #keep(write: StepWrite): void {
    if (write.state !== undefined) this.#disk.states.set(write.workload, JSON.stringify(write.state));
    for (const one of [...(write.others ?? []), ...(write.incident ? [write.incident] : [])])
      this.#disk.incidents.set(one.id, one);
    if (write.decision) this.#disk.decisions.push(write.decision);
  }
}
