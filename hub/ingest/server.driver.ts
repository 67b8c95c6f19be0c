import { createServer, type Server, type Socket } from "node:net";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { serverOptions } from "@blueflame/shared/rpc/options.ts";
import * as grpc from "@grpc/grpc-js";

/** A whole fleet may knock at once after an outage: what does not fit here is tried again by TCP only after a second. */
const backlog = 4_096;
/** Each connection is a file and about 80 KB; a machine that can take more sets more hubs beside this one. */
const connectionsMax = 20_000;

/** A list of ten thousand nodes is some 20 MB; with the usual 4 MiB an operator of two thousand was answered nothing. */
const answerBytesMax = 64 * 1024 * 1024;

export interface GrpcDoor {
  /** HOST:PORT as bound. */
  readonly address: string;
  /** Takes no new connections from now on. */
  stopListening(): void;
  /** Ends every connection; whatever is open then is cut. Resolves when the port is free. */
  close(): Promise<void>;
}

/**
 * Serves gRPC on a socket of our own: grpc-js gives its sockets neither a backlog nor a limit. `add` registers the
 * services. Throws PORT_IN_USE when the address is taken, BAD_REQUEST when it is none of this machine's.
 */
export async function serveGrpc(
  at: { readonly host: string; readonly port: number },
  credentials: grpc.ServerCredentials,
  add: (server: grpc.Server) => void,
): Promise<GrpcDoor> {
  const server = new grpc.Server({ ...serverOptions, "grpc.max_send_message_length": answerBytesMax });
  add(server);
  const injector = server.createConnectionInjector(credentials);
  const open = new Set<Socket>();
  const listener = createServer({ noDelay: true }, (socket) => {
    open.add(socket);
    socket.once("close", () => open.delete(socket));
    // A line that breaks before its handshake has nobody else to hear it.
    socket.on("error", () => {});
    injector.injectConnection(socket);
  });
  listener.maxConnections = connectionsMax;
  await listen(listener, at.host, at.port);
  const bound = listener.address();
  const port = typeof bound === "object" && bound !== null ? bound.port : at.port;
  const closed = new Promise<void>((resolve) => listener.once("close", resolve));
  return {
    address: `${at.host.includes(":") ? `[${at.host}]` : at.host}:${port}`,
    stopListening: () => void listener.close(),
    async close() {
      listener.close();
      server.forceShutdown();
      for (const socket of open) socket.destroy();
      await closed;
    },
  };
}

function listen(listener: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException) => {
      const where = `${host}:${port}`;
      if (error.code === "EADDRINUSE")
        reject(new Fault("PORT_IN_USE", `something listens on ${where}`, { cause: error }));
      else reject(new Fault("BAD_REQUEST", `cannot listen on ${where}: ${error.message}`, { cause: error }));
    };
    listener.once("error", failed);
    listener.listen({ host, port, backlog }, () => {
      listener.off("error", failed);
      resolve();
    });
  });
}
