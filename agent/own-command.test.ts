import { expect, test } from "vitest";
import { upWords } from "./own-command.ts";

test.each([
  [["up"], ["up", "--data-dir", "/d"]],
  [
    ["up", "--config", "c.yaml", "--data-dir", "x"],
    ["up", "--data-dir", "/d", "--config", "c.yaml"],
  ],
  [
    ["--data-dir", "x", "up", "--no-watchdog"],
    ["up", "--data-dir", "/d", "--no-watchdog"],
  ],
  [
    ["--data-dir=up", "up", "--last-good"],
    ["up", "--data-dir", "/d", "--last-good"],
  ],
  [
    ["--data-dir", "up", "up"],
    ["up", "--data-dir", "/d"],
  ],
  [
    ["up", "--", "up", "--data-dir", "y"],
    ["up", "--data-dir", "/d", "--", "up", "--data-dir", "y"],
  ],
])("%j is repeated as %j", (args, words) => expect(upWords(args, "/d")).toEqual(words));
