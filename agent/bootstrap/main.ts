// blueflame-agent emergency: a program of its own, so that nothing that may be damaged is loaded before it (bin.mjs, deploy/).
import { emergency } from "./emergency.ts";

void emergency(process.argv.slice(2), process.env).then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    process.stderr.write(`unexpected: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    process.exitCode = 1;
  },
);
