import { Fault } from "@blueflame/shared/errors/fault.ts";
import type { FinishedRequest } from "../node.ts";
import { faultOf, openLine } from "./line.driver.ts";
import { type OwnState, ownState } from "./memory.driver.ts";

/** A workload's line to its agent. Every call may be made at any time until `close`; whoever connected closes. */
export interface Agent extends OwnState {
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
  /**
   * Tells of requests that the workload's server has finished, at most 1000 at once and 100 times a second: figures and triggers
   * of the agent follow from them. Tries once, within 5 s: a busy agent is late, and not away. Rejects with AGENT_UNREACHABLE,
   * DENIED, BAD_REQUEST or LIMIT_REACHED. `watchRequests` does it for HTTP servers.
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
  /** How long what is asked of the state goes on trying. Default 30 s; lower gives up while an agent is still being restarted. */
  readonly patienceMs?: number;
}

const beatTimeoutMs = 1_000;
/** On a busy machine the agent is late, and just then its workloads' requests count. */
const reportTimeoutMs = 5_000;
const patienceDefaultMs = 30_000;

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
  const line = openLine(socket, token, patienceMs);
  const { beats, reports, within, closed } = line;
  const agent: Agent = {
    ...ownState(line),
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
      const stop = () => {
        clearInterval(timer);
        closed.removeEventListener("abort", stop);
      };
      closed.addEventListener("abort", stop, { once: true });
      return stop;
    },
    async reportRequests(requests) {
      try {
        await reports.report({ requests: requests.map(finishedRequest) }, within(reportTimeoutMs));
      } catch (error) {
        throw faultOf(error);
      }
    },
    close: () => line.close(),
  };
  return agent;
}

function finishedRequest({ latencyMs, ok, timedOut }: FinishedRequest) {
  const wholeSeconds = Math.floor(latencyMs / 1000);
  const nanos = Math.round((latencyMs - wholeSeconds * 1000) * 1e6);
  return { latency: { seconds: BigInt(wholeSeconds), nanos: Math.min(nanos, 999_999_999) }, ok, timedOut };
}
