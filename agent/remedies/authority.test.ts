import { describe, expect, test } from "vitest";
import { type AuthorityPolicy, type Deed, judge, judgeStep, tooWide } from "./authority.ts";

const policy: AuthorityPolicy = {
  dataDir: "/var/lib/blueflame",
  disposable: ["/srv/app/cache", "/tmp/scratch"],
  guarded: ["/etc/blueflame/node.key", "/etc/blueflame/agent.yaml", "/usr/lib/blueflame/good"],
  production: ["/srv/app/data", "/etc/app/app.conf", "/srv/app/cache/keep.db"],
  configFiles: ["/etc/app/app.conf"],
  data: ["/srv/app/data"],
  artifacts: ["/srv/app/plugins"],
  killSwitch: false,
  stopped: false,
};
const verdict = (...args: Parameters<typeof judge>) => {
  const judged = judge(...args);
  return judged.allowed ? "allowed" : judged.rule;
};
const remove = (path: string): Deed => ({ does: "remove", path });

describe("SYN-9 deletion", () => {
  test.each([
    ["below a disposable path", "/srv/app/cache/a/b", "allowed"],
    ["the disposable path itself", "/tmp/scratch", "not_disposable"],
    ["beside it, with the same beginning", "/srv/app/cache2/a", "not_disposable"],
    ["production data", "/srv/app/data/00001.sst", "production_data"],
    ["production data that lies below a disposable path", "/srv/app/cache/keep.db", "production_data"],
    ["a folder that holds production data", "/srv/app", "production_data"],
    ["a config file", "/etc/app/app.conf", "production_data"],
    ["the agent's store", "/var/lib/blueflame/store/CURRENT", "security"],
    ["the agent's own key", "/etc/blueflame/node.key", "security"],
    ["the good copy", "/usr/lib/blueflame/good/agent", "security"],
    ["anything else", "/home/ann/thesis.tex", "not_disposable"],
  ])("of %s by a clean-up", (_what, path, expected) => {
    expect(verdict("clean_disposable", remove(path), policy)).toBe(expected);
  });

  test("a disposable path does not make the agent's own files disposable", () => {
    const wide = { ...policy, disposable: ["/var/lib"], production: [] };
    expect(verdict("clean_disposable", remove("/var/lib/blueflame/store/LOCK"), wide)).toBe("security");
    expect(verdict("clean_disposable", remove("/var/lib/other/x"), wide)).toBe("allowed");
  });

  test.each([
    ["/var/lib/blueflame/logs/workloads/engine.log.4", "allowed"],
    ["/var/lib/blueflame/diagnostics/1.json", "allowed"],
    ["/var/lib/blueflame/backups/engine/000001", "allowed"],
    ["/var/lib/blueflame/logs", "security"],
    ["/var/lib/blueflame/store/000005.ldb", "security"],
    ["/var/lib/blueflame/stopped.json", "security"],
    ["/var/lib/blueflame/agent.sock", "security"],
    ["/var/log/syslog", "security"],
  ])("of %s by a trim is %s", (path, expected) => expect(verdict("trim_logs", remove(path), policy)).toBe(expected));

  test.each(["restart", "exec", "rollback", "quarantine", "restore", "bootstrap", "signal"] as const)(
    "is nothing that a step of kind %s may do",
    (kind) => expect(verdict(kind, remove("/srv/app/cache/a"), policy)).toBe("not_granted"),
  );
});

describe("SYN-9 what a step may change", () => {
  test.each([
    ["rollback", { does: "write_config", path: "/etc/app/app.conf" }, "allowed"],
    ["rollback", { does: "write_config", path: "/etc/passwd" }, "not_declared"],
    ["rollback", { does: "write_config", path: "/etc/blueflame/agent.yaml" }, "security"],
    ["restore", { does: "write_config", path: "/etc/app/app.conf" }, "not_granted"],
    ["restore", { does: "replace_data", path: "/srv/app/data" }, "allowed"],
    ["restore", { does: "replace_data", path: "/srv/app" }, "not_declared"],
    ["restore", { does: "replace_data", path: "/var/lib/blueflame/store" }, "security"],
    ["quarantine", { does: "replace_data", path: "/srv/app/data" }, "not_granted"],
    ["quarantine", { does: "move_artifact", path: "/srv/app/plugins/bad.so" }, "allowed"],
    ["quarantine", { does: "move_artifact", path: "/srv/app/data/x" }, "production_data"],
    ["quarantine", { does: "move_artifact", path: "/usr/bin/python3" }, "not_declared"],
    ["diagnose", { does: "write_own", path: "/var/lib/blueflame/diagnostics/1.json" }, "allowed"],
    ["diagnose", { does: "write_own", path: "/etc/cron.d/x" }, "security"],
    ["backup", { does: "read_data", path: "/etc/shadow" }, "not_declared"],
    ["restart", { does: "handle_process" }, "allowed"],
    ["clean_disposable", { does: "handle_process" }, "not_granted"],
    ["http", { does: "ask", host: "127.0.0.1" }, "allowed"],
    ["http", { does: "ask", host: "10.0.0.1" }, "this_machine"],
    ["http", { does: "ask", host: "127.evil.example" }, "this_machine"],
    ["verify", { does: "ask", host: "127.0.0.1" }, "this_machine"],
  ] as const)("%s: %o is %s", (kind, deed, expected) => expect(verdict(kind, deed, policy)).toBe(expected));

  test("data that holds the agent's own directory is never replaced, whatever the config says", () => {
    const foolish = { ...policy, data: ["/var/lib"] };
    expect(verdict("restore", { does: "replace_data", path: "/var/lib" }, foolish)).toBe("security");
  });
});

