import { type OutputOptions, printRows } from "@blueflame/shared/cli/print.ts";
import type { Column } from "@blueflame/shared/cli/table.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { type Check, checkTone, checkup } from "./checkup.ts";
import { examine } from "./examine.driver.ts";

/** The flags of `doctor`. */
export interface DoctorOptions extends OutputOptions {
  readonly dataDir: string;
  readonly config?: string;
}

const columns: Column<Check>[] = [
  { title: "CHECK", value: (row) => row.check },
  { title: "STATE", value: (row) => row.state, tone: checkTone },
  { title: "FOUND", value: (row) => (row.remedy === "" ? row.saw : `${row.saw}. ${row.remedy}`) },
];

/** Prints each check and what to do. Rejects with NODE_UNWELL when one failed. */
export async function doctor(options: DoctorOptions): Promise<void> {
  const checks = checkup(await examine(options.dataDir, options.config));
  printRows(checks, columns, { ...options, json: (row) => row });
  const failed = checks.filter((check) => check.state === "fail").map((check) => check.check);
  if (failed.length > 0)
    throw new Fault("NODE_UNWELL", `${failed.length} of ${checks.length} checks failed: ${failed.join(", ")}`);
}
