import type { IncomingMessage, ServerResponse } from "node:http";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import type { Fleet } from "../fleet.ts";
import { isFailing, type Performance, type Served, served, summary } from "./performance.ts";

/** Resolves when what it stands for works; throws a sentence when it does not. */
export type Check = () => Promise<void> | void;

const checkMs = 2000;

/**
 * The three health pages, as JSON: `/health/live` (the process answers), `/health/ready` (named checks; 503 when one fails),
 * `/health/performance` (the last minute's requests; 503 when half of them fail). `watch` is given every request.
 */
export function healthPages(fleet: Fleet, clock: Clock, checks: Readonly<Record<string, Check>>) {
  let all: Served[] = [];
  const usage = cpuMeter(clock);
  return {
    watch(request: IncomingMessage, response: ServerResponse): void {
      const began = clock.monotonicMs();
      // A stream's length says nothing about how fast we answer.
      if (/^\/events|\/Watch[A-Za-z]+$/.test(request.url?.split("?")[0] ?? "")) return;
      response.once("finish", () => {
        const atMs = clock.monotonicMs();
        all = served(all, { atMs, tookMs: atMs - began, failed: response.statusCode >= 500 });
      });
    },
    async answer(path: string, response: ServerResponse): Promise<boolean> {
      if (path === "/health/live")
        json(response, true, { status: "alive", time: new Date(clock.wallMs()).toISOString() });
      else if (path === "/health/ready") await ready(response, clock, { fleet: () => void fleet.hub(), ...checks });
      else if (path === "/health/performance") {
        const body: Performance = {
          ...summary(all, clock.monotonicMs()),
          cpu_usage: usage(),
          memory_usage_mb: Math.round(process.memoryUsage.rss() / 1e4) / 100,
        };
        json(response, !isFailing(all, clock.monotonicMs()), body);
      } else return false;
      return true;
    },
  };
}

async function ready(response: ServerResponse, clock: Clock, checks: Readonly<Record<string, Check>>): Promise<void> {
  const results = await Promise.all(
    Object.entries(checks).map(async ([name, check]) => [name, await outcome(clock, check)] as const),
  );
  const isReady = results.every(([, result]) => result.ok);
  json(response, isReady, { status: isReady ? "ready" : "not_ready", checks: Object.fromEntries(results) });
}

async function outcome(clock: Clock, check: Check): Promise<{ ok: boolean; because?: string }> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const cancel = clock.wakeAt(clock.monotonicMs() + checkMs, () => reject(new Error(`no answer within ${checkMs} ms`)));
  try {
    await Promise.race([(async () => check())(), late]);
    return { ok: true };
  } catch (error) {
    return { ok: false, because: error instanceof Error ? error.message : String(error) };
  } finally {
    cancel();
  }
}

/** Share of one processor since the last call; calls within a second get the last answer. */
function cpuMeter(clock: Clock): () => number {
  let at = clock.monotonicMs();
  let used = process.cpuUsage();
  let share = 0;
  return () => {
    const now = clock.monotonicMs();
    if (now - at < 1000) return share;
    const { user, system } = process.cpuUsage(used);
    share = Math.round(((user + system) / 1000 / (now - at)) * 1000) / 1000;
    at = now;
    used = process.cpuUsage();
    return share;
  };
}

function json(response: ServerResponse, ok: boolean, body: object): void {
  response.writeHead(ok ? 200 : 503, {
    "content-type": "application/json; charset=utf-8",
    "cache-control": "no-store",
  });
  response.end(`${JSON.stringify(body)}\n`);
}
