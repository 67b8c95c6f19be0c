import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { OperatorService } from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import type { Fleet } from "../fleet.ts";
import { connectService } from "./connect.ts";
import { eventStreams, recentIncidents } from "./events.driver.ts";
import { bodyBytesMax, isLoopback, refusal } from "./guard.ts";
import { type Check, healthPages } from "./health.driver.ts";
import { metricsContentType, metricsText } from "./metrics.driver.ts";
import { operatorApi } from "./operator.ts";
import { statusPage } from "./page/page.ts";
import { script } from "./page/script.ts";
import { icon, style } from "./page/style.ts";

/** Where and what to serve. */
export interface HttpOptions {
  readonly fleet: Fleet;
  /** A loopback address; any other is refused with LISTEN_NOT_LOOPBACK. */
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** Told of what failed on our side, and of requests that were refused. */
  readonly log: { warn(facts: object, message: string): void };
  /** What must hold before this hub is ready, by name; a check that throws, or takes longer than 2 s, fails. */
  readonly checks?: Readonly<Record<string, Check>>;
  /** The machine's own unless given. */
  readonly clock?: Clock;
}

/** A served fleet. */
export interface HttpDoor {
  /** HOST:PORT. */
  readonly address: string;
  readonly url: string;
  /** Ends every stream and connection; resolves when the port is free. May be called twice. */
  close(): Promise<void>;
}

const connectionsMax = 512;
const staticSeconds = 60;

/** What every answer carries: the page runs its own script and style only, nobody frames it, nobody reads it across origins. */
const headers = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
  "cross-origin-opener-policy": "same-origin",
} as const;

/**
 * Serves the operator service (Connect, gRPC-web, JSON), the status page, `/events`, `/metrics` and `/health/*` on loopback.
 * Throws PORT_IN_USE when the address is taken, LISTEN_NOT_LOOPBACK for one that others could reach.
 */
export async function serveHttp(options: HttpOptions): Promise<HttpDoor> {
  const { host, port, fleet } = options;
  if (!isLoopback(host)) throw new Fault("LISTEN_NOT_LOOPBACK", `'${host}' can be reached from other machines`);
  const clock = options.clock ?? realClock();
  const health = healthPages(fleet, clock, options.checks ?? {});
  const connect = connectNodeAdapter({
    routes: (router) => router.service(OperatorService, connectService(operatorApi(fleet))),
    readMaxBytes: bodyBytesMax,
    jsonOptions: { alwaysEmitImplicit: true },
  });
  const page = pages(fleet, clock, health.answer, options.log);
  const server = createServer((request, response) => {
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    const refused = refusal(knock(request), host);
    if (refused !== undefined) {
      options.log.warn({ path: request.url?.slice(0, 200), status: refused.status }, refused.because);
      // The body is not read: the connection ends with the answer.
      response.setHeader("connection", "close");
      return text(response, refused.status, refused.because);
    }
    health.watch(request, response);
    if (request.url?.startsWith(`/${OperatorService.typeName}/`)) connect(request, response);
    else page(request, response);
  });
  server.maxConnections = connectionsMax;
  server.requestTimeout = 30_000;
  server.headersTimeout = 10_000;
  const address = await listen(server, host, port);
  return {
    address,
    url: `http://${address}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

type Answer = (path: string, response: ServerResponse) => Promise<boolean>;

/** Everything that is not the operator service. */
function pages(fleet: Fleet, clock: Clock, health: Answer, log: HttpOptions["log"]) {
  const events = eventStreams(fleet, clock);
  const route = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (request.method !== "GET") return text(response, 405, "Only the operator service takes POST.");
    const [path = "/", query] = (request.url ?? "/").split("?", 2);
    switch (path) {
      case "/":
        return send(
          response,
          "text/html; charset=utf-8",
          statusPage(fleet.hub(), fleet.nodes(), await recentIncidents(fleet)),
        );
      case "/page.js":
        return send(response, "text/javascript; charset=utf-8", script, staticSeconds);
      case "/page.css":
        return send(response, "text/css; charset=utf-8", style, staticSeconds);
      case "/icon.svg":
        return send(response, "image/svg+xml", icon, staticSeconds);
      case "/events":
        return events(request, response, new URLSearchParams(query).get("as") === "html" ? "html" : "json");
      case "/metrics": {
        const use = { cpuSeconds: cpuSeconds(), residentBytes: process.memoryUsage.rss() };
        return send(response, metricsContentType, await metricsText(fleet, use));
      }
      default:
        if (!(await health(path, response))) text(response, 404, "There is no such page. Start at /.");
    }
  };
  return (request: IncomingMessage, response: ServerResponse): void => {
    route(request, response).catch((error: unknown) => {
      log.warn({ path: request.url?.slice(0, 200), error }, "a request failed");
      if (response.headersSent) return void response.destroy();
      if (error instanceof Fault) return text(response, 503, error.message);
      text(response, 500, "Something went wrong here; the hub's log has the details.");
    });
  };
}

function knock({ method, headers }: IncomingMessage) {
  return { method, host: headers.host, origin: headers.origin, contentLength: headers["content-length"] };
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

function send(response: ServerResponse, type: string, body: string, cacheSeconds = 0): void {
  const cache = cacheSeconds > 0 ? `max-age=${cacheSeconds}` : "no-store";
  response.writeHead(200, { "content-type": type, "cache-control": cache }).end(body);
}

function text(response: ServerResponse, status: number, message: string): void {
  response.writeHead(status, { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" });
  response.end(`${message}\n`);
}

function listen(server: Server, host: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EADDRINUSE") return reject(error);
      reject(new Fault("PORT_IN_USE", `${host}:${port} is taken by another process`, { cause: error }));
    });
    server.listen(port, host.replace(/^\[(.*)\]$/, "$1"), () => {
      const bound = server.address() as AddressInfo;
      resolve(bound.family === "IPv6" ? `[${bound.address}]:${bound.port}` : `${bound.address}:${bound.port}`);
    });
  });
}
