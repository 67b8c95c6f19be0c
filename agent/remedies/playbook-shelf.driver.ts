import type { Cancel } from "@blueflame/shared/time/clock.ts";
import { loadPlaybooks, type PlaybookSet, playbooksSeen } from "../playbooks/load.driver.ts";
import type { Playbook } from "../playbooks/playbook.ts";
import type { Around } from "./around.ts";
import { inTime } from "./patience.driver.ts";

/** The operator's folder is looked at this often (DOL-10), and answers within … */
const everyMs = 5000;
const waitMs = 3000;

/** The playbooks that can be used now; the operator's folder is read again when a file in it changes. Whoever made it closes it. */
export class Shelf {
  readonly #around: Around;
  #set: PlaybookSet = { playbooks: new Map(), problems: [], seen: "" };
  #hung = false;
  #cancel: Cancel | undefined;
  #closed = false;

  constructor(around: Around) {
    this.#around = around;
  }

  async begin(): Promise<void> {
    this.#set = await loadPlaybooks("");
    await this.#read();
    if (this.#around.playbooks !== "") this.#again();
  }
  close(): void {
    this.#closed = true;
    this.#cancel?.();
  }

  get(name: string): Playbook | undefined {
    return this.#set.playbooks.get(name);
  }
  all(): readonly Playbook[] {
    return [...this.#set.playbooks.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }
  problems(): readonly string[] {
    const folder = this.#around.playbooks;
    return this.#hung
      ? [`the folder of playbooks '${folder}' does not answer`, ...this.#set.problems]
      : this.#set.problems;
  }

  #again(): void {
    const { clock } = this.#around;
    this.#cancel = clock.wakeAt(clock.monotonicMs() + everyMs, () => {
      void this.#look().finally(() => {
        if (!this.#closed) this.#again();
      });
    });
  }

  async #look(): Promise<void> {
    // One look that hangs holds one thread, and no second one is begun.
    if (this.#hung) return;
    const { clock, playbooks } = this.#around;
    const looking = playbooksSeen(playbooks);
    const waited = await inTime(clock, waitMs, looking);
    if (waited.is === "late") this.#hangs(looking);
    else if (waited.is === "done" && waited.value !== this.#set.seen) await this.#read();
  }

  async #read(): Promise<void> {
    const { clock, playbooks, log } = this.#around;
    const reading = loadPlaybooks(playbooks);
    const waited = await inTime(clock, waitMs, reading);
    if (waited.is === "late") this.#hangs(reading);
    if (waited.is !== "done") return;
    this.#set = waited.value;
    for (const problem of waited.value.problems) log("warn", {}, problem);
  }

  #hangs(work: Promise<unknown>): void {
    this.#hung = true;
    void work.finally(() => {
      this.#hung = false;
    });
  }
}
