import type { Cancel } from "@blueflame/shared/time/clock.ts";
import type { Around } from "./around.ts";
import type { Backups } from "./backups.driver.ts";
import { dueInMs } from "./backups.ts";
import type { RemedyResult } from "./ports.ts";

/** The schedules are looked at at least this often, and at most … */
const lookMs = { max: 60_000, min: 250 } as const;

/** Makes the backups when they are due, each while its workload is well. Whoever made it closes it. */
export class BackupSchedule {
  readonly #around: Around;
  readonly #backups: Backups;
  readonly #run: (workload: string) => Promise<RemedyResult>;
  /** When each was tried last, so that what fails is not tried at every look. */
  readonly #triedMs = new Map<string, number>();
  readonly #atWork = new Set<string>();
  /** Those of which people were told that they have failed. */
  readonly #told = new Set<string>();
  #cancel: Cancel | undefined;
  #closed = false;

  /** `run` makes one backup, in a pool of its own, and never rejects. */
  constructor(around: Around, backups: Backups, run: (workload: string) => Promise<RemedyResult>) {
    this.#around = around;
    this.#backups = backups;
    this.#run = run;
  }

  begin(): void {
    this.#look();
  }
  close(): void {
    this.#closed = true;
    this.#cancel?.();
  }

  #look(): void {
    this.#cancel?.();
    if (this.#closed) return;
    const { clock, specs, killSwitch, stand } = this.#around;
    const nowMs = clock.monotonicMs();
    let nextMs: number = lookMs.max;
    for (const { name, data } of specs) {
      if (!data || this.#atWork.has(name)) continue;
      const bySchedule = dueInMs(this.#backups.newest(name), data, clock.wallMs());
      const tried = this.#triedMs.get(name);
      const dueMs = Math.max(bySchedule, tried === undefined ? 0 : tried + data.everyMs - nowMs);
      if (dueMs <= 0 && !killSwitch() && stand(name).is === "well") this.#make(name);
      else nextMs = Math.min(nextMs, Math.max(dueMs, 1000));
    }
    this.#cancel = clock.wakeAt(nowMs + Math.max(lookMs.min, nextMs), () => this.#look());
  }

  #make(name: string): void {
    this.#atWork.add(name);
    this.#triedMs.set(name, this.#around.clock.monotonicMs());
    void this.#run(name).then((result) => {
      this.#atWork.delete(name);
      if (this.#closed) return;
      this.#tell(name, result);
      this.#look();
    });
  }

  /** Once for each time that it begins to fail. */
  #tell(name: string, { ok, because }: RemedyResult): void {
    if (ok) this.#told.delete(name);
    if (ok || this.#told.has(name)) return;
    this.#told.add(name);
    this.#around.alert({ severity: "medium", workload: name, incidentId: "", what: "backup_failed", message: because });
  }
}
