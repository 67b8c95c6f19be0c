import { EventEmitter } from "node:events";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { LinkRequestSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { defaultAdmission } from "./admission.ts";
import type { LinkDesk, SessionDesk } from "./desk.ts";
import { links } from "./link.driver.ts";
import type { LinkCall } from "./outgoing.driver.ts";

/** A stream as the links see it; what grpc-js does beyond that has its tests with real streams in hub.test.ts. */
class Call extends EventEmitter {
  readonly written: string[] = [];
  write(answer: { message?: { case?: string } }): boolean {
    this.written.push(answer.message?.case ?? "");
    return true;
  }
  pause() {}
  resume() {}
  end() {
    this.emit("close");
  }
  say(message: NonNullable<MessageInitShape<typeof LinkRequestSchema>["message"]>) {
    this.emit("data", create(LinkRequestSchema, { message }));
  }
  hello() {
    this.say({ case: "hello", value: { nodeId: "edge-1", incarnation: 1n, storeGeneration: "g1" } });
  }
}

/** Links over a desk that counts; `gate` holds back what is asked about a node from its third question on. */
function linked(keep: SessionDesk["keep"] = async () => {}) {
  const closed: string[] = [];
  const beats: string[] = [];
  const refused: string[] = [];
  const clock = new VirtualClock(1_000);
  let sessions = 0;
  let questions = 0;
  const gate = Promise.withResolvers<void>();
  const desk: LinkDesk = {
    async known() {
      questions += 1;
      if (questions > 3) await gate.promise;
      return { incarnation: 1n, durableThrough: 0n, storeEpoch: 0n };
    },
    async open() {
      sessions += 1;
      const name = `session ${sessions}`;
      const session: SessionDesk = {
        beat: () => void beats.push(name),
        status: () => {},
        goingAway: () => {},
        keep,
        auditHeads: async () => [],
        closed: () => void closed.push(name),
      };
      return session;
    },
    welcome: () => ({ heartbeatIntervalMs: 1_000, hubEpoch: 1n, hubTimeMs: 0, recordsPerSecond: 0 }),
    quarantine: () => {},
    clone: () => {},
    refused: (_, { code }) => void refused.push(code),
  };
  const certified = () => ({ nodeId: "edge-1", revoked: () => false });
  const all = links({ clock, desk, rate: defaultAdmission, certified });
  const open = () => {
    const call = new Call();
    call.on("error", () => call.emit("close"));
    all.handle(call as unknown as LinkCall);
    call.hello();
    return call;
  };
  return { open, closed, gate, beats, refused, clock };
}
const turns = async () => {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
};

test("a session whose successor ended before it was opened is closed: the node stood there as connected for ever", async () => {
  const { open, closed, gate } = linked();
  const first = open();
  await turns();
  expect(first.written).toEqual(["welcome"]);
  const second = open();
  await turns();
  expect(first.written).toEqual(["welcome", "move"]);
  first.emit("close");
  second.emit("close");
  gate.resolve();
  await turns();
  expect(closed).toEqual(["session 1"]);
});

test("a session that a newer one has taken over is not closed by the end of its own stream", async () => {
  const { open, closed, gate } = linked();
  gate.resolve();
  const first = open();
  await turns();
  const second = open();
  await turns();
  first.emit("close");
  await turns();
  expect(closed).toEqual([]);
  second.emit("close");
  await turns();
  expect(closed).toEqual(["session 2"]);
});

test("while the hub's disk takes nothing its nodes stay connected and beat, and what they sent is acknowledged afterwards", async () => {
  let full = true;
  let kept = 0;
  const { open, beats, refused, clock } = linked(async (records) => {
    if (full) throw new Fault("STORE_WRITE_FAILED", "no space left");
    kept += records.length;
  });
  const call = open();
  await turns();
  call.say({ case: "records", value: { records: [{ seq: 1n }, { seq: 2n }] } });
  for (let second = 0; second < 60; second++) {
    await turns();
    clock.advance(1_000);
    call.say({ case: "heartbeat", value: { count: 1n } });
  }
  expect([beats.length, refused, call.written]).toEqual([60, [], ["welcome"]]);
  full = false;
  clock.advance(1_000);
  await turns();
  expect([kept, call.written]).toEqual([2, ["welcome", "ack"]]);
});

test("what no store will ever take ends the stream, and a stream that ended is not waited for", async () => {
  const never = linked(async () => {
    throw new Fault("STORE_DAMAGED", "it is gone");
  });
  const call = never.open();
  await turns();
  call.say({ case: "records", value: { records: [{ seq: 1n }] } });
  await turns();
  expect(never.refused).toEqual(["STORE_DAMAGED"]);
  const full = linked(async () => {
    throw new Fault("STORE_WRITE_FAILED", "no space left");
  });
  full.gate.resolve();
  const first = full.open();
  await turns();
  first.say({ case: "records", value: { records: [{ seq: 1n }] } });
  await turns();
  const second = full.open();
  await turns();
  full.clock.advance(1_000);
  await turns();
  expect(second.written).toEqual(["welcome"]);
});
