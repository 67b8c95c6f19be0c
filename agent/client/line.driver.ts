import { setTimeout as pause } from "node:timers/promises";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { BeatService, ReportService, StateService } from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { fullJitterMs } from "@blueflame/shared/random/random.ts";
import { type CallOptions, type Client, client, clientOptions, faultFrom } from "@blueflame/shared/rpc/definition.ts";
import * as grpc from "@grpc/grpc-js";

/** One try; a frozen agent takes the connection and never answers. Disks under load take a second for a synced write. */
const tryTimeoutMs = 5_000;
/** Short, because a restarting agent is away for well under a second, and only this workload asks on its behalf. */
const retry = { baseMs: 50, capMs: 500 } as const;

/** The workload's connection, and how it waits for an agent that is away. */
export interface Line {
  readonly beats: Client<typeof BeatService>;
  readonly reports: Client<typeof ReportService>;
  readonly states: Client<typeof StateService>;
  readonly closed: AbortSignal;
  /** For one try that is not repeated. */
  within(timeoutMs: number): CallOptions;
  /**
   * Asks until there is an answer. Rejects with what does not pass by itself; after the patience with AGENT_UNREACHABLE, or STORE_WRITE_FAILED
   * where the agent's disk refused.
   */
  insist<T>(ask: (options: CallOptions) => Promise<T>): Promise<T>;
  /** Waits before the next try of a stream, the longer the more tries were in vain. Rejects when the line was closed. */
  breathe(tries: number): Promise<void>;
  close(): void;
}

/** Connects at the first call. Whoever opens closes. */
export function openLine(socket: string, token: string, patienceMs: number): Line {
  // The library's own backoff would double the wait after each failure; the loop below has the better one.
  const channel = { ...clientOptions, "grpc.initial_reconnect_backoff_ms": 100, "grpc.max_reconnect_backoff_ms": 250 };
  const address = `unix:${socket}`;
  const beats = client(BeatService, address, grpc.credentials.createInsecure(), channel);
  const reports = client(ReportService, address, grpc.credentials.createInsecure(), channel);
  const states = client(StateService, address, grpc.credentials.createInsecure(), channel);
  const metadata = new grpc.Metadata();
  metadata.set("authorization", `Bearer ${token}`);
  const closing = new AbortController();
  const within = (timeoutMs: number): CallOptions => ({ metadata, timeoutMs, signal: closing.signal });

  async function breathe(tries: number): Promise<void> {
    const waitMs = fullJitterMs(Math.random(), tries, retry.baseMs, retry.capMs);
    await pause(waitMs, undefined, { signal: closing.signal }).catch((cause: unknown) => {
      throw new Fault("AGENT_UNREACHABLE", "this end closed the line", { cause });
    });
  }

  async function insist<T>(ask: (options: CallOptions) => Promise<T>): Promise<T> {
    const giveUpAt = performance.now() + patienceMs;
    // What the agent itself has said is worth more than that the last moments were too short for a try.
    let told: Fault | undefined;
    for (let tries = 0; ; tries += 1) {
      try {
        const leftMs = Math.max(1, giveUpAt - performance.now());
        return await ask(within(Math.min(tryTimeoutMs, leftMs)));
      } catch (error) {
        const fault = faultOf(error);
        if (closing.signal.aborted || !passes(fault)) throw fault;
        if (fault.code === "STORE_WRITE_FAILED") told = fault;
        const late = fault.code === "TIMED_OUT";
        if (performance.now() >= giveUpAt) throw gaveUp(patienceMs, (late && told) || fault);
      }
      await breathe(tries);
    }
  }

  return {
    beats,
    reports,
    states,
    closed: closing.signal,
    within,
    insist,
    breathe,
    close() {
      closing.abort();
      beats.close();
      reports.close();
      states.close();
    },
  };
}

/** A disk that refuses has its own code and remedy; for all else nobody has answered. */
function gaveUp(patienceMs: number, last: Fault): Fault {
  const code = last.code === "STORE_WRITE_FAILED" ? last.code : "AGENT_UNREACHABLE";
  return new Fault(code, `no answer within ${patienceMs} ms; last: ${last.saw}`, { cause: last });
}

/** An agent that ends cancels what is open; to its workloads that is one that is away, like one that was killed. */
export function faultOf(error: unknown): Fault {
  const fault = faultFrom(error, "AGENT_UNREACHABLE");
  const cut = fault.cause instanceof Error && "code" in fault.cause && fault.cause.code === grpc.status.CANCELLED;
  return cut ? new Fault("AGENT_UNREACHABLE", "the agent ended the call", { cause: error }) : fault;
}

/** What passes by itself: nobody there, a try that took too long, a disk that refuses for now. */
export function passes(fault: Fault): boolean {
  return fault.code === "AGENT_UNREACHABLE" || fault.code === "TIMED_OUT" || fault.code === "STORE_WRITE_FAILED";
}
