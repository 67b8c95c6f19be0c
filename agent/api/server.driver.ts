import type net from "node:net";
import {
  BeatService,
  NodeService,
  ReportService,
  StateService,
} from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { Health } from "@blueflame/shared/gen/grpc/health/v1/health_pb.ts";
import { addService, type Handlers, serverOptions } from "@blueflame/shared/rpc/definition.ts";
import { addHealth } from "@blueflame/shared/rpc/health.ts";
import { addReflection } from "@blueflame/shared/rpc/reflection.ts";
import type { DescService } from "@bufbuild/protobuf";
import * as grpc from "@grpc/grpc-js";
import type { Node } from "../node.ts";
import { denied, type Peer, type Refusal, refusalOf, refused, Told } from "./admission.ts";
import { type Caller, sentToken } from "./caller.ts";
import { peerOf } from "./peer.driver.ts";
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
  /** Whose process has connected. Default: {@link peerOf}, without the signs of the families. */
  readonly whoCalls?: (socket: net.Socket) => Peer;
  /** Who holds a token; undefined for nobody. Default: it is not compared with who sends it. */
  readonly holderOf?: (token: string) => string | undefined;
  /** Told of each refusal once a minute. */
  readonly refused?: (refusal: Refusal) => void;
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
  const { socketPath, log, whoCalls = peerOf } = options;
  const peers = new Map<string, Peer>();
  let connections = 0;
  const { server, injector } = serverFor(options, peers);
  // An own listener instead of grpc-js's: it binds with our mask, and its connections can be bounded and asked who they are.
  const listening = await listenOnSocket(socketPath, (socket) => {
    const address = `connection-${++connections}`;
    peers.set(address, whoCalls(socket));
    socket.once("close", () => peers.delete(address));
    // A unix socket has no address, and this is where grpc-js looks for one: `getPeer` of each call gives it back.
    Object.defineProperty(socket, "remoteAddress", { value: address });
    injector.injectConnection(socket);
  });
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

function serverFor(options: LocalApiOptions, peers: ReadonlyMap<string, Peer>) {
  const { node, onDown } = options;
  const server = new grpc.Server({
    ...serverOptions,
    "grpc.max_receive_message_length": messageBytesMax,
    "grpc.max_concurrent_streams": streamsPerConnectionMax,
  });
  const afterAnswer = () => setImmediate(() => onDown?.());
  const admit = admission(options, peers);
  addService(server, BeatService, guarded(BeatService, beatService(node), admit));
  addService(server, ReportService, guarded(ReportService, reportService(node), admit));
  addService(server, StateService, guarded(StateService, stateService(node, watchState), admit));
  addService(server, NodeService, guarded(NodeService, nodeService(node, afterAnswer), admit));
  const services = [BeatService, ReportService, StateService, NodeService];
  const health = addHealth(server);
  for (const service of services) health.setServing(service.typeName, true);
  addReflection(server, [...services, Health]);
  return { server, injector: server.createConnectionInjector(grpc.ServerCredentials.createInsecure()) };
}

type Admit = (service: DescService, method: string, call: Caller) => void;

/** Throws DENIED for what the caller may not ask, and says so once a minute for each workload, and once for all that belong to none. */
function admission({ holderOf, refused: tell, log }: LocalApiOptions, peers: ReadonlyMap<string, Peer>): Admit {
  const told = new Told();
  return (service, method, call) => {
    // Without a name in the table nobody knows who it is, and then it is nobody.
    const peer = peers.get(call.getPeer()) ?? { is: "workload", pid: 0, workload: "" };
    const token = sentToken(call);
    const holder = token === undefined ? undefined : holderOf?.(token);
    const because = refusalOf(peer, { service: service.typeName, method, holder });
    if (because === undefined) return;
    const refusal = refused(peer, method, because);
    // Not by its number: a script that asks in a loop has another one each time.
    if (told.isNew(`${peer.is} ${refusal.target} ${refusal.action}`, performance.now())) {
      log({ api: "refused", ...refusal });
      tell?.(refusal);
    }
    throw denied(because);
  };
}

/** The handlers of a service, each behind the door. */
function guarded<S extends DescService>(service: S, handlers: Handlers<S>, admit: Admit): Handlers<S> {
  const behind = Object.entries(handlers).map(([method, handle]) => {
    const asked = (...given: unknown[]) => {
      admit(service, method, given.at(-1) as Caller); // the call is what every kind of handler is given last
      return (handle as (...all: unknown[]) => unknown)(...given);
    };
    return [method, asked];
  });
  return Object.fromEntries(behind) as Handlers<S>;
}