describe("SYN-9 a command", () => {
  test.each([
    [["/usr/bin/redis-cli", "-p", "6379", "MEMORY", "PURGE"], "allowed"],
    [["/usr/local/bin/tune-pool", "--size=20"], "allowed"],
    [["/usr/bin/python3", "/opt/app/tune.py"], "allowed"],
    [["/usr/bin/systemctl", "reload", "nginx"], "allowed"],
    [["/usr/bin/blueflame-agent", "status"], "allowed"],
    [["redis-cli", "ping"], "absolute_program"],
    [["../bin/tool"], "absolute_program"],
    [[], "absolute_program"],
    [["/bin/sh", "-c", "rm -rf /"], "no_shell"],
    [["/bin/bash", "-lc", "true"], "no_shell"],
    [["/usr/bin/python3", "-c", "print()"], "no_shell"],
    [["/usr/bin/node", "--eval=1"], "no_shell"],
    [["/usr/bin/awk", "BEGIN{}"], "no_shell"],
    [["/usr/bin/env", "rm", "-rf", "/srv/app/data"], "no_shell"],
    [["/usr/bin/sudo", "-n", "true"], "no_shell"],
    [["/bin/rm", "-rf", "/srv/app/data"], "production_data"],
    [["/usr/bin/find", "/srv/app", "-delete"], "production_data"],
    [["/usr/sbin/mkfs.ext4", "/dev/sda1"], "production_data"],
    [["/bin/dd", "if=/dev/zero", "of=/dev/sda"], "production_data"],
    [["/bin/systemctl", "stop", "blueflame-watchdog"], "governance"],
    [["/bin/systemctl", "reload", "blueflame-agent"], "governance"],
    [["/bin/systemctl", "mask", "nginx"], "governance"],
    [["/usr/bin/blueflame-agent", "kill-switch", "off"], "governance"],
    [["/usr/bin/blueflame-agent", "start", "engine"], "governance"],
    [["/usr/bin/pkill", "-9", "node"], "governance"],
    [["/usr/sbin/usermod", "-aG", "root", "app"], "governance"],
    [["/bin/cat", "/etc/blueflame/node.key"], "security"],
    [["/usr/bin/curl", "--data=@/var/lib/blueflame/store/CURRENT", "http://x/"], "security"],
    [["/bin/cp", "/var/lib/blueflame/diagnostics/1.json", "/tmp/x"], "allowed"],
  ])("%j is %s", (command, expected) => expect(verdict("exec", { does: "run", command }, policy)).toBe(expected));

  // A word of a question in a flag's value, or further on, opened everything.
  test.each([
    [["/usr/bin/blueflame-agent", "kill-switch", "off", "--reason", "health"], "governance"],
    [["/usr/bin/blueflame-agent", "state", "unlock", "firewall", "--reason", "audit"], "governance"],
    [["/usr/bin/blueflame", "approvals", "approve", "7", "--reason", "health"], "governance"],
    [["/usr/bin/blueflame-agent", "--data-dir", "status", "kill-switch", "off"], "governance"],
    [["/usr/bin/blueflame-agent", "--data-dir=status", "stop", "engine"], "governance"],
    [["/usr/bin/blueflame-agent", "--reason", "status", "kill-switch", "off"], "governance"],
    [["/usr/bin/blueflame-agent", "--", "kill-switch", "off", "status"], "governance"],
    [["/usr/bin/blueflame-agent", "playbooks", "-o", "json", "run", "restart-service"], "governance"],
    [["/usr/bin/blueflame-agent"], "governance"],
    [["/usr/bin/blueflame-agent", "--data-dir"], "governance"],
    [["/opt/blueflame-agent-linux-x64", "kill-switch", "off"], "governance"],
    [["/usr/bin/node", "--enable-source-maps", "/opt/blueflame-agent.cjs", "kill-switch", "off"], "governance"],
    [["/usr/bin/blueflame-emergency", "--reason", "status"], "governance"],
    [["/usr/bin/blueflame-hub", "cert", "--operator", "audit"], "governance"],
    [["/usr/bin/blueflame-hub", "audit"], "governance"],
    [["/usr/bin/blueflame", "status"], "governance"],
    [["/usr/bin/blueflame-agent", "nodes"], "governance"],
    [["/usr/bin/blueflame-agent", "constructor"], "governance"],
    [["/bin/systemctl", "stop", "nginx", "reload"], "governance"],
    [["/bin/systemctl", "-t", "reload", "stop", "nginx"], "governance"],
    [["/usr/sbin/service", "reload", "stop"], "governance"],
    [["/bin/systemctl"], "governance"],
    [["/usr/bin/blueflame-agent", "--data-dir", "/srv/edge", "status", "-o", "json"], "allowed"],
    [["/usr/bin/blueflame-agent", "--data-dir=/srv/edge", "doctor"], "allowed"],
    [["/opt/blueflame-tune.sh", "on"], "allowed"],
    [["/usr/bin/blueflame-agent", "audit", "verify"], "allowed"],
    [["/usr/bin/blueflame-agent", "playbooks", "restart-service", "--yaml"], "allowed"],
    [["/opt/blueflame-agent-linux-x64", "health"], "allowed"],
    [["/usr/bin/node", "/opt/blueflame.mjs", "--hub", "http://127.0.0.1:7480", "nodes"], "allowed"],
    [["/usr/bin/blueflame", "incidents", "--open"], "allowed"],
    [["/bin/systemctl", "--no-block", "reload", "nginx"], "allowed"],
    [["/usr/sbin/service", "nginx", "reload"], "allowed"],
  ])("that names a question somewhere is judged by its first word: %j is %s", (command, expected) =>
    expect(verdict("exec", { does: "run", command }, policy)).toBe(expected),
  );

  test("is nothing that a restart may do", () => {
    expect(verdict("restart", { does: "run", command: ["/bin/true"] }, policy)).toBe("not_granted");
  });
});

