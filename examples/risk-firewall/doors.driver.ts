import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

/** What a door answers: a status and a body that is sent as JSON. */
export interface Answer {
  readonly status: 200 | 503;
  readonly body: unknown;
}

/** Open doors; whoever opened closes. */
export interface Doors {
  readonly port: number;
  close(): void;
}

/** Serves GET on 127.0.0.1 only: each path asks its own question. Port 0 takes a free one. Rejects when it cannot listen. */
export function openDoors(port: number, paths: Readonly<Record<string, () => Answer>>): Promise<Doors> {
  const server = createServer((request, response) => {
    const path = (request.url ?? "/").split("?")[0] ?? "/";
    const ask = Object.hasOwn(paths, path) ? paths[path] : undefined;
    const { status, body } = ask?.() ?? { status: 404, body: { paths: Object.keys(paths) } };
    response.writeHead(status, { "content-type": "application/json" });
    response.end(`${JSON.stringify(body)}\n`);
  });
  server.maxConnections = 64;
  server.requestTimeout = 5_000;
  server.headersTimeout = 5_000;
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => {
      server.off("error", reject);
      resolve({
        port: (server.address() as AddressInfo).port,
        close() {
          server.close();
          server.closeAllConnections();
        },
      });
    });
  });
}
