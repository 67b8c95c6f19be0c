import { Interrupted, interruption } from "@blueflame/shared/cli/run.ts";
import { catalogue, Fault, type FaultCode } from "@blueflame/shared/errors/fault.ts";
import { OperatorService } from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import { type Client, Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import type { Command } from "commander";
import { findContext, type HubContext, type HubFlags } from "./context.ts";

/** A silent hub is unreachable after this long; a person waits no longer than 5 s for that news. */
export const answerMs = 4000;
/** One node with a hundred workloads is far below; a list of a thousand nodes is not. */
const messageBytesMax = 64 * 1024 * 1024;

/** The hub as commands ask it. Everything throws Faults; Ctrl-C ends every question as Interrupted. */
export interface HubClient {
  /** One question with one answer, within 4 s. */
  ask<Answer>(
    question: (client: Client<typeof OperatorService>, signal: AbortSignal) => Promise<Answer>,
  ): Promise<Answer>;
  /** A stream; the first message must come within 4 s, then it goes on until the hub or the reader ends it. */
  watch<Message>(
    question: (client: Client<typeof OperatorService>, signal: AbortSignal) => AsyncIterable<Message>,
  ): AsyncGenerator<Message>;
  readonly context: HubContext;
}

/** Runs `use` with the hub that the flags of `command` name, and closes the connection afterwards. */
export async function withHub<Result>(command: Command, use: (hub: HubClient) => Promise<Result>): Promise<Result> {
  const flags: HubFlags = command.optsWithGlobals();
  const context = findContext(flags, process.cwd());
  const { transport, close } = open(context);
  const client = createClient(OperatorService, transport);
  const signal = interruption();
  const done = new AbortController();
  const hub: HubClient = {
    context,
    async ask(question) {
      const late = AbortSignal.timeout(answerMs);
      try {
        return await question(client, AbortSignal.any([signal, late]));
      } catch (error) {
        throw faultOf(error, context, { late: late.aborted, answered: false });
      }
    },
    async *watch(question) {
      const quiet = new AbortController();
      const timer = setTimeout(() => quiet.abort(), answerMs);
      let answered = false;
      try {
        for await (const message of question(client, AbortSignal.any([signal, done.signal, quiet.signal]))) {
          clearTimeout(timer);
          answered = true;
          yield message;
        }
        throw new Fault("HUB_UNREACHABLE", `the hub at ${context.hub.origin} ended the stream`);
      } catch (error) {
        throw faultOf(error, context, { late: quiet.signal.aborted, answered });
      } finally {
        clearTimeout(timer);
      }
    },
  };
  try {
    return await use(hub);
  } finally {
    done.abort();
    close();
  }
}

function open({ hub, tls }: HubContext): { transport: Transport; close: () => void } {
  const baseUrl = hub.origin;
  if (tls === undefined) {
    const transport = createConnectTransport({
      httpVersion: "1.1",
      baseUrl,
      useBinaryFormat: true,
      readMaxBytes: messageBytesMax,
    });
    return { transport, close: () => {} };
  }
  const sessionManager = new Http2SessionManager(baseUrl, {}, { ...tls });
  return {
    transport: createGrpcTransport({ baseUrl, sessionManager, readMaxBytes: messageBytesMax }),
    close: () => sessionManager.abort(),
  };
}

const codeKey = "blueflame-code"; // the same word as in shared/rpc/status.ts, which would bring all of grpc-js along

const byCode: Partial<Record<Code, FaultCode>> = {
  [Code.InvalidArgument]: "BAD_REQUEST",
  [Code.NotFound]: "NOT_FOUND",
  [Code.PermissionDenied]: "DENIED",
  [Code.Unauthenticated]: "DENIED",
  [Code.ResourceExhausted]: "LIMIT_REACHED",
  // An address that answers something else, HTTP 404 say, is no hub.
  [Code.Unimplemented]: "HUB_UNREACHABLE",
  [Code.Unavailable]: "HUB_UNREACHABLE",
  [Code.DeadlineExceeded]: "HUB_UNREACHABLE",
  [Code.Canceled]: "HUB_UNREACHABLE",
  [Code.Aborted]: "HUB_UNREACHABLE",
};
/** TLS says in words of its own why it did not come about. */
const byTls: readonly (readonly [RegExp, FaultCode])[] = [
  [/CERT_HAS_EXPIRED|CERT_NOT_YET_VALID|certificate expired/i, "CERT_EXPIRED"],
  [/ERR_TLS_CERT_ALTNAME_INVALID/, "HUB_MISNAMED"],
  [/SELF_SIGNED|UNABLE_TO_(GET_ISSUER|VERIFY)|CERT_SIGNATURE_FAILURE/, "HUB_UNTRUSTED"],
  [/CERTIFICATE_REQUIRED|certificate required|unknown ca|bad certificate|decrypt error/i, "CERT_REFUSED"],
  [/ERR_OSSL|KEY_VALUES_MISMATCH|PEM/, "CERT_UNUSABLE"],
];

interface Call {
  /** It was ended because nothing came in time. */
  readonly late: boolean;
  /** Something had come before. */
  readonly answered: boolean;
}

function faultOf(error: unknown, { hub, from, tls: mutual }: HubContext, { late, answered }: Call): Error {
  const signal = interruption();
  if (signal.aborted && signal.reason instanceof Interrupted) return signal.reason;
  if (error instanceof Fault) return error;
  const connect = ConnectError.from(error);
  const sent = connect.metadata.get(codeKey) ?? "";
  if (isFaultCode(sent)) return new Fault(sent, sawOf(sent, connect.rawMessage), { cause: error });
  const words = causes(error).join(" ");
  const tls = byTls.find(([pattern]) => pattern.test(words))?.[1];
  if (tls !== undefined) return new Fault(tls, `${hub.origin}: ${words}`, { cause: error });
  // Node refuses a client's certificate by closing the connection after the handshake; TLS 1.3 tells the client no more.
  // Which of the two it sees first is a matter of chance: the end of the stream or of the socket.
  const hungUp = connect.code === Code.Canceled || /ECONNRESET|EPIPE/.test(words);
  if (mutual !== undefined && hungUp && !late && !answered) {
    return new Fault("CERT_REFUSED", `${hub.origin} closed the connection right after the handshake`, { cause: error });
  }
  const code = byCode[connect.code] ?? "HUB_FAILED";
  if (code !== "HUB_UNREACHABLE") return new Fault(code, connect.rawMessage, { cause: error });
  const why = late ? `no answer within ${answerMs / 1000} s` : connect.rawMessage;
  return new Fault(code, `no hub answers at ${hub.origin} (from ${from}): ${why}`, { cause: error });
}

function isFaultCode(text: string): text is FaultCode {
  return Object.hasOwn(catalogue, text);
}

/** The hub's message is a whole Fault's text; this one's own code and remedy are added again. */
function sawOf(code: FaultCode, message: string): string {
  const bare = message.startsWith(`[${code}] `) ? message.slice(code.length + 3) : message;
  const remedy = `. ${catalogue[code].remedy}`;
  return bare.endsWith(remedy) ? bare.slice(0, -remedy.length) : bare;
}

function causes(error: unknown): string[] {
  if (!(error instanceof Error)) return [];
  const code = "code" in error && typeof error.code === "string" ? [error.code] : [];
  return [...code, error.message, ...causes(error.cause)];
}
