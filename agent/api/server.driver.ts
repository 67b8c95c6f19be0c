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
import { startedByAgent } from "./peer.driver.ts";
import { beatService, nodeService, reportService } from "./services.ts";
import { listenOnSocket } from "./socket.driver.ts";
import { stateService } from "./state-services.ts";
import { watchState } from "./watch.driver.ts";

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
  const { socketPath, log } = options;
  // Who it is that calls is known of a connection, not of a call: each kind has a server of its own.
  const people = serverFor(options, false);
  const workloads = serverFor(options, true);
  // An own listener instead of grpc-js's: it binds with our mask, and its connections can be bounded.
  const listening = await listenOnSocket(socketPath, (socket) => {
    const { injector } = startedByAgent(socket) ? workloads : people;
    injector.injectConnection(socket);
  });
  log({ api: "listening", socket: socketPath });

  let closed: Promise<void> | undefined;
  const close = async () => {
    const gone = listening.close();
    for (const { injector } of [people, workloads]) injector.drain(graceMs);
    await gone;
    for (const { server } of [people, workloads]) server.forceShutdown();
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

function serverFor({ node, onDown }: LocalApiOptions, byWorkload: boolean) {
  const server = new grpc.Server({
    ...serverOptions,
    "grpc.max_receive_message_length": messageBytesMax,
    "grpc.max_concurrent_streams": streamsPerConnectionMax,
  });
  const afterAnswer = () => setImmediate(() => onDown?.());
  addService(server, BeatService, beatService(node));
  addService(server, ReportService, reportService(node));
  addService(server, StateService, stateService(node, watchState));
  addService(server, NodeService, nodeService(node, afterAnswer, byWorkload));
  const services = [BeatService, ReportService, StateService, NodeService];
  const health = addHealth(server);
  for (const service of services) health.setServing(service.typeName, true);
  addReflection(server, [...services, Health]);
  return { server, injector: server.createConnectionInjector(grpc.ServerCredentials.createInsecure()) };
}
