import type { Cleaned, ProcessPort, Sight, SpawnRequest } from "@blueflame/agent/supervise/process.ts";
import type { WorkloadSpec } from "@blueflame/agent/supervise/spec.ts";
import type { Instance } from "@blueflame/agent/supervise/state.ts";

/** One process of the fake machine. */
export interface FakeProcess {
  readonly id: string;
  readonly workload: string;
  readonly pid: number;
  readonly startTicks: number;
  sight: Sight;
  readonly signals: string[];
  /** Left alone by SIGTERM. */
  stubborn: boolean;
}

/**
 * A machine whose processes can hang, ignore SIGTERM, exit with any code, refuse to start or to die, and outlive the agent.
 * `attach()` gives the port of one agent process; exits are told to the port that spawned only.
 */
export class FakeMachine {
  readonly all: FakeProcess[] = [];
  #nextPid = 100;
  /** Spawns fail with this while it is set. */
  refuses: string | undefined;
  /** Clean-ups fail with this while it is set. */
  undying: string | undefined;
  stubborn = false;

  alive(workload?: string): FakeProcess[] {
    return this.all.filter((one) => one.sight !== "gone" && (workload === undefined || one.workload === workload));
  }

  attach(): FakePort {
    return new FakePort(this);
  }

  start(id: string, workload: string): FakeProcess {
    const pid = this.#nextPid++;
    const started: FakeProcess = {
      id,
      workload,
      pid,
      startTicks: pid * 7,
      sight: "running",
      signals: [],
      stubborn: this.stubborn,
    };
    this.all.push(started);
    return started;
  }
}

/** The fake machine as one agent process sees it. */
export class FakePort implements ProcessPort {
  readonly #machine: FakeMachine;
  readonly #mine = new Set<string>();
  #exited: (id: string, code: number | null, signal: string | null) => void = () => undefined;
  #closed = false;
  #dead = false;

  constructor(machine: FakeMachine) {
    this.#machine = machine;
  }
  onExit(exited: (id: string, code: number | null, signal: string | null) => void): void {
    this.#exited = exited;
  }
  spawn(request: SpawnRequest) {
    if (this.#dead) return { failed: "its agent is dead" };
    if (this.#machine.refuses) return { failed: this.#machine.refuses };
    const started = this.#machine.start(request.id, request.spec.name);
    this.#mine.add(request.id);
    return { pid: started.pid, startTicks: started.startTicks };
  }
  signal(instance: Instance, signal: string): void {
    const target = this.#find(instance);
    if (!target || this.#dead) return;
    target.signals.push(signal);
    if (signal === "SIGKILL" || (signal === "SIGTERM" && !target.stubborn)) this.end(target, null, signal);
  }
  look(instance: Instance): Sight {
    return this.#find(instance)?.sight ?? "gone";
  }
  mayBeStopped(): boolean {
    return this.#machine.all.some(({ id, sight }) => sight === "stopped" && this.#mine.has(id));
  }
  mayHaveEnded(instances: readonly Instance[]): boolean {
    return instances.some((instance) => this.look(instance) === "gone");
  }
  clean(spec: Pick<WorkloadSpec, "name">): Promise<Cleaned> {
    if (this.#dead) return new Promise(() => undefined);
    if (this.#machine.undying) return Promise.resolve({ ok: false, because: this.#machine.undying });
    const left = this.#machine.alive(spec.name);
    for (const one of left) this.end(one, null, "SIGKILL");
    return Promise.resolve({ ok: true, killed: left.length, removed: [], tookMs: 1 });
  }
  find() {
    const found = new Map<string, { id: string; pid: number; startTicks: number }[]>();
    for (const one of this.#machine.alive()) found.set(one.workload, [...(found.get(one.workload) ?? []), one]);
    return Promise.resolve(found);
  }
  rotate(): Promise<void> {
    return Promise.resolve();
  }
  close(): void {
    this.#closed = true;
  }
  /** Ends with its agent process: what that one still asks for does not happen. */
  die(): void {
    this.#closed = true;
    this.#dead = true;
  }

  /** Ends a process as the kernel would. */
  end(one: FakeProcess, code: number | null, signal: string | null): void {
    if (one.sight === "gone") return;
    one.sight = "gone";
    if (this.#mine.has(one.id) && !this.#closed) this.#exited(one.id, code, signal);
  }

  #find(instance: Instance): FakeProcess | undefined {
    return this.#machine.all.find((one) => one.pid === instance.pid && one.startTicks === instance.startTicks);
  }
}
