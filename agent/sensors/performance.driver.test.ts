import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { afterEach, expect, test } from "vitest";
import type { Figures } from "../triggers/observation.ts";
import { PerformanceProbes } from "./performance.driver.ts";

let server: Server | undefined;
let probes: PerformanceProbes | undefined;
afterEach(() => {
  probes?.close();
  server?.closeAllConnections();
  server?.close();
});

async function serve(answer: RequestListener): Promise<string> {
  server = createServer(answer);
  await new Promise<void>((listening) => server?.listen(0, "127.0.0.1", listening));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/health/performance`;
}

async function until(holds: (figures: Figures) => boolean): Promise<Figures> {
  for (let tries = 0; tries < 1000; tries += 1) {
    const figures = probes?.figures("engine") ?? {};
    if (holds(figures)) return figures;
    await pause(10);
  }
  throw new Error("waited 10 s in vain");
}

const page = { avg_latency_ms: 12, p95_latency_ms: 40, p99_latency_ms: 90, error_rate: 0.02, requests_per_second: 80 };

test("PRA-5 a performance page is asked again and again; 200 and 503 both carry figures, other answers none", async () => {
  let asked = 0;
  let [status, figures]: [number, object] = [200, page];
  const url = await serve((_request, response) => {
    asked += 1;
    response.statusCode = status;
    response.end(JSON.stringify({ ...figures, cpu_usage: 0.4, memory_usage_mb: 64 }));
  });
  const spec = { name: "engine", performance: { url, everyMs: 100, timeoutMs: 90 } };
  probes = new PerformanceProbes(
    [spec],
    realClock(),
    () => true,
    () => undefined,
  );
  expect(probes.figures("engine")).toEqual({});
  expect(await until((seen) => seen.avg_latency_ms !== undefined)).toEqual({
    ...page,
    cpu_usage: 0.4,
    memory_usage_mb: 64,
  });
  [status, figures] = [503, { ...page, error_rate: 0.9 }];
  await until((seen) => seen.error_rate === 0.9);
  [status, figures] = [404, { ...page, error_rate: 0.1 }];
  const before = asked;
  // What was known grows old and is dropped, never replaced by the page of an error.
  await until((seen) => seen.error_rate === undefined);
  expect(asked).toBeGreaterThan(before);
});

test("PRA-5 a page that hangs keeps no figures alive and is asked again; a workload that does not run is not asked", async () => {
  let asked = 0;
  let running = true;
  let hanging = false;
  const url = await serve((_request, response) => {
    asked += 1;
    if (!hanging) response.end(JSON.stringify(page));
  });
  const spec = { name: "engine", performance: { url, everyMs: 100, timeoutMs: 90 } };
  probes = new PerformanceProbes(
    [spec, { name: "other" }],
    realClock(),
    () => running,
    () => undefined,
  );
  await until((seen) => seen.error_rate === 0.02);
  hanging = true;
  await until((seen) => seen.error_rate === undefined);
  hanging = false;
  await until((seen) => seen.error_rate === 0.02);
  running = false;
  await pause(200);
  const before = asked;
  await pause(200);
  expect(asked).toBe(before);
  expect(probes.figures("other")).toEqual({});
});
