import { Fault } from "@blueflame/shared/errors/fault.ts";
import type { LinkRequest, LinkResponseSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import type { Undecodable } from "@blueflame/shared/rpc/definition.ts";
import { toStatus } from "@blueflame/shared/rpc/definition.ts";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ServerDuplexStream } from "@grpc/grpc-js";

/** The stream as grpc-js hands it to us, tolerant. */
export type LinkCall = ServerDuplexStream<LinkRequest | Undecodable, Answer>;
export type Answer = MessageInitShape<typeof LinkResponseSchema>;

/** What waits for a peer that does not read; beyond it the stream ends. Acks do not count: only the last one waits. */
const waitingMax = 64;

/** The hub's side of one stream: bounded, and silent once it has ended. */
export interface Outgoing {
  send(answer: Answer): void;
  /** Cumulative, so while the peer does not read only the highest one is kept. */
  acknowledge(throughSeq: bigint): void;
  /** Ends the stream well, behind everything that was sent. */
  end(): void;
  /** Ends the stream with an error that the peer can read. */
  fail(fault: Fault): void;
}

export function outgoing(call: LinkCall): Outgoing {
  let full = false;
  let ended = false;
  let waiting: Answer[] = [];
  let ack: bigint | undefined;

  const write = (answer: Answer): void => {
    if (!call.write(answer)) full = true;
  };
  const fail = (fault: Fault): void => {
    if (ended) return;
    ended = true;
    // `destroy(error)` would send the peer no status.
    call.emit("error", toStatus(fault));
  };
  // After a cancel "drain" never comes; then the stream is gone and nothing waits for it.
  call.on("drain", () => {
    full = false;
    if (ended) return;
    const ready = waiting;
    waiting = [];
    for (const answer of ready) write(answer);
    if (ack !== undefined) write({ message: { case: "ack", value: { throughSeq: ack } } });
    ack = undefined;
  });
  call.on("close", () => {
    ended = true;
  });
  return {
    send(answer) {
      if (ended) return;
      if (!full) write(answer);
      else if (waiting.length < waitingMax) waiting.push(answer);
      else fail(new Fault("LIMIT_REACHED", `the node does not read: ${waitingMax} messages wait for it`));
    },
    acknowledge(throughSeq) {
      if (ended) return;
      if (full) ack = throughSeq;
      else write({ message: { case: "ack", value: { throughSeq } } });
    },
    end() {
      if (ended) return;
      ended = true;
      call.end();
    },
    fail,
  };
}
