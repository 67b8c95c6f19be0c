import { basename } from "node:path";
import { bundle, type Program, programs } from "../../deploy/bundle.ts";
import { inRoot } from "../../deploy/root.ts";

/**
 * The path of the bundle of a program, built where something changed: a test starts it as a process of its own, and never runs
 * yesterday's. `entry` is relative to the clone; several tests may ask for the same one at once.
 */
export async function bundled(entry: string): Promise<string> {
  const program = programs.find((one) => one.entry === entry) ?? ofTests(entry);
  if ((await bundle(program)) === "missing") throw new Error(`there is no program '${entry}'`);
  return inRoot(program.outfile);
}

function ofTests(entry: string): Program {
  const name = basename(entry).replace(/\.main\.ts$/, "");
  return { name: `test-${name}`, entry, outfile: `dist/test/${name}.mjs` };
}
