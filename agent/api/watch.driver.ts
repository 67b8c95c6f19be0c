import { Fault } from "@blueflame/shared/errors/fault.ts";
import {
  type WatchRequest,
  type WatchResponse,
  WatchResponseSchema,
} from "@blueflame/shared/gen/blueflame/node/v1/state_pb.ts";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { ServerWritableStream } from "@grpc/grpc-js";
import { stateMax } from "../state/bounds.ts";
import { changesAfter, type Told } from "../state/changes.ts";
import type { WorkloadSpace } from "../store/workload-spaces.ts";
import { wireLog, wireRisk } from "./state-wire.ts";

type Stream = ServerWritableStream<WatchRequest, MessageInitShape<typeof WatchResponseSchema>>;

const watchersOf = new WeakMap<object, number>();

/**
 * Tells a workload what changes in its space, until it leaves. All that is held for it is how far it has come: what it is slow to
 * take is read again when it has room, as it is then. Rejects with LIMIT_REACHED when too many watch.
 */
export async function watchState(call: Stream, space: WorkloadSpace): Promise<void> {
  const contents = space.contents();
  const watchers = watchersOf.get(contents) ?? 0;
  if (watchers >= stateMax.watchers) {
    throw new Fault("LIMIT_REACHED", `${watchers} streams watch this workload's state already`);
  }
  watchersOf.set(contents, watchers + 1);
  const left = new AbortController();
  for (const event of ["cancelled", "close", "error"]) call.on(event, () => left.abort());
  let wake: () => void = () => undefined;
  const stop = space.onChange(() => wake());
  left.signal.addEventListener("abort", () => wake());
  try {
    await tellAll(call, space, left.signal, () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      wake = resolve;
      return promise;
    });
    call.end();
  } finally {
    stop();
    watchersOf.set(contents, (watchersOf.get(contents) ?? 1) - 1);
  }
}

async function tellAll(
  call: Stream,
  space: WorkloadSpace,
  left: AbortSignal,
  nextChange: () => Promise<void>,
): Promise<void> {
  const { prefix } = call.request;
  let after = Number(call.request.afterRevision);
  let greeted = false;
  while (!left.aborted) {
    const changed = nextChange(); // before looking: what changes meanwhile is seen in the next round
    const tale = changesAfter(space.contents(), space.risk(), after, prefix);
    if (!tale) {
      await write(call, left, {
        revision: BigInt(space.contents().revision),
        change: { case: "listAgain", value: {} },
      });
      return;
    }
    for (const { through, ...told } of tale.told) {
      if (left.aborted) return;
      const revision = BigInt(Math.max(after, through));
      await write(call, left, { revision, change: await changeOf(space, told) });
    }
    // The first word comes in any case: whoever watches knows then that it has seen everything that was there.
    const done = create(WatchResponseSchema, { revision: BigInt(tale.through) });
    if (tale.told.length > 0 || !greeted) await write(call, left, done);
    greeted = true;
    after = tale.through;
    await changed;
  }
}

async function changeOf(space: WorkloadSpace, told: Told): Promise<WatchResponse["change"]> {
  const { change } = create(WatchResponseSchema, { change: await messageOf(space, told) });
  return change;
}

async function messageOf(
  space: WorkloadSpace,
  told: Told,
): Promise<NonNullable<MessageInitShape<typeof WatchResponseSchema>["change"]>> {
  switch (told.is) {
    case "key": {
      const { key, meta } = told;
      const found = meta.deleted ? undefined : await space.get(key);
      if (!found) return { case: "key", value: { key, revision: BigInt(meta.revision), deleted: true } };
      return { case: "key", value: { key, revision: BigInt(found.revision), value: found.value } };
    }
    case "log":
      return { case: "log", value: wireLog(told.log, told.meta) };
    case "risk":
      return { case: "risk", value: wireRisk(space.risk()) };
  }
}

/** Waits until there is room again. A reader that has gone never makes any. */
async function write(call: Stream, left: AbortSignal, message: Parameters<Stream["write"]>[0]): Promise<void> {
  if (left.aborted || call.write(message)) return;
  await new Promise<void>((resolve) => {
    const done = () => {
      call.off("drain", done);
      left.removeEventListener("abort", done);
      resolve();
    };
    call.on("drain", done);
    left.addEventListener("abort", done);
  });
}