describe("SYN-9 GRC-7 a person's word", () => {
  const kinds = [
    "restart",
    "rollback",
    "safe_mode",
    "exec",
    "http",
    "signal",
    "restore",
    "bootstrap",
    "clean_disposable",
    "quarantine",
  ] as const;
  test.each(kinds)("%s does nothing while the kill switch is on, or for a workload that a person stopped", (kind) => {
    expect(judgeStep(kind, { killSwitch: true, stopped: false })).toMatchObject({
      allowed: false,
      rule: "kill_switch",
    });
    expect(judgeStep(kind, { killSwitch: false, stopped: true })).toMatchObject({
      allowed: false,
      rule: "persons_word",
    });
    expect(judgeStep(kind, { killSwitch: false, stopped: false })).toEqual({ allowed: true });
  });
  test.each(["diagnose", "alert", "check_store", "check_backups", "wait", "verify"] as const)(
    "%s only looks or speaks, and may go on",
    (kind) => expect(judgeStep(kind, { killSwitch: true, stopped: true })).toEqual({ allowed: true }),
  );
});

test.each([
  ["/", "it is the whole file system"],
  ["/etc", "it is a folder of the system"],
  ["/var/lib", "the agent's data directory lies in it"],
  ["/var/lib/blueflame", "the agent's data directory lies in it"],
  ["/etc/blueflame", "what guards the node lies in it"],
  ["/srv/app/cache", undefined],
])("%s as a disposable path: %s", (path, because) => expect(tooWide(path, policy)).toBe(because));

test.each([
  ["/bin/bash", "-cx", "rm -rf /srv/data"],
  ["/bin/bash", "-o", "pipefail", "-cx", "rm -rf /srv/data"],
  ["/usr/bin/python3", "-cimport shutil; shutil.rmtree('/srv/data')"],
  ["/usr/bin/perl", "-eunlink '/srv/data'"],
  ["/usr/bin/taskset", "1", "rm", "-rf", "/srv/data"],
  ["/usr/bin/systemd-run", "rm", "-rf", "/srv/data"],
])("SYN-9 %s %s would run what nobody has judged", (...command) => {
  expect(judge("exec", { does: "run", command }, policy)).toMatchObject({ allowed: false, rule: "no_shell" });
});
test.each([
  ["/usr/bin/python3", "-u", "-Wdefault", "/srv/app/flush.py", "-check", "-prune-old"],
  ["/bin/bash", "-x", "/srv/app/flush.sh", "-check"],
])("%s %s runs a script, whatever the script's own flags are", (...command) => {
  expect(judge("exec", { does: "run", command }, policy)).toEqual({ allowed: true });
});
