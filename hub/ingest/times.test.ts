import { IncidentSchema } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { RecordsSchema, StatusSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { create, toJson } from "@bufbuild/protobuf";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { dropWrongTimes } from "./times.ts";

const good = timestampFromMs(Date.UTC(2026, 5, 1));
const far = { seconds: 2n ** 62n, nanos: 0 };

test.each([
  ["far in the future", far],
  ["before the year 1", { seconds: -(2n ** 62n), nanos: 0 }],
  ["with less than no nanoseconds", { seconds: 1n, nanos: -1 }],
  ["with more than a second of them", { seconds: 1n, nanos: 2_000_000_000 }],
])("a time %s, of which one would fail every list it stands in, is dropped wherever it is", (_, wrong) => {
  const incident = { id: "i1", faultAt: good, detectedAt: wrong, timeline: [{ at: wrong, what: "symptom" }] };
  const records = create(RecordsSchema, {
    records: [{ seq: 1n, at: wrong, kind: { case: "incident" as const, value: incident } }],
  });
  expect(() => toJson(RecordsSchema, records)).toThrow();
  dropWrongTimes(RecordsSchema, records);
  expect(records).toMatchObject({
    records: [{ seq: 1n, kind: { value: { id: "i1", faultAt: good, timeline: [{ what: "symptom" }] } } }],
  });
  expect(JSON.stringify(toJson(RecordsSchema, records))).not.toContain("detectedAt");
});

test("a span that is too long, or of two signs, is dropped", () => {
  const status = create(StatusSchema, {
    workloads: [
      { name: "a", startedAt: good, backoffRemaining: { seconds: 2n ** 60n, nanos: 0 } },
      { name: "b", startedAt: far, backoffRemaining: { seconds: 1n, nanos: -5 } },
    ],
  });
  dropWrongTimes(StatusSchema, status);
  expect(toJson(StatusSchema, status)).toEqual({
    workloads: [{ name: "a", startedAt: "2026-06-01T00:00:00Z" }, { name: "b" }],
  });
});

test("what can be printed stays as it is, at the ends of the range too", () => {
  const given = {
    id: "i1",
    faultAt: { seconds: -62_135_596_800n, nanos: 0 },
    detectedAt: { seconds: 253_402_300_799n, nanos: 999_999_999 },
    timeToRecover: durationFromMs(-1_500),
  };
  const incident = create(IncidentSchema, given);
  dropWrongTimes(IncidentSchema, incident);
  expect(incident).toEqual(create(IncidentSchema, given));
  expect(() => toJson(IncidentSchema, incident)).not.toThrow();
});
