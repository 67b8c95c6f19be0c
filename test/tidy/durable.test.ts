import { expect, test } from "vitest";
import { ourCode, textOf } from "./sources.ts";

// A rename gives a file its name; that the name survives a power cut needs a sync of its folder.
const renames = /\brename(Sync)?\(/;
const syncs = /\b(syncFolder|syncFile|syncDirectory|folder\.sync|replaceFile)\(/;

/** Where a name that is lost with a power cut loses nothing: sockets and locks die with it, logs and figures go on. */
const mayBeLost = new Set([
  "agent/api/socket.driver.ts",
  "agent/notify/notify-socket.driver.ts",
  "agent/bootstrap/act.ts", // what lies in the way again is moved aside again
  "agent/critical.driver.ts", // names processes of this boot
  "agent/watchdog/lives.ts", // as that
  "agent/watchdog/key.ts", // a secret of this boot
  "agent/sensors/status-file.driver.ts",
  "agent/records/part-log.driver.ts",
  "agent/supervise/output.driver.ts",
  "agent/watchdog/log.ts",
  "hub/actions/command.driver.ts",
  "shared/store/level/lock.ts",
]);

const renaming = ourCode
  .filter((path) => /^(agent|hub|shared)\//.test(path) && !path.endsWith(".test.ts"))
  .filter((path) => renames.test(textOf(path)));

test("PHX-5 last good config, how the agent was started and a person's word lost their names with a power cut", () => {
  expect(renaming.length).toBeGreaterThan(mayBeLost.size);
  expect(renaming.filter((path) => !mayBeLost.has(path) && !syncs.test(textOf(path)))).toEqual([]);
});

test("what may be lost is there, and has no sync that it does not need", () => {
  expect([...mayBeLost].filter((path) => !renaming.includes(path) || syncs.test(textOf(path)))).toEqual([]);
});
