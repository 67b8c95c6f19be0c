import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { FinishedRequest } from "../node.ts";
import type { Agent } from "./client.driver.ts";

/** A report is sent this long after its first request. */
const batchMs = 1000;
/** What the agent takes in one report, and what may wait: a busier server is a sample of itself. */
const batchMax = 1000;
const waitingMax = 20_000;
/** Requests that are followed while they are open; those beyond it are counted when they end. */
const openMax = 10_000;

/** How requests are judged. */
export interface WatchOptions {
  /**
   * A request that got no answer for this long counts as timed out, then and not when it ends. Default 5 s; lower finds a stuck
   * server sooner, higher forgives slow answers.
   */
  readonly timeoutMs?: number;
}

/** A watch over requests of HTTP servers. Whoever began it closes it. */
export interface RequestWatch {
  /**
   * Follows one request: as `server.prependListener("request", handle)` of node:http, `app.use(handle)` of Express and its kin,
   * `app.addHook("onRequest", handle)` of Fastify. Calls `next` at once; never throws and never changes request or response.
   */
  readonly handle: (request: unknown, response: Raw<ServerResponse>, next?: () => void) => void;
  /** Follows every request of a server of node:http from now on. */
  watch(server: Pick<Server, "prependListener">): void;
  /** Requests that were never told: the agent was away, or there were too many. */
  readonly untold: number;
  /** Sends what waits, and no more. Requests that are still open are forgotten. Never rejects. */
  close(): Promise<void>;
}

/** Fastify wraps what node:http gives. */
type Raw<T> = T | { readonly raw: T };

interface Open {
  readonly response: ServerResponse;
  readonly beganMs: number;
  /** Seen with the head of its answer sent: what goes on after that is a stream. */
  answering: boolean;
}

/**
 * Watches the requests of this process's HTTP servers and tells the agent of them every second, in batches. An answer of 500 or
 * more is a failure; so is none within `timeoutMs`. A client that leaves earlier is no fault of the server, and counts as well
 * answered. What begins its answer in time and goes on for longer (a stream, a long poll) is not counted at all. A batch that
 * the agent does not take is dropped: by the next one it is history. Costs two listeners and some hundred bytes per request.
 */
export function watchRequests(
  agent: Pick<Agent, "reportRequests">,
  { timeoutMs = 5000 }: WatchOptions = {},
): RequestWatch {
  const open = new Set<Open>();
  let waiting: FinishedRequest[] = [];
  let untold = 0;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  let sending = Promise.resolve();

  /** The next batch comes after the one before was answered, and only when there is something to tell or to look at. */
  const wakeLater = () => {
    if (timer !== undefined || closed) return;
    timer = setTimeout(async () => {
      findOverdue();
      if (waiting.length > 0) await sendAfter();
      timer = undefined;
      if (waiting.length > 0 || open.size > 0) wakeLater();
    }, batchMs);
    timer.unref();
  };

  const put = (latencyMs: number, ok: boolean, timedOut: boolean) => {
    if (waiting.length >= waitingMax) untold += 1;
    else waiting.push({ latencyMs, ok, timedOut });
    wakeLater();
  };

  const findOverdue = () => {
    const nowMs = performance.now();
    for (const one of open) {
      one.answering = one.response.headersSent;
      if (one.answering || nowMs - one.beganMs < timeoutMs) continue;
      open.delete(one);
      put(nowMs - one.beganMs, false, true);
    }
  };

  const ended = (one: Open, followed: boolean) => {
    // No longer open: it was overdue, and is counted already.
    if (followed && !open.delete(one)) return;
    const latencyMs = performance.now() - one.beganMs;
    if (latencyMs >= timeoutMs) {
      if (!one.answering) put(latencyMs, false, true);
      return;
    }
    put(latencyMs, !one.response.writableFinished || one.response.statusCode < 500, false);
  };

  /** One report at a time: an agent that is frozen must not make them pile up. */
  const send = async () => {
    const requests = waiting;
    waiting = [];
    for (let from = 0; from < requests.length; from += batchMax) {
      try {
        await agent.reportRequests(requests.slice(from, from + batchMax));
      } catch {
        untold += requests.length - from;
        return;
      }
    }
  };
  const sendAfter = () => {
    sending = sending.then(send);
    return sending;
  };

  const handle: RequestWatch["handle"] = (_request, response, next) => {
    if (!closed) {
      const one = {
        response: "raw" in response ? response.raw : response,
        beganMs: performance.now(),
        answering: false,
      };
      const followed = open.size < openMax;
      if (followed) open.add(one);
      // After "finish", and also when the connection is cut before it.
      one.response.once("close", () => ended(one, followed));
      wakeLater();
    }
    next?.();
  };

  return {
    handle,
    watch(server) {
      server.prependListener("request", (request: IncomingMessage, response: ServerResponse) =>
        handle(request, response),
      );
    },
    get untold() {
      return untold;
    },
    async close() {
      closed = true;
      clearTimeout(timer);
      open.clear();
      await sendAfter();
    },
  };
}
