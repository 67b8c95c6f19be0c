import * as grpc from "@grpc/grpc-js";
import { Fault } from "../errors/fault.ts";
import {
  Health,
  type HealthCheckResponse,
  HealthCheckResponse_ServingStatus as Status,
} from "../gen/grpc/health/v1/health_pb.ts";
import { addService } from "./definition.ts";

/** At most this many Watch calls are open at once; more are refused with LIMIT_REACHED. */
const watchersMax = 1000;

type Watcher = grpc.ServerWritableStream<unknown, Partial<HealthCheckResponse>>;

/** What a server says about its services by grpc.health.v1. */
export interface HealthBoard {
  /** Says whether `service` takes calls, and tells those who watch it; "" stands for the whole server. */
  setServing(service: string, serving: boolean): void;
}

/** Serves grpc.health.v1 (Check and Watch). "" starts as SERVING; other services are unknown until they are set. */
export function addHealth(server: grpc.Server): HealthBoard {
  const statuses = new Map<string, Status>([["", Status.SERVING]]);
  const watchers = new Map<Watcher, string>();
  addService(server, Health, {
    check: ({ service }) => {
      const status = statuses.get(service);
      if (status === undefined)
        throw new Fault("NOT_FOUND", `no service '${service.slice(0, 200)}' has a health status`);
      return { status };
    },
    watch: (call) => {
      if (watchers.size >= watchersMax) throw new Fault("LIMIT_REACHED", `${watchersMax} watches are open`);
      watchers.set(call, call.request.service);
      // The server keeps the call until the peer leaves or the server closes; grpc-js then says "cancelled".
      call.on("cancelled", () => watchers.delete(call));
      call.write({ status: statuses.get(call.request.service) ?? Status.SERVICE_UNKNOWN });
    },
  });
  return {
    setServing(service, serving) {
      const status = serving ? Status.SERVING : Status.NOT_SERVING;
      if (statuses.get(service) === status) return;
      statuses.set(service, status);
      for (const [call, watched] of watchers) {
        // A watcher that does not read is cut off rather than buffered for: it can ask again.
        if (watched === service && !call.write({ status })) {
          watchers.delete(call);
          call.emit("error", { code: grpc.status.RESOURCE_EXHAUSTED, details: "the watcher does not read" });
        }
      }
    },
  };
}
