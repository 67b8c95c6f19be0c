import { Fault } from "@blueflame/shared/errors/fault.ts";
import type { OperatorService } from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import { codeKey, toStatus } from "@blueflame/shared/rpc/status.ts";
import { type Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import type { OperatorApi } from "./operator.ts";

/** The operator service as Connect routes want it; errors travel like over gRPC, with the fault's code as metadata. */
export function connectService(api: OperatorApi): ServiceImpl<typeof OperatorService> {
  return {
    listNodes: answer(api.listNodes),
    getNode: answer(api.getNode),
    watchNodes: (request, caller) => told(api.watchNodes(request, caller)),
    listIncidents: answer(api.listIncidents),
    getIncident: answer(api.getIncident),
    watchIncidents: (request, caller) => told(api.watchIncidents(request, caller)),
    listAudit: answer(api.listAudit),
    readAudit: answer(api.readAudit),
    listDecisions: answer(api.listDecisions),
    getHub: answer(api.getHub),
  };
}

function answer<Request, Response>(ask: (request: Request) => Promise<Response> | Response) {
  return async (request: Request): Promise<Response> => {
    try {
      return await ask(request);
    } catch (error) {
      throw toConnectError(error);
    }
  };
}

async function* told<Response>(values: AsyncGenerator<Response>): AsyncGenerator<Response> {
  try {
    yield* values;
  } catch (error) {
    throw toConnectError(error);
  }
}

/** gRPC's status numbers and Connect's codes are the same. */
function toConnectError(error: unknown): ConnectError {
  const status = toStatus(error);
  const metadata: Record<string, string> = error instanceof Fault ? { [codeKey]: error.code } : {};
  const code: number = status.code;
  return new ConnectError(status.details, code satisfies number as Code, metadata, undefined, error);
}
