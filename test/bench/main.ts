// npm run bench [-- NAME…]: figures beside the floors of the same run. Takes some minutes; a quiet machine makes them worth something.
import { serveEcho } from "./echo.ts";
import { footprint } from "./footprint.ts";
import { hub } from "./hub.ts";
import { restart } from "./restart.ts";
import { serveUnixEcho, state } from "./state.ts";
import { store } from "./store.ts";

const benches: Record<string, () => Promise<void>> = { restart, hub, footprint, state, store };

const [first, ...rest] = process.argv.slice(2);
if (first === "echo-server") await serveEcho(rest);
else if (first === "unix-echo") await serveUnixEcho(rest);
else process.exitCode = await main(first === undefined ? Object.keys(benches) : [first, ...rest]);

async function main(names: readonly string[]): Promise<number> {
  const unknown = names.filter((name) => !(name in benches));
  if (unknown.length > 0) {
    console.error(`Unknown bench: ${unknown.join(", ")}. There are: ${Object.keys(benches).join(", ")}.`);
    return 2;
  }
  let failed = 0;
  for (const name of names) {
    try {
      await benches[name]?.();
    } catch (error) {
      failed += 1;
      console.error(`${name} broke off: ${error instanceof Error ? error.message : error}`);
    }
  }
  return failed === 0 ? 0 : 1;
}
