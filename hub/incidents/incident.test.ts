import { IncidentSchema, IncidentState, Severity } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import type { Change } from "./change.ts";
import { carryOut, detectMs, isOpen, merge, open, recoverMs, revise, timelineMax } from "./incident.ts";

const about = { nodeId: "a", site: "lab", symptom: "node_silent" } as const;
const wall = Date.UTC(2026, 0, 1);
const at = (s: number) => ({ wallMs: wall + s * 1000, id: `decision-${s}` });
const symptom: Change = {
  what: "symptom",
  because: "silent",
  stage: "recovering",
  severity: "medium",
  faultAgoMs: 48_000,
};
const fresh = () => open("id-1", symptom, about, at(48));

test("an incident opens with its symptom, its fault and its detection", () => {
  const incident = fresh();
  expect(incident).toMatchObject({ id: "id-1", revision: 1n, nodeId: "a", site: "lab", symptom: "node_silent" });
  expect(incident).toMatchObject({ state: IncidentState.RECOVERING, severity: Severity.MEDIUM });
  expect(incident.timeline).toMatchObject([{ what: "symptom", because: "silent", decisionId: "decision-48" }]);
  expect(detectMs(incident)).toBe(48_000);
  expect(recoverMs(incident)).toBeUndefined();
});

test("a silence of a part of a millisecond still makes an incident that can be sent", () => {
  const incident = open("id-2", { ...symptom, faultAgoMs: 48_000.4 }, about, at(48));
  expect(() => toBinary(IncidentSchema, incident)).not.toThrow();
  expect(detectMs(incident)).toBe(48_000);
});

test("the time to recover ends with the verification, as the monotonic clock measured it", () => {
  const verified = revise(
    fresh(),
    { what: "verification", because: "2 beats", stage: "probation", recoverMs: 21_500 },
    at(70),
  );
  expect(recoverMs(verified)).toBe(21_500);
  expect(verified.recoveredAt).toBeDefined();
  expect(isOpen(verified)).toBe(true);
  const closed = revise(verified, { what: "closed", because: "well", stage: "closed" }, at(400));
  expect([isOpen(closed), recoverMs(closed), closed.revision]).toEqual([false, 21_500, 3n]);
});

test("a relapse takes the recovery back", () => {
  const verified = revise(
    fresh(),
    { what: "verification", because: "2 beats", stage: "probation", recoverMs: 1 },
    at(70),
  );
  const relapsed = revise(verified, { what: "relapse", because: "silent again", stage: "recovering" }, at(120));
  expect(relapsed.state).toBe(IncidentState.RECOVERING);
  expect([relapsed.recoveredAt, relapsed.timeToRecover]).toEqual([undefined, undefined]);
});

test("states go forward but for a relapse, and a closed incident stays closed", () => {
  const verifying = revise(fresh(), { what: "remedy", because: "beats", stage: "verifying" }, at(60));
  expect(revise(verifying, { what: "symptom", because: "?", stage: "open" }, at(61)).state).toBe(
    IncidentState.VERIFYING,
  );
  const closed = revise(verifying, { what: "closed", because: "left", stage: "closed" }, at(62));
  const after = revise(closed, { what: "relapse", because: "late", stage: "recovering" }, at(63));
  expect([after.state, after.timeline.length]).toEqual([IncidentState.CLOSED, 4]);
  expect(after.closedAt).toEqual(closed.closedAt);
});

test("a revision leaves the one before as it was", () => {
  const first = fresh();
  revise(first, { what: "decision", because: "more", needsPerson: true }, at(50));
  expect([first.revision, first.timeline.length, first.needsPerson]).toEqual([1n, 1, false]);
});

test("the timeline is bounded: its beginning and its end stay, the middle goes first", () => {
  let incident = fresh();
  for (let turn = 1; turn <= 250; turn++)
    incident = revise(incident, { what: "remedy", because: `turn ${turn}` }, at(turn));
  const told = incident.timeline.map(({ because }) => because);
  expect(told.length).toBe(timelineMax);
  expect([told[0], told[49], told[50], told[99]]).toEqual(["silent", "turn 49", "turn 201", "turn 250"]);
});

test("an older revision never replaces a newer one", () => {
  const first = fresh();
  const second = revise(first, { what: "remedy", because: "x" }, at(60));
  expect(merge(undefined, first)).toBe(first);
  expect(merge(first, second)).toBe(second);
  expect(merge(second, first)).toBe(second);
  expect(merge(second, { ...second })).toBe(second);
});

test("an update without a stored incident opens one, so that no news is lost", () => {
  const effect = { do: "updateIncident", id: "id-9", change: { what: "decision", because: "alert" } } as const;
  expect(carryOut(undefined, effect, about, at(1))).toMatchObject({ id: "id-9", revision: 1n, summary: "alert" });
});
