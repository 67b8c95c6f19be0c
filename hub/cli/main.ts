import { runCli } from "@blueflame/shared/cli/run.ts";
import manifest from "../package.json" with { type: "json" };
import { operatorProgram } from "./program.ts";

process.exitCode = await runCli(operatorProgram(manifest.version), process.argv.slice(2));
