import type { StepWrite } from "@blueflame/agent/store/ports.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { type Incident, IncidentState } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";

/** A store that keeps what it is given, in order, unless it is silent or refuses. */
export class RefusingDisk {
  readonly writes: StepWrite[] = [];
  readonly #waiting: (() => void)[] = [];
  silent = false;
  refuses = false;
  asked = 0;

  readonly workloads = async () => this.writes.slice(-1).map(({ workload, state }) => ({ name: workload, state }));
  readonly forgetWorkload = () => Promise.resolve();
  readonly saveStep = async (write: StepWrite) => {
    this.asked++;
    if (this.silent) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    if (this.refuses) throw new Fault("STORE_WRITE_FAILED", "the disk is full");
    this.writes.push(write);
  };
  answer(): void {
    this.silent = false;
    for (const go of this.#waiting.splice(0)) go();
  }

  /** Every revision that was written, in order. */
  revisions(): Incident[] {
    return this.writes.flatMap(({ incident, others = [] }) => (incident ? [...others, incident] : others));
  }
  /** The ids of those whose last revision is not their end. */
  open(): string[] {
    const last = new Map(this.revisions().map((one) => [one.id, one.state]));
    return [...last].filter(([, state]) => state !== IncidentState.CLOSED).map(([id]) => id);
  }
  /** What the audit says of what is missing. */
  holes() {
    return this.writes
      .flatMap(({ audit = [] }) => audit)
      .filter(({ action }) => action === "store.writes_again")
      .map(({ because, afterJson }) => ({ because, ...(JSON.parse(afterJson) as { missing: Missing }) }));
  }
}

interface Missing {
  readonly decisions: number;
  readonly audit: number;
  readonly incidents: number;
}
