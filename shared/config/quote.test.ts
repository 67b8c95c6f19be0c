import { expect, test } from "vitest";
import { commandHint, programName, programProblem, programWord } from "./quote.ts";

test("a command that was written as one text was told with its password: it ends where an argument could begin", () => {
  const told = (text: string) => [programWord(text), programName(text)];
  expect(told("redis-cli -a canary ping")).toEqual(["redis-cli …", "redis-cli"]);
  expect(told("/usr/bin/redis-cli\t-a canary")).toEqual(["/usr/bin/redis-cli …", "redis-cli"]);
  expect(told(" PASSWORD=canary redis-cli")).toEqual(["PASSWORD …", "PASSWORD"]);
  expect(programWord("redis://eve:canary@host/0")).toBe("redis://…@host/0");
  for (const whole of ["redis-cli", "/opt/app@2/bin/run", `/${"deep/".repeat(30)}run`])
    expect(programWord(whole)).toBe(whole);
  expect(programWord("\u001b[31mred")).toBe("?[31mred");
  expect(programWord("x".repeat(10_000))).toHaveLength(200);
});

test("who wrote a whole command as one text is told that the arguments are items of their own", () => {
  expect(programProblem("redis-cli -a canary", "it is not on the PATH")).toEqual({
    saw: '"redis-cli …" cannot be started: it is not on the PATH',
    allowed: "allowed is an executable file; the arguments are items of their own",
  });
  expect(commandHint("redis-cli")).toBe("");
});
