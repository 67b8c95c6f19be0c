import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { inRoot } from "../../deploy/root.ts";
import { hubConfig, installedCommand, layoutOf, otherwise, programFiles, unitText, watchdogCommand } from "./plan.ts";

const system = layoutOf(false, {}, "/root", "/var/lib/blueflame");

test("the unit in deploy/systemd is what `install` writes for the packaged program", () => {
  const written = readFileSync(inRoot("deploy", "systemd", "blueflame-agent.service"), "utf8");
  expect(written).toBe(unitText(system, watchdogCommand(system, true, true)));
});

test("systemd guards the watchdog, and its stop leaves the workloads alone", () => {
  const lines = unitText(system, watchdogCommand(system, true, true)).split("\n");
  for (const line of [
    "Type=notify",
    "NotifyAccess=all",
    "Restart=always",
    "WatchdogSec=15s",
    "StartLimitIntervalSec=0",
  ])
    expect(lines).toContain(line);
  for (const line of ["KillMode=process", "OOMPolicy=continue", "StateDirectory=blueflame", "OOMScoreAdjust=-900"])
    expect(lines).toContain(line);
  expect(lines.find((line) => line.startsWith("ExecStart="))).toMatch(
    / watchdog --init --data-dir \S+ -- up --config /,
  );
});

test("odd names are written so that systemd and a shell read them as they are", () => {
  const odd = layoutOf(true, {}, '/home/a b"c', "/data/100%/$x y");
  const text = unitText(odd, watchdogCommand(odd, false, false));
  expect(text).toContain('"/home/a b\\"c/.local/lib/blueflame/node"');
  expect(text).toContain('--data-dir "/data/100%%/$$x y"');
  expect(text).toContain("WantedBy=default.target");
  // Only a command line has variables.
  expect(text).toContain('RequiresMountsFor="/data/100%%/$x y"');
  expect(text).toContain('Environment="PKG_NATIVE_CACHE_PATH=/data/100%%/$x y/native"');
  expect(text).not.toContain("StateDirectory");
  expect(otherwise(watchdogCommand(odd, false, false))[1]).toContain("'/data/100%/$x y'");
});

test("a disk that was mounted late made a new node, without its stops and its kill switch", () => {
  expect(unitText(system, watchdogCommand(system, true, true))).toContain("\nRequiresMountsFor=/var/lib/blueflame\n");
});

test("a user's installation lies where the XDG variables say, when they are absolute", () => {
  const env = { XDG_CONFIG_HOME: "/cfg", XDG_DATA_HOME: "relative" };
  expect(layoutOf(true, env, "/home/u", "/d")).toMatchObject({
    config: "/cfg/blueflame/agent.yaml",
    unit: "/cfg/systemd/user/blueflame-agent.service",
    command: "/home/u/.local/bin/blueflame-agent",
  });
});

test("a bundle is installed with its Node and its addons, and its watchdog is run by its own small bundle", () => {
  const files = programFiles({ packaged: false, executable: "/n/node", folder: "/d", addons: ["x.node"] });
  expect(files.map(({ kept }) => kept)).toEqual([
    "node",
    "blueflame-agent.cjs",
    "blueflame-watchdog.cjs",
    "blueflame-emergency.cjs",
    "native/x.node",
  ]);
  expect(watchdogCommand(system, false, true)[1]).toBe("/usr/local/lib/blueflame/blueflame-watchdog.cjs");
  expect(installedCommand(system, false)[1]).toBe("/usr/local/lib/blueflame/blueflame-agent.cjs");
  expect(programFiles({ packaged: true, executable: "/b" })).toEqual([
    { source: "/b", name: "blueflame-agent", kept: "binary" },
  ]);
});

test("a hub alone is a config, with the certificates where the hub's own command is told to put them", () => {
  const text = hubConfig(system, ["hub:7443"]);
  expect(JSON.parse(text.split("\n").slice(1).join("\n"))).toEqual({
    hub: {
      addresses: ["hub:7443"],
      ca: "/etc/blueflame/certificates/ca.crt",
      cert: "/etc/blueflame/certificates/node.crt",
      key: "/etc/blueflame/certificates/node.key",
    },
  });
});
