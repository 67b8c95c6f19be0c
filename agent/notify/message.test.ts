import fc from "fast-check";
import { expect, test } from "vitest";
import { unixAddress } from "./address.ts";
import { withoutServiceManager } from "./inherited.ts";
import { messageBytesMax, parseNotify } from "./message.ts";

const parse = (text: string) => parseNotify(Buffer.from(text));
const nothing = { ready: false, reloading: false, stopping: false, watchdog: false };

test.each([
  ["READY=1", { ...nothing, ready: true }],
  ["READY=1\nSTATUS=Ready to accept connections\n", { ...nothing, ready: true, status: "Ready to accept connections" }],
  ["WATCHDOG=1\n", { ...nothing, watchdog: true }],
  ["RELOADING=1\nMONOTONIC_USEC=12345", { ...nothing, reloading: true }],
  ["STOPPING=1\0", { ...nothing, stopping: true }],
  ["STATUS=", { ...nothing, status: "" }],
  ["STATUS=a=b", { ...nothing, status: "a=b" }],
  ["STATUS=one\nSTATUS=two", { ...nothing, status: "two" }],
  ["READY=0", nothing],
  ["WATCHDOG=trigger", nothing],
  ["MAINPID=4711\nERRNO=2\nFDSTORE=1\nBARRIER=1\nX_OF_TOMORROW=x", nothing],
])("%j is understood", (text, message) => expect(parse(text)).toEqual(message));

test.each([
  ["", "empty"],
  ["READY", "KEY=VALUE"],
  ["=1", "KEY=VALUE"],
  ["READY=1\nhalf a li", "KEY=VALUE"],
  ["READY=1\0STOPPING=1", "KEY=VALUE"],
])("%j is refused as a whole", (text, because) => {
  expect(parse(text)).toEqual({ refused: expect.stringContaining(because) });
});

test("what is not UTF-8, and what is longer than any message may be, is refused", () => {
  expect(parse(`STATUS=${"x".repeat(messageBytesMax - 7)}`)).toMatchObject({ status: "x".repeat(200) });
  expect(parse(`STATUS=${"x".repeat(messageBytesMax - 6)}`)).toEqual({ refused: "it is longer than 4096 bytes" });
  expect(parseNotify(Buffer.from([...Buffer.from("STATUS="), 0xff, 0xfe]))).toEqual({ refused: "it is not UTF-8" });
});

test("a status moves no cursor, changes no direction of writing and is cut between characters", () => {
  expect(parse("STATUS=\u001b[2Jall\tgone \u202etxt.exe")).toMatchObject({ status: "[2Jall gone  txt.exe" });
  expect(parse(`STATUS=${"💾".repeat(300)}`)).toMatchObject({ status: "💾".repeat(200) });
});

test("whatever comes, an answer comes: refused, or flags and a status of at most 200 printable characters", () => {
  const line = fc.oneof(
    fc.constantFrom("READY=1", "WATCHDOG=1", "STOPPING=1", "RELOADING=1", "STATUS=", "=", "\0", "\n"),
    fc.string({ unit: "binary" }),
  );
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: messageBytesMax + 10 }),
    fc.array(line).map((lines) => Buffer.from(lines.join("\n"))),
    fc.string({ unit: "binary", maxLength: 1000 }).map((text) => Buffer.from(`STATUS=${text}`)),
  );
  fc.assert(
    fc.property(bytes, (message) => {
      const answer = parseNotify(message);
      if ("refused" in answer) {
        expect(answer.refused).not.toBe("");
        return;
      }
      expect(message.length).toBeLessThanOrEqual(messageBytesMax);
      expect([...(answer.status ?? "")].length).toBeLessThanOrEqual(200);
      expect(answer.status ?? "").not.toMatch(/\p{Cc}|\p{Cf}/u);
    }),
    { numRuns: 2000 },
  );
});

test("a message of good lines says what its lines say, in whatever order and between whatever unknown ones", () => {
  const flags = ["READY", "RELOADING", "STOPPING", "WATCHDOG"] as const;
  const unknown = fc.stringMatching(/^X_[A-Z0-9_]{1,10}=[ -~]{0,20}$/);
  fc.assert(
    fc.property(fc.subarray([...flags]), fc.array(unknown, { maxLength: 5 }), fc.gen(), (said, others, gen) => {
      const lines = [...said.map((flag) => `${flag}=1`), ...others];
      const shuffled = gen(() => fc.shuffledSubarray(lines, { minLength: lines.length, maxLength: lines.length }));
      if (lines.length === 0) return;
      expect(parse(shuffled.join("\n"))).toEqual({
        ready: said.includes("READY"),
        reloading: said.includes("RELOADING"),
        stopping: said.includes("STOPPING"),
        watchdog: said.includes("WATCHDOG"),
      });
    }),
  );
});

test("an address is a path or an abstract name, in the kernel's own form; anything else is none", () => {
  expect(unixAddress("/run/x")).toEqual(Buffer.from("\x01\0/run/x\0", "latin1"));
  expect(unixAddress("@run/x")).toEqual(Buffer.from("\x01\0\0run/x", "latin1"));
  expect(unixAddress(`/${"a".repeat(106)}`)?.length).toBe(2 + 108);
  expect(unixAddress(`@${"a".repeat(107)}`)?.length).toBe(2 + 108);
  for (const bad of ["", "/", "@", "x", "vsock:2:1234", "/a\0b", `/${"a".repeat(107)}`, `@${"a".repeat(108)}`])
    expect(unixAddress(bad)).toBeUndefined();
});

test("a workload inherits nothing that our own service manager wrote for us", () => {
  const env = { PATH: "/bin", NOTIFY_SOCKET: "/run/systemd/notify", WATCHDOG_USEC: "1", WATCHDOG_PID: "2", LANG: "C" };
  expect(withoutServiceManager(env)).toEqual({ PATH: "/bin", LANG: "C" });
  expect(Object.keys(withoutServiceManager({ INVOCATION_ID: "x", LISTEN_FDS: "1" }))).toEqual([]);
});
