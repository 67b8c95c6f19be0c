import { setTimeout as pause } from "node:timers/promises";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import { BeatService, ReportService, StateService } from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { fullJitterMs } from "@blueflame/shared/random/random.ts";
import { type CallOptions, client, clientOptions, faultFrom } from "@blueflame/shared/rpc/definition.ts";
import * as grpc from "@grpc/grpc-js";
import type { FinishedRequest } from "../node.ts";

/** A value of the workload's own state, and its revision to put the next one on. */
export interface Kept {
  readonly value: Uint8Array;
  readonly revision: bigint;
}

/** A workload's line to its agent. Every call may be made at any time until `close`; whoever connected closes. */
export interface Agent {
  /**
   * Says that the workload makes progress. Tries once, within 1 s: the next beat is a better retry than an old one. Returns
   * within how many milliseconds the next one is due. Rejects with AGENT_UNREACHABLE or DENIED. `status` is one sentence for
   * people, of at most 200 characters (more are cut); `ready: false` while it is alive but cannot work.
   */
  beat(status?: string, ready?: boolean): Promise<number>;
  /**
   * Beats every `everyMs` until `close` or until the returned function is called. An agent that is away is no error: the next
   * beat tries again. A timer goes on where the work is stuck, so prefer a `beat` per step of work where there are steps.
   */
  startBeating(everyMs: number, status?: () => string): () => void;
  /** Reads a key; undefined when it was never put. Goes on trying while the agent is away, up to `patienceMs`. */
  get(key: string): Promise<Kept | undefined>;
  /**
   * Writes a key, durable when it resolves with the new revision. With `expectedRevision` (0n: must not exist yet) it writes
   * only on top of that revision, and rejects with STATE_CONFLICT otherwise. Goes on trying while the agent is away; a
   * conflict after a try of unknown outcome is settled by reading back, so one put is never reported as another's. After
   * `patienceMs` it rejects with AGENT_UNREACHABLE, and then the value may or may not be written: read before you go on.
   * Without `expectedRevision` the last write wins, and one that was given up may still land: use it for hints only.
   */
  put(key: string, value: Uint8Array, expectedRevision?: bigint): Promise<bigint>;
  /**
   * Tells of requests that the workload's server has finished, at most 1000 at once and 100 times a second: figures and triggers
   * of the agent follow from them. Tries once, within 1 s. Rejects with AGENT_UNREACHABLE, DENIED, BAD_REQUEST or LIMIT_REACHED.
   * `watchRequests` does it for HTTP servers.
   */
  reportRequests(requests: readonly FinishedRequest[]): Promise<void>;
  close(): void;
}

/** Where the agent is, and how long to wait for it. */
export interface ConnectOptions {
  /** The unix socket's path; default: BLUEFLAME_SOCKET. */
  readonly socket?: string;
  /** Default: BLUEFLAME_TOKEN. */
  readonly token?: string;
  /** How long `get` and `put` go on trying. Default 30 s; lower gives up while an agent is still being restarted. */
  readonly patienceMs?: number;
}

interface PutInit {
  readonly key: string;
  readonly value: Uint8Array;
  readonly expectedRevision?: bigint;
}

const beatTimeoutMs = 1_000;
/** One try; a frozen agent takes the connection and never answers. Disks under load take a second for a synced write. */
const tryTimeoutMs = 5_000;
const patienceDefaultMs = 30_000;
/** Short, because a restarting agent is away for well under a second, and only this workload asks on its behalf. */
const retry = { baseMs: 50, capMs: 500 } as const;

/** The line to the agent that started this process. Connects at the first call. Throws USAGE when no agent did. */
export function connect(options: ConnectOptions = {}): Agent {
  const agent = connectOptional(options);
  if (agent === undefined) {
    throw new Fault(
      "USAGE",
      "BLUEFLAME_SOCKET and BLUEFLAME_TOKEN are not set: this process was not started by an agent",
    );
  }
  return agent;
}

/** As {@link connect}; undefined when the process was not started by an agent. */
export function connectOptional(options: ConnectOptions = {}): Agent | undefined {
  const socket = options.socket ?? process.env.BLUEFLAME_SOCKET;
  const token = options.token ?? process.env.BLUEFLAME_TOKEN;
  if (!socket || !token) return undefined;
  return agentAt(socket, token, options.patienceMs ?? patienceDefaultMs);
}

