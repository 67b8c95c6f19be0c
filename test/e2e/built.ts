import { bundle, programs } from "../../deploy/bundle.ts";

/** Builds these programs where something changed, so that a test never runs yesterday's. */
export async function built(...names: string[]): Promise<void> {
  for (const name of names) {
    const program = programs.find((one) => one.name === name);
    if (!program || (await bundle(program)) === "missing") throw new Error(`there is no program '${name}'`);
  }
}
