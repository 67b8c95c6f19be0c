import { expect, test } from "vitest";
import { deedWords } from "../playbooks/words.ts";
import { runProgram } from "./command.driver.ts";

const whole = "/nonexistent/redis-cli -a canary FLUSHALL";

test("a step's command that was written as one text stood with its password in the audit, which goes to the hub", async () => {
  expect(deedWords({ do: "exec", command: [whole], cwd: "" })).toBe("run /nonexistent/redis-cli …");
  const run = (file: string) => runProgram([file], { cwd: "/", env: {}, signal: new AbortController().signal });
  await expect(run(whole)).resolves.toEqual({
    ok: false,
    unsaid: true,
    because: "it cannot be started: ENOENT; the arguments are items of their own",
  });
  await expect(run("/nonexistent/redis-cli")).resolves.toEqual({
    ok: false,
    unsaid: true,
    because: "it cannot be started: ENOENT",
  });
});

test.each<[string, boolean]>([
  ["exit 1", false],
  ["exit 255", false],
  ["/nonexistent/tool", true],
  [". /nonexistent/functions", false],
  ["kill -9 $$", true],
  ["sh -c 'kill -11 $$'", true],
])("a program that did not come to its end has said nothing: %s", async (text, unsaid) => {
  const signal = new AbortController().signal;
  const ended = await runProgram(["/bin/sh", "-c", text], { cwd: "/", env: {}, signal });
  expect(ended.ok).toBe(false);
  expect(ended.unsaid ?? false).toBe(unsaid);
});
