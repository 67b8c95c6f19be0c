import { expect, test } from "vitest";
import { boxPlaybooks } from "./box.ts";
import { playbookOf } from "./draft.ts";
import { needsWorkload } from "./needs-workload.ts";

test("which playbooks of the box mean a workload: run on the node they would do nothing, or tell of what they have not done", () => {
  const all = boxPlaybooks.map(({ file, text }) => playbookOf(text, file, false));
  const needing = all.filter(needsWorkload).map(({ name }) => name);
  expect(needing.sort()).toEqual(["quarantine-artifacts", "restart-kernel", "restart-service", "rollback-deployment"]);
});
