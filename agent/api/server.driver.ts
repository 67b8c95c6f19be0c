import {
  BeatService,
  NodeService,
  ReportService,
  StateService,
} from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { Health } from "@blueflame/shared/gen/grpc/health/v1/health_pb.ts";
import { addService, serverOptions } from "@blueflame/shared/rpc/definition.ts";
import { addHealth } from "@blueflame/shared/rpc/health.ts";
import { addReflection } from "@blueflame/shared/rpc/reflection.ts";
import * as grpc from "@grpc/grpc-js";
import type { Node } from "../node.ts";
import { beatService, nodeService, reportService, stateService } from "./services.ts";
import { listenOnSocket } from "./socket.driver.ts";

/** What the local API is given. */
export interface LocalApiOptions {
  readonly node: Node;
  /** At most 107 bytes; its directory exists. */
  readonly socketPath: string;
  /** One fact per transition. */
  readonly log: (fact: Readonly<Record<string, unknown>>) => void;
  /** Called once a Down was answered: the process may end. Default: nothing happens. */
  readonly onDown?: () => void;
}

/** A served local API; whoever served it closes it. */
export interface LocalApi {
  readonly socketPath: string;
  /** Refuses new connections at once, gives running calls 500 ms, removes the socket. May be called twice. */
  close(): Promise<void>;
}

const graceMs = 500;
/** Values have at most 256 KiB; four times that leaves room for whatever a later version adds. */
const messageBytesMax = 1024 * 1024;
const streamsPerConnectionMax = 64;

/**
 * Serves BeatService, StateService and NodeService with reflection (v1, v1alpha) and grpc.health.v1, on a unix socket with
 * mode 0600 and nowhere else. Ready for calls when it resolves. Rejects with SOCKET_PATH_TOO_LONG, PORT_IN_USE (another
 * agent answers there) or DATA_DIR_UNUSABLE.
 */
export async function serveLocalApi(options: LocalApiOptions): Promise<LocalApi> {
  const { node, socketPath, log } = options;
  const server = new grpc.Server({
    ...serverOptions,
    "grpc.max_receive_message_length": messageBytesMax,
    "grpc.max_concurrent_streams": streamsPerConnectionMax,
  });
  const afterAnswer = () => setImmediate(() => options.onDown?.());
  addService(server, BeatService, beatService(node));
  addService(server, ReportService, reportService(node));
  addService(server, StateService, stateService(node));
  addService(server, NodeService, nodeService(node, afterAnswer));
  const services = [BeatService, ReportService, StateService, NodeService];
  const health = addHealth(server);
  for (const service of services) health.setServing(service.typeName, true);
  addReflection(server, [...services, Health]);

  // An own listener instead of grpc-js's: it binds with our mask, and its connections can be bounded.
  const injector = server.createConnectionInjector(grpc.ServerCredentials.createInsecure());
  const listening = await listenOnSocket(socketPath, (socket) => injector.injectConnection(socket));
  log({ api: "listening", socket: socketPath });

  let closed: Promise<void> | undefined;
  const close = async () => {
    const gone = listening.close();
    injector.drain(graceMs);
    await gone;
    server.forceShutdown();
    log({ api: "closed", socket: socketPath });
  };
  return {
    socketPath,
    close: () => {
      closed ??= close();
      return closed;
    },
  };
}
