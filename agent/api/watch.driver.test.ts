import { EventEmitter } from "node:events";
import type { WatchResponse } from "@blueflame/shared/gen/blueflame/node/v1/state_pb.ts";
import { expect, test } from "vitest";
import { MemorySpace } from "../../test/support/memory-space.ts";
import { watchState } from "./watch.driver.ts";

/** A stream whose reader takes nothing until it is told to. */
class SlowReader extends EventEmitter {
  readonly request = { afterRevision: 0n, prefix: "" };
  readonly written: WatchResponse[] = [];
  ended = false;
  full = true;

  write(message: WatchResponse): boolean {
    this.written.push(message);
    return !this.full;
  }
  end(): void {
    this.ended = true;
  }
  take(): void {
    this.full = false;
    this.emit("drain");
  }
}

const put = (space: MemorySpace, key: string, value: string) =>
  space.commit({
    id: "",
    digest: "",
    onlyWhileOpen: false,
    operations: [{ is: "put", key, value: Buffer.from(value), expected: undefined }],
  });
const turns = async () => {
  for (let at = 0; at < 20; at++) await new Promise(setImmediate);
};
const told = ({ written }: SlowReader) =>
  written.flatMap(({ change }) =>
    change?.case === "key" ? [`${change.value.key}=${Buffer.from(change.value.value)}`] : [],
  );

test("a watcher that reads nothing holds one message at the agent, and is told later of each thing as it is then", async () => {
  const space = new MemorySpace("engine");
  await put(space, "first", "1");
  const reader = new SlowReader();
  const watching = watchState(reader as never, space);
  await turns();
  for (let at = 1; at <= 500; at++) await put(space, "busy", String(at));
  await put(space, "last", "1");
  await turns();
  expect(told(reader)).toEqual(["first=1"]);
  reader.take();
  await turns();
  expect(told(reader)).toEqual(["first=1", "busy=500", "last=1"]);
  await put(space, "busy", "501");
  await turns();
  expect(told(reader).at(-1)).toBe("busy=501");
  reader.emit("cancelled");
  await watching;
});

test("a reader that went away while it was full is let go", async () => {
  const space = new MemorySpace("engine");
  await put(space, "first", "1");
  const reader = new SlowReader();
  const watching = watchState(reader as never, space);
  await turns();
  reader.emit("close");
  await watching;
  await put(space, "second", "2");
  expect(told(reader)).toEqual(["first=1"]);
});
