import { WorkloadPhase, WorkloadStatusSchema } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { cameOf } from "./came-of.ts";

const status = (phase: WorkloadPhase, pid = 0, startedMs = 0) =>
  create(WorkloadStatusSchema, { name: "web", phase, pid, startedAt: timestampFromMs(startedMs) });
const { RUNNING, STARTING, STOPPING, CLEANING, BACKOFF, MENDING, STOPPED, COMPLETED } = WorkloadPhase;
const ran = status(RUNNING, 7, 1000);

test("a restart is done when another instance is ready, also one that was given the same PID", () => {
  expect(cameOf("restart", ran, ran)).toBe("waits");
  expect(cameOf("restart", ran, status(RUNNING, 8, 2000))).toBe("done");
  expect(cameOf("restart", ran, status(RUNNING, 7, 2000))).toBe("done");
  expect(cameOf("start", ran, ran)).toBe("done");
});

test.each([STARTING, STOPPING, CLEANING])("on the way up (phase %i) it is waited for", (phase) => {
  expect(cameOf("restart", ran, status(phase))).toBe("waits");
  expect(cameOf("start", status(STOPPED), status(phase))).toBe("waits");
});

test.each([BACKOFF, MENDING, STOPPED])(
  "what waits for its next start, or was stopped meanwhile (phase %i), has failed",
  (phase) => {
    expect(cameOf("start", status(STOPPED), status(phase))).toBe("failed");
  },
);

test("what has done its work is neither late nor failed; a stop is done when nothing of it is left", () => {
  expect([cameOf("start", ran, status(COMPLETED)), cameOf("stop", ran, status(COMPLETED))]).toEqual(["done", "done"]);
  expect([
    cameOf("stop", ran, ran),
    cameOf("stop", ran, status(STOPPING)),
    cameOf("stop", ran, status(STOPPED)),
  ]).toEqual(["waits", "waits", "done"]);
});