function agentAt(socket: string, token: string, patienceMs: number): Agent {
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

  /** Runs `ask` until it gets an answer. `again` is true where an earlier try may have reached the agent. */
  async function insist<T>(ask: (options: CallOptions, again: boolean) => Promise<T>): Promise<T> {
    const giveUpAt = performance.now() + patienceMs;
    for (let tries = 0; ; tries += 1) {
      try {
        const leftMs = Math.max(1, giveUpAt - performance.now());
        return await ask(within(Math.min(tryTimeoutMs, leftMs)), tries > 0);
      } catch (error) {
        const fault = faultOf(error);
        if (closing.signal.aborted || !passes(fault)) throw fault;
        if (performance.now() >= giveUpAt)
          throw new Fault("AGENT_UNREACHABLE", gaveUp(patienceMs, fault), { cause: fault });
      }
      const waitMs = fullJitterMs(Math.random(), tries, retry.baseMs, retry.capMs);
      await pause(waitMs, undefined, { signal: closing.signal }).catch((cause: unknown) => {
        throw new Fault("AGENT_UNREACHABLE", "this end closed the line", { cause });
      });
    }
  }

  async function get(key: string, options: CallOptions): Promise<Kept | undefined> {
    try {
      const { value, revision } = await states.get({ key }, options);
      // A copy: the message's bytes are a view into everything that arrived with it.
      return { value: Uint8Array.from(value), revision };
    } catch (error) {
      const fault = faultOf(error);
      if (fault.code === "NOT_FOUND") return undefined;
      throw fault;
    }
  }

  async function put(request: PutInit, options: CallOptions, again: boolean): Promise<bigint> {
    try {
      return (await states.put(request, options)).revision;
    } catch (error) {
      const fault = faultOf(error);
      const expected = request.expectedRevision;
      // Our own earlier try may be what moved the revision: its answer was lost, not the write.
      if (expected === undefined || !again || !isFault(fault, "STATE_CONFLICT")) throw fault;
      const kept = await get(request.key, options);
      if (kept?.revision === expected + 1n && Buffer.from(kept.value).equals(request.value)) return kept.revision;
      throw fault;
    }
  }

  const agent: Agent = {
    async beat(status = "", ready = true) {
      try {
        const { nextWithin } = await beats.beat({ status: status.slice(0, 200), ready }, within(beatTimeoutMs));
        return Number(nextWithin?.seconds ?? 0n) * 1000 + (nextWithin?.nanos ?? 0) / 1e6;
      } catch (error) {
        throw faultOf(error);
      }
    },
    startBeating(everyMs, status = () => "") {
      let underway = false;
      const timer = setInterval(() => {
        if (underway) return;
        underway = true;
        const over = () => {
          underway = false;
        };
        agent.beat(status()).then(over, over);
      }, everyMs);
      timer.unref();
      const stop = () => clearInterval(timer);
      closing.signal.addEventListener("abort", stop, { once: true });
      return stop;
    },
    get: (key) => insist((options) => get(key, options)),
    put(key, value, expectedRevision) {
      const request = expectedRevision === undefined ? { key, value } : { key, value, expectedRevision };
      return insist((options, again) => put(request, options, again));
    },
    async reportRequests(requests) {
      try {
        await reports.report({ requests: requests.map(finishedRequest) }, within(beatTimeoutMs));
      } catch (error) {
        throw faultOf(error);
      }
    },
    close() {
      closing.abort();
      beats.close();
      reports.close();
      states.close();
    },
  };
  return agent;
}

function finishedRequest({ latencyMs, ok, timedOut }: FinishedRequest) {
  const wholeSeconds = Math.floor(latencyMs / 1000);
  const nanos = Math.round((latencyMs - wholeSeconds * 1000) * 1e6);
  return { latency: { seconds: BigInt(wholeSeconds), nanos: Math.min(nanos, 999_999_999) }, ok, timedOut };
}

/** An agent that ends cancels what is open; to its workloads that is one that is away, like one that was killed. */
function faultOf(error: unknown): Fault {
  const fault = faultFrom(error, "AGENT_UNREACHABLE");
  const cut = fault.cause instanceof Error && "code" in fault.cause && fault.cause.code === grpc.status.CANCELLED;
  return cut ? new Fault("AGENT_UNREACHABLE", "the agent ended the call", { cause: error }) : fault;
}

/** What passes by itself: nobody there, a try that took too long, a disk that refuses for now. */
function passes(fault: Fault): boolean {
  return fault.code === "AGENT_UNREACHABLE" || fault.code === "TIMED_OUT" || fault.code === "STORE_WRITE_FAILED";
}

function gaveUp(patienceMs: number, last: Fault): string {
  return `no answer within ${patienceMs} ms; last: ${last.saw}`;
}
