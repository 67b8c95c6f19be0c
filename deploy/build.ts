// npm run build [-- NAME…]: every program, or those named, as one file each in dist/. Does nothing where nothing changed.
import { bundle, programs } from "./bundle.ts";

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !programs.some((program) => program.name === name));
if (unknown.length > 0) {
  console.error(`Unknown program: ${unknown.join(", ")}. There are: ${programs.map(({ name }) => name).join(", ")}.`);
  process.exit(2);
}

for (const program of programs) {
  if (asked.length > 0 && !asked.includes(program.name)) continue;
  const began = performance.now();
  // esbuild has printed what is wrong and where.
  const outcome = await bundle(program).catch(() => "broken" as const);
  if (outcome === "broken") {
    console.error(`${program.outfile} was not built.`);
    process.exitCode = 1;
  } else if (outcome === "missing") {
    console.error(`${program.outfile} was not built: its entry ${program.entry} does not exist.`);
    process.exitCode = 1;
  } else if (outcome === "built") {
    console.error(`built ${program.outfile} in ${Math.round(performance.now() - began)} ms`);
  }
}
