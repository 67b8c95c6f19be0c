import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { afterEach, expect, test } from "vitest";
import { knownTokens, Tokens } from "./tokens.driver.ts";

let child: ChildProcess | undefined;
afterEach(() => child?.kill("SIGKILL"));

test("CARD-4 a workload whose token was not yet written down when its agent died may still beat", async () => {
  const env = { BLUEFLAME_TOKEN: "the-new-one" };
  const workload = spawn("/bin/sleep", ["600"], { env, stdio: "ignore" });
  child = workload;
  await once(workload, "spawn");
  const known = knownTokens(
    new Map([["hash of an earlier one", "engine"]]),
    new Map([["engine", [{ pid: workload.pid ?? 0 }]]]),
  );
  const tokens = new Tokens(known, () => undefined);
  expect(tokens.holder("the-new-one")).toBe("engine");
  expect(() => tokens.holder("another")).toThrow("DENIED");
});
