import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** Which way bytes go: `up` from whoever connected, `down` to them. */
export type Way = "up" | "down";

/** A TCP line that misbehaves on demand, for tests in one process. The opener closes. */
export interface ChaosProxy {
  /** HOST:PORT to connect to; the same one for the proxy's life. */
  readonly address: string;
  /** Connections open now. */
  open(): number;
  /** Connections accepted since the start. */
  accepted(): number;
  /** Bytes forwarded since the start, both ways. */
  forwarded(): number;
  /** Every byte from now on arrives this much later. */
  delay(ms: number): void;
  /** Resets all connections; new ones are served. */
  cut(): void;
  /** Nothing is forwarded or closed any more, on old connections and new ones: a cable was pulled. `heal` ends it. */
  blackhole(): void;
  /** Nobody listens: connections are refused, open ones are reset. `heal` ends it. */
  refuse(): Promise<void>;
  /** Lets exactly `bytes` more through on each connection, in the middle of whatever they are, and resets it then. */
  truncate(way: Way, bytes: number): void;
  /** Forwards as it should. What was swallowed by a blackhole stays lost with its connections, which are reset. */
  heal(): Promise<void>;
  /** Where new connections go. */
  target(port: number): void;
  close(): Promise<void>;
}

interface Pair {
  readonly near: Socket;
  readonly far: Socket;
}

/** Listens on a free port of 127.0.0.1 and forwards to `port`. */
export async function chaosProxy(port: number): Promise<ChaosProxy> {
  const pairs = new Set<Pair>();
  const torn = new Set<Socket>();
  const count = { accepted: 0, forwarded: 0 };
  const left: Record<Way, number> = { up: Number.POSITIVE_INFINITY, down: Number.POSITIVE_INFINITY };
  let targetPort = port;
  let delayMs = 0;
  let swallow = false;

  const reset = (pair: Pair) => {
    pairs.delete(pair);
    pair.near.resetAndDestroy();
    pair.far.resetAndDestroy();
  };
  const forward = (pair: Pair, way: Way) => {
    const [from, to] = way === "up" ? [pair.near, pair.far] : [pair.far, pair.near];
    from.on("data", (bytes) => {
      const pass = () => {
        // A swallowed byte is gone although the sender's kernel was told that it arrived: worse than a pulled cable.
        if (swallow || to.destroyed) return;
        const part = bytes.subarray(0, left[way]);
        left[way] -= part.length;
        count.forwarded += part.length;
        to.write(part);
        if (left[way] <= 0) setImmediate(() => reset(pair));
      };
      if (delayMs > 0) setTimeout(pass, delayMs);
      else pass();
    });
    from.on("end", () => {
      if (!swallow) to.end();
    });
    from.on("error", () => {});
    from.on("close", () => {
      // A pulled cable tells the other end nothing; here it only stops counting.
      pairs.delete(pair);
      if (swallow) torn.add(to);
      else to.destroy();
    });
  };
  const server: Server = createServer((near) => {
    count.accepted += 1;
    const far = connect(targetPort, "127.0.0.1");
    const pair = { near, far };
    pairs.add(pair);
    forward(pair, "up");
    forward(pair, "down");
  });
  const listen = async (at: number) => {
    server.listen(at, "127.0.0.1");
    await once(server, "listening");
  };
  await listen(0);
  const own = (server.address() as AddressInfo).port;
  const resetAll = () => {
    for (const pair of pairs) reset(pair);
    for (const socket of torn) socket.destroy();
    torn.clear();
  };
  const stopListening = async () => {
    if (!server.listening) return;
    server.close();
    resetAll();
    await once(server, "close");
  };

  return {
    address: `127.0.0.1:${own}`,
    open: () => pairs.size,
    accepted: () => count.accepted,
    forwarded: () => count.forwarded,
    delay(ms) {
      delayMs = ms;
    },
    cut: resetAll,
    blackhole() {
      swallow = true;
    },
    refuse: stopListening,
    truncate(way, bytes) {
      left[way] = bytes;
    },
    async heal() {
      if (swallow) resetAll();
      swallow = false;
      left.up = Number.POSITIVE_INFINITY;
      left.down = Number.POSITIVE_INFINITY;
      if (!server.listening) await listen(own);
    },
    target(at) {
      targetPort = at;
    },
    close: stopListening,
  };
}
