import { expect, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import { bench } from "../../test/support/workload-bench.ts";
import { instanceOf } from "../supervise/state.ts";
import { parseNotify } from "./message.ts";
import { hear, untold } from "./told.ts";

/** A workload that speaks the protocol, on virtual time. */
function speaker(over: Parameters<typeof specOf>[0] = {}) {
  const spec = specOf({ notify: true, startGraceMs: 10_000, ...over });
  const one = bench(spec);
  let told = untold;
  const say = (text: string) => {
    const message = parseNotify(Buffer.from(text));
    if ("refused" in message) throw new Error(message.refused);
    const heard = hear(told, message, spec.beat !== undefined);
    told = heard.told;
    if (heard.beat) one.tell(heard.beat);
  };
  one.tell({ is: "boot", bootId: "boot-1" });
  return { one, say };
}

test("GRC-12 it starts until READY=1 comes, however long its process runs, and is ready from then on", () => {
  const { one, say } = speaker();
  say("STATUS=loading");
  one.pass(9000);
  expect([one.phase, one.state.because]).toEqual(["starting", "started pid 100"]);
  say("READY=1");
  expect(one.phase).toBe("running");
  one.pass(3_600_000);
  expect(one.phase).toBe("running");
  expect(one.log.filter((line) => line.endsWith(" spawn"))).toHaveLength(1);
});

test("one that does not say READY=1 within its start grace has not started, and is started again", () => {
  const { one, say } = speaker({ restart: "always" });
  say("STATUS=loading");
  one.pass(10_001);
  expect(one.incidents[0]).toMatchObject({
    symptom: "not_started",
    summary: expect.stringContaining("it did not say READY=1 within its start grace"),
  });
  expect(one.log.filter((line) => line.includes(" spawn"))).toHaveLength(2);
});

test("one that reloads for longer than its grace is not ready, and is left alone", () => {
  const { one, say } = speaker();
  say("READY=1");
  say("RELOADING=1");
  one.pass(60_000);
  expect(one.state.evidence).toMatchObject({ beatReady: false, beatStatus: "reloads" });
  expect(one.phase).toBe("running");
});

test("with a beat timeout WATCHDOG=1 keeps it alive, and only that: statuses do not hide that it stands still", () => {
  const { one, say } = speaker({ beat: { timeoutMs: 3000 } });
  say("READY=1");
  one.pass(30_000, () => say("WATCHDOG=1"));
  expect(one.phase).toBe("running");
  one.pass(4000, () => say("STATUS=busy"));
  expect(one.incidents[0]).toMatchObject({ symptom: "frozen" });
});

test("an adopted one that may have said READY=1 while no agent was there is not restarted for its silence", () => {
  const { one } = speaker();
  const found = instanceOf(one.state.phase);
  if (!found) throw new Error("it was not started");
  one.tell({ is: "boot", bootId: "boot-1", found });
  one.pass(60_000);
  expect(one.phase).toBe("running");
  expect(one.incidents).toEqual([]);
});
