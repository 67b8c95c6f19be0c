import fc from "fast-check";
import { expect, test } from "vitest";
import { parseNotify } from "./message.ts";
import { adoptedReady, type Beat, hear, type Told, untold } from "./told.ts";

/** Hears texts one after the other and writes down the beats. */
function conversation(texts: readonly string[], judged = false, from: Told = untold): string[] {
  let told = from;
  return texts.map((text) => {
    const message = parseNotify(Buffer.from(text));
    if ("refused" in message) throw new Error(message.refused);
    const heard = hear(told, message, judged);
    told = heard.told;
    return heard.beat ? words(heard.beat) : "-";
  });
}
const words = ({ ready, status }: Beat) => `${ready ? "ready" : "not ready"}: ${status}`;

test("GRC-12 a workload is ready at READY=1, not while it reloads, and no longer once it stops", () => {
  expect(
    conversation([
      "STATUS=Redis is loading...",
      "WATCHDOG=1",
      "READY=1\nSTATUS=Ready to accept connections",
      "WATCHDOG=1",
      "RELOADING=1",
      "WATCHDOG=1\nSTATUS=new config",
      "READY=1",
      "STOPPING=1",
      "READY=1",
    ]),
  ).toEqual([
    "not ready: has not said READY=1 yet: Redis is loading...",
    "not ready: has not said READY=1 yet: Redis is loading...",
    "ready: Ready to accept connections",
    "ready: Ready to accept connections",
    "not ready: reloads: Ready to accept connections",
    "not ready: reloads: new config",
    "ready: new config",
    "not ready: says that it stops: new config",
    "not ready: says that it stops: new config",
  ]);
});

test("where beats are judged a status alone is none: it waits for the next beat", () => {
  expect(conversation(["READY=1", "STATUS=busy", "MAINPID=7", "WATCHDOG=1"], true)).toEqual([
    "ready: ",
    "-",
    "-",
    "ready: busy",
  ]);
});

test("an adopted workload that was ready stays ready, though it never says READY=1 again", () => {
  expect(conversation(["WATCHDOG=1", "STATUS=on"], false, adoptedReady)).toEqual(["ready: ", "ready: on"]);
});

test("whatever is said: ready only between READY=1 and a reload or stop, and each WATCHDOG=1 is a beat", () => {
  const line = fc.constantFrom("READY=1", "RELOADING=1", "STOPPING=1", "WATCHDOG=1", "STATUS=x", "X=1");
  fc.assert(
    fc.property(fc.array(fc.uniqueArray(line, { minLength: 1 }), { maxLength: 20 }), fc.boolean(), (texts, judged) => {
      const beats = conversation(
        texts.map((lines) => lines.join("\n")),
        judged,
      );
      for (const [n, beat] of beats.entries()) {
        const said = texts.slice(0, n + 1);
        if (texts[n]?.includes("WATCHDOG=1")) expect(beat).not.toBe("-");
        if (said.some((lines) => lines.includes("STOPPING=1"))) expect(beat.startsWith("ready")).toBe(false);
        if (!said.some((lines) => lines.includes("READY=1"))) expect(beat.startsWith("ready")).toBe(false);
      }
    }),
  );
});
