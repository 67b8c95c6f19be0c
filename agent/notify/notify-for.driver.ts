import { dirname, join } from "node:path";
import { makeFolder } from "@blueflame/shared/store/folder.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import { instanceOf, type Phase } from "../supervise/state.ts";
import { parseNotify } from "./message.ts";
import { NotifySockets } from "./notify-socket.driver.ts";
import { Senders } from "./sender.driver.ts";
import { adoptedReady, type Beat, hear, type Told, untold } from "./told.ts";

/** Refused messages are told at most this often for each workload; the line says how many there were. */
const refusedEveryMs = 60_000;

/** What it is made of. None of the functions may throw. */
export interface NotifyParts {
  readonly dataDir: string;
  /** The store's generation, with which workloads are marked. */
  readonly owner: string;
  readonly specs: readonly WorkloadSpec[];
  readonly clock: Clock;
  /** Where the workload stands; undefined while there is no supervisor. */
  readonly phaseOf: (workload: string) => Phase | undefined;
  readonly beat: (workload: string, beat: Beat) => void;
  readonly log: (level: "info" | "warn", fields: Readonly<Record<string, unknown>>, message: string) => void;
  /** Told once for each workload that asked for the protocol and cannot have it, with a sentence for people. */
  readonly notOffered: (workload: string, because: string) => void;
}

/** The notify protocol for all workloads that speak it. Whoever made it closes it. */
export interface Notify {
  /** To be supervised by: where the protocol is not to be had, without the signs that would come by it. */
  readonly specs: readonly WorkloadSpec[];
  /** For a new process of the workload, which has told nothing yet. Empty for one that does not speak the protocol. */
  envFor(workload: string): Readonly<Record<string, string>>;
  close(): void;
}

/** Opens one socket for each workload with `notify`, in `notify/` below the data directory. Never throws. */
export function notifyFor(parts: NotifyParts): Notify {
  const sockets = new NotifySockets(parts.clock);
  const lines = new Map<string, Line>();
  const specs = parts.specs.map((spec) => {
    if (!spec.notify) return spec;
    const line = new Line(spec, parts);
    const because = open(sockets, line);
    if (because !== undefined) {
      parts.notOffered(spec.name, `'${spec.name}' is guarded without systemd's notify protocol: ${because}`);
      return withoutNotify(spec);
    }
    lines.set(spec.name, line);
    return spec;
  });
  return {
    specs,
    envFor: (workload) => lines.get(workload)?.begin() ?? {},
    close: () => sockets.close(),
  };
}

/** Why it cannot be had; undefined when it can. */
function open(sockets: NotifySockets, line: Line): string | undefined {
  try {
    makeFolder(dirname(line.path));
  } catch (error) {
    return (error as Error).message;
  }
  return sockets.take(line.path, ({ pid, bytes }) => line.take(pid, bytes));
}

/** Beats by the protocol cannot come either; those by a file can. */
function withoutNotify(spec: WorkloadSpec): WorkloadSpec {
  const { beat, ...rest } = spec;
  return { ...rest, notify: false, ...(beat?.file !== undefined && { beat }) };
}

/** One workload's side of the conversation. */
class Line {
  readonly path: string;
  readonly #spec: WorkloadSpec;
  readonly #parts: NotifyParts;
  readonly #senders: Senders;
  #told: Told | undefined;
  #refused = 0;
  #tellRefusedAtMs = 0;

  constructor(spec: WorkloadSpec, parts: NotifyParts) {
    this.path = join(parts.dataDir, "notify", `${spec.name}.sock`);
    this.#spec = spec;
    this.#parts = parts;
    this.#senders = new Senders(parts.owner, spec.name);
  }

  begin(): Readonly<Record<string, string>> {
    const { beat } = this.#spec;
    this.#told = untold;
    return {
      NOTIFY_SOCKET: this.path,
      // No WATCHDOG_PID: the number is not known before the process is there, and without it every process of it may beat.
      ...(beat && beat.file === undefined && { WATCHDOG_USEC: String(Math.round(beat.timeoutMs * 1000)) }),
    };
  }

  take(pid: number, bytes: Uint8Array): void {
    const { name: workload, beat } = this.#spec;
    const phase = this.#parts.phaseOf(workload);
    const message = parseNotify(bytes);
    if ("refused" in message) this.#refuse(pid, message.refused);
    else if (!this.#senders.isMember(pid, phase && instanceOf(phase)))
      this.#refuse(pid, "its sender is not of the workload's family, or has ended");
    else {
      // Nothing was begun here when it lives since an earlier agent process.
      const heard = hear(this.#told ?? (phase?.at === "running" ? adoptedReady : untold), message, beat !== undefined);
      this.#told = heard.told;
      if (heard.beat) this.#parts.beat(workload, heard.beat);
    }
  }

  #refuse(pid: number, because: string): void {
    this.#refused++;
    const nowMs = this.#parts.clock.monotonicMs();
    if (nowMs < this.#tellRefusedAtMs) return;
    this.#tellRefusedAtMs = nowMs + refusedEveryMs;
    const fields = { workload: this.#spec.name, pid, refused: this.#refused };
    this.#parts.log("warn", fields, `a notify message was refused: ${because}`);
  }
}
