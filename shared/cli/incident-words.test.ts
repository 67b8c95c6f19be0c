import { IncidentSchema, IncidentState, Rung } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { WorkloadStatusSchema } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { causeWords, remedyWords, workloadMarks } from "./incident-words.ts";

const incident = (more: MessageInitShape<typeof IncidentSchema>) => create(IncidentSchema, more);
const status = (more: MessageInitShape<typeof WorkloadStatusSchema>) => create(WorkloadStatusSchema, more);

test("a cause comes with its confidence, and with where it began when that is elsewhere; before a diagnosis nothing is said", () => {
  expect(causeWords(incident({}))).toBe("");
  const diagnosis = { cause: "config_change", confidence: 0.754 };
  expect(causeWords(incident({ diagnosis }))).toBe("config change (0.75)");
  expect(causeWords(incident({ diagnosis: { ...diagnosis, root: "db" } }))).toBe("config change (0.75, began in db)");
});

test("the remedy is what is at work, else how the last one ended", () => {
  const tried = { rung: Rung.QUICK_RESTART, ok: false };
  const state = IncidentState.RECOVERING;
  expect(remedyWords(incident({ state }))).toBe("");
  expect(remedyWords(incident({ state, attempts: [tried] }))).toBe("quick restart failed");
  expect(remedyWords(incident({ state, attempts: [tried, { rung: Rung.CONFIG_ROLLBACK }] }))).toBe(
    "config rollback at work",
  );
  expect(remedyWords(incident({ state, attempts: [{ playbook: "resource-cleanup", ok: true }] }))).toBe(
    "resource-cleanup worked",
  );
  const closed = incident({ state: IncidentState.CLOSED, attempts: [{ rung: Rung.SAFE_MODE }] });
  expect(remedyWords(closed)).toBe("safe mode was called off");
});

test("what is special about a workload is said in its order: at work, why, safe mode, rolled back; an older agent says less", () => {
  expect(workloadMarks(status({}))).toEqual([]);
  expect(workloadMarks(status({ safeMode: true, rolledBack: true }))).toEqual(["SAFE MODE", "rolled back"]);
  expect(workloadMarks(status({ atWork: "backup_restore", cause: "corruption", confidence: 0.9 }))).toEqual([
    "backup restore at work",
    "corruption (0.90)",
  ]);
});
