/**
 * What remedies may touch, declared and judged in one place (SYN-9; design.md, section 7, rules 8 and 12). Everything that
 * changes the machine is judged here just before it happens, with the paths it means by then. What is not granted is refused.
 *
 *   may       restart processes · roll back configs · restore backups · change configs for recovery · open incidents
 *   may not   delete production data · change security or safety (risk lock, kill switch, audit, certificates, keys, tokens)
 *             · disable governance · read secrets other than its own
 */
import { basename, dirname, isAbsolute, relative, sep } from "node:path";
import type { Action } from "../playbooks/playbook.ts";

/** What a kind of step may do; each grants only what its name says, on paths that the policy allows for it. */
type Power =
  | "restart a process"
  | "signal a process"
  | "roll back a config"
  | "restore a backup"
  | "change a config for recovery"
  | "open an incident"
  | "remove what is disposable"
  | "remove its own left-overs"
  | "move artifacts away"
  | "run a command"
  | "ask a server of this machine"
  | "write what it knows into its own folder"
  | "wait";

const granted: Readonly<Record<Action["do"], readonly Power[]>> = {
  restart: ["restart a process"],
  restart_dependencies: ["restart a process"],
  rollback: ["roll back a config", "restart a process"],
  safe_mode: ["change a config for recovery", "restart a process"],
  quarantine: ["move artifacts away", "restart a process"],
  clean_disposable: ["remove what is disposable"],
  trim_logs: ["remove its own left-overs"],
  signal: ["signal a process"],
  exec: ["run a command"],
  http: ["ask a server of this machine"],
  wait: ["wait"],
  verify: ["wait"],
  diagnose: ["write what it knows into its own folder"],
  backup: ["write what it knows into its own folder", "run a command", "remove its own left-overs"],
  check_backups: ["run a command"],
  check_store: ["wait"],
  alert: ["open an incident"],
  restore: ["restore a backup", "run a command"],
  bootstrap: ["run a command", "restart a process"],
};

/** One deed of a step, named by the path or command that it is about. Paths are absolute and real: no symlink is left in them. */
export type Deed =
  /** Starts, stops or signals the process of a workload. */
  | { readonly does: "handle_process" }
  /** Deletes a file or an empty folder. */
  | { readonly does: "remove"; readonly path: string }
  /** Writes a config file of the workload back, or moves it aside. */
  | { readonly does: "write_config"; readonly path: string }
  /** Moves data of the workload aside and puts a copy in its place; or reads it for a backup. */
  | { readonly does: "replace_data" | "read_data"; readonly path: string }
  /** Moves an artifact of the workload into quarantine. */
  | { readonly does: "move_artifact"; readonly path: string }
  | { readonly does: "write_own"; readonly path: string }
  | { readonly does: "run"; readonly command: readonly string[] }
  | { readonly does: "ask"; readonly host: string };

/** What holds on this node now. All paths are absolute and real. */
export interface AuthorityPolicy {
  readonly dataDir: string;
  readonly disposable: readonly string[];
  /** Secrets and safety beyond the data directory: keys and certificates of the link, the agent's config and binary, the good copy. */
  readonly guarded: readonly string[];
  /** What every workload of the node calls its data or its config: never removed, whatever else is said of it. */
  readonly production: readonly string[];
  /** What the workload of this step declares; empty for the node. */
  readonly configFiles: readonly string[];
  readonly data: readonly string[];
  readonly artifacts: readonly string[];
  /** What all other workloads call their data; asked about only where data is replaced. */
  readonly neighbours?: readonly { readonly workload: string; readonly path: string }[];
  readonly killSwitch: boolean;
  /** A person wants the workload down. */
  readonly stopped: boolean;
}

/** The answer; `rule` is a stable word. */
export type Judgement =
  | { readonly allowed: true }
  | { readonly allowed: false; readonly rule: Rule; readonly because: string };
type Rule =
  | "kill_switch"
  | "persons_word"
  | "not_granted"
  | "production_data"
  | "not_disposable"
  | "not_declared"
  | "security"
  | "absolute_program"
  | "no_shell"
  | "governance"
  | "this_machine";

const yes: Judgement = { allowed: true };
const no = (rule: Rule, because: string): Judgement => ({ allowed: false, rule, because });

/** Folders of the data directory that remedies fill, and may empty beyond their bounds. */
export const ownFolders = ["logs", "backups", "quarantine", "diagnostics", "runs", "restored"] as const;

/** Steps that only look, or speak to people: they are allowed while the kill switch is on or a person holds the workload. */
const harmless: ReadonlySet<Action["do"]> = new Set([
  "wait",
  "verify",
  "diagnose",
  "check_backups",
  "check_store",
  "alert",
]);

/** May a step of this kind run at all now? */
export function judgeStep(kind: Action["do"], policy: Pick<AuthorityPolicy, "killSwitch" | "stopped">): Judgement {
  if (harmless.has(kind)) return yes;
  if (policy.killSwitch)
    return no("kill_switch", "the kill switch is on: nothing is changed until a person takes it back");
  if (policy.stopped) return no("persons_word", "a person stopped this workload: only a person starts or changes it");
  return yes;
}

/** May a step of this kind do this? */
export function judge(kind: Action["do"], deed: Deed, policy: AuthorityPolicy): Judgement {
  const may = (power: Power) => granted[kind].includes(power);
  switch (deed.does) {
    case "handle_process":
      return may("restart a process") || may("signal a process") ? yes : lacks(kind, "handle a process");
    case "remove":
      if (may("remove what is disposable")) return judgeDisposable(deed.path, policy);
      return may("remove its own left-overs") ? judgeOwn(deed.path, policy) : lacks(kind, "remove anything");
    case "write_config":
      if (!may("roll back a config")) return lacks(kind, "write a config");
      return judgeDeclared(deed.path, policy.configFiles, "config file", policy);
    case "replace_data":
      if (!may("restore a backup")) return lacks(kind, "replace data");
      return judgeNeighbours(deed.path, policy) ?? judgeDeclared(deed.path, policy.data, "data", policy);
    case "read_data":
      return judgeDeclared(deed.path, policy.data, "data", policy);
    case "move_artifact":
      if (!may("move artifacts away")) return lacks(kind, "move artifacts");
      if (policy.production.some((one) => isWithin(deed.path, one) || isWithin(one, deed.path)))
        return no("production_data", `${deed.path} is data or config of a workload: it is no artifact`);
      return judgeDeclared(deed.path, policy.artifacts, "artifact", policy);
    case "write_own":
      return judgeOwn(deed.path, policy);
    case "run":
      if (!may("run a command")) return lacks(kind, "run a command");
      // Its command is the agent's own, and no playbook can say it.
      return kind === "bootstrap" ? yes : judgeCommand(deed.command, policy);
    case "ask":
      return may("ask a server of this machine") && isLoopback(deed.host)
        ? yes
        : no("this_machine", `${deed.host} is not this machine`);
  }
}

function lacks(kind: Action["do"], what: string): Judgement {
  return no("not_granted", `a step of kind ${kind} may not ${what}`);
}

// ── paths ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Strictly below a disposable path, and nothing that anybody declared to need. */
function judgeDisposable(path: string, policy: AuthorityPolicy): Judgement {
  if (policy.production.some((one) => isWithin(path, one) || isWithin(one, path)))
    return no("production_data", `${path} is data or config of a workload`);
  if (isWithin(path, policy.dataDir) || isWithin(policy.dataDir, path) || isGuarded(path, policy))
    return no("security", `${path} belongs to the agent itself`);
  const below = policy.disposable.some((one) => path !== one && isWithin(path, one));
  return below ? yes : no("not_disposable", `${path} is not below a path that the config calls disposable`);
}

/** Strictly below a folder that remedies keep; never the store, a key, a certificate or the audit. */
function judgeOwn(path: string, policy: AuthorityPolicy): Judgement {
  const own = ownFolders.some(
    (name) => path !== `${policy.dataDir}/${name}` && isWithin(path, `${policy.dataDir}/${name}`),
  );
  return own ? yes : no("security", `${path} is no log, backup, quarantine or diagnosis of the agent`);
}

function judgeDeclared(path: string, declared: readonly string[], what: string, policy: AuthorityPolicy): Judgement {
  if (isWithin(path, policy.dataDir) || isWithin(policy.dataDir, path) || isGuarded(path, policy))
    return no("security", `${path} belongs to the agent itself`);
  return declared.some((one) => path === one || isWithin(path, one))
    ? yes
    : no("not_declared", `${path} is no ${what} that the workload's config names`);
}

/** Data that two workloads share is replaced by nobody: the other one may run on it. */
function judgeNeighbours(path: string, { neighbours = [] }: AuthorityPolicy): Judgement | undefined {
  const other = neighbours.find((one) => isWithin(one.path, path) || isWithin(path, one.path));
  return (
    other &&
    no("production_data", `to restore ${path} would replace data of '${other.workload}' too, which is ${other.path}`)
  );
}

function isGuarded(path: string, policy: AuthorityPolicy): boolean {
  return policy.guarded.some((one) => isWithin(path, one) || isWithin(one, path));
}

/** `path` is `folder` or below it. */
export function isWithin(path: string, folder: string): boolean {
  const way = relative(folder, path);
  return way === "" || (way !== ".." && !way.startsWith(`..${sep}`) && !isAbsolute(way));
}

// ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Programs that start another one which could then not be judged by its name. */
const wrappers = new Set(
  "env sudo doas su runuser nice ionice chrt timeout nohup setsid xargs stdbuf chroot unshare nsenter script watch busybox toybox parallel strace flock taskset systemd-run numactl setpriv prlimit cgexec runcon start-stop-daemon".split(
    " ",
  ),
);
/** Shells and interpreters: with code on the command line they could do anything. */
const interpreters =
  /^(ba|da|z|k|fi|c|tc|a)?sh$|^(python|pypy|perl|ruby|node|nodejs|deno|bun|php|lua|tclsh)[\d.]*$|^[gmn]?awk$/;
const inlineCode = /^(-[a-zA-Z]*[ceEpr]|--(eval|print|command|execute)(=.*)?)$/;
/** The same before the script's path, where more may be written behind the letter: `-cx`, `-cimport os`, `-eunlink …`. */
const inlineCodeAttached = /^-(?!W(default|always)\b)[a-zA-Z]*[ceEpr]/;
/** Programs that remove or overwrite data. A clean-up of what is disposable has a step of its own. */
const destroyers =
  /^(rm|rmdir|unlink|shred|srm|wipe|wipefs|dd|truncate|mkfs(\..+)?|mke2fs|blkdiscard|fdisk|parted|lvremove|vgremove|zfs|dropdb)$/;
/** Programs that change who may do what, or end what guards. */
const governors =
  /^(passwd|chpasswd|usermod|useradd|userdel|groupmod|visudo|setenforce|auditctl|iptables|ip6tables|nft|ufw|firewall-cmd|setcap|chattr|shutdown|reboot|poweroff|halt|init|telinit|kill|pkill|killall|skill)$/;
/** Our own programs, as they are installed, built and packaged. */
const ownProgram = /^(blueflame(?:-agent|-hub|-watchdog|-emergency)?)(?:-linux-\w+)?(?:\.[cm]?js)?$/;
/** The command lines of ours that may be asked, not told: with these words first. Of our other programs there is nothing to ask. */
const ownQuestions: Readonly<Record<string, ReadonlySet<string>>> = {
  "blueflame-agent": new Set("status incidents audit decisions doctor triggers playbooks health logs".split(" ")),
  blueflame: new Set("nodes workloads incidents audit decisions wait".split(" ")),
};
/** Flags that may stand before that word; each takes a value. */
const ownFlags = /^--(data-dir|hub|ca|cert|key)$/;
/** Flags of systemctl that may stand before its verb; none takes a value. */
const serviceFlags = /^(-q|--(quiet|no-block|no-ask-password|no-pager|user|system))$/;

function judgeCommand(command: readonly string[], policy: AuthorityPolicy): Judgement {
  const [file = "", ...args] = command;
  if (!isAbsolute(file)) return no("absolute_program", `"${file}" is no absolute path of a program`);
  const name = basename(file);
  if (wrappers.has(name)) return no("no_shell", `${name} would start another program: name that one itself`);
  if (interpreters.test(name) && (name.endsWith("awk") || hasInlineCode(args)))
    return no("no_shell", `${name} with code on its command line: put the code into a file of its own`);
  if (destroyers.test(name) || (name === "find" && args.some((arg) => /^-(delete|exec|execdir|ok|okdir)$/.test(arg))))
    return no(
      "production_data",
      `${name} removes data: what may go is declared disposable and removed by clean_disposable`,
    );
  if (governors.test(name)) return no("governance", `${name} changes who may do what, or ends what guards`);
  if (name === "systemctl" || name === "service") return judgeService(name, args);
  const script = interpreters.test(name) ? args.findIndex((arg) => ownProgram.test(basename(arg))) : -1;
  const told = whatIsTold(name, args) ?? whatIsTold(basename(args[script] ?? ""), args.slice(script + 1));
  if (told !== undefined)
    return no("governance", `${name} may be asked by a playbook, not told: ${told.slice(0, 120)}`);
  const secret = args.find((arg) => namesSecret(arg, policy));
  if (secret !== undefined)
    return no("security", `an argument names what belongs to the agent itself: ${secret.slice(0, 120)}`);
  return yes;
}

function hasInlineCode(args: readonly string[]): boolean {
  const script = args.findIndex((arg) => !arg.startsWith("-") && arg.includes("/"));
  const before = script < 0 ? args : args.slice(0, script);
  return args.some((arg) => inlineCode.test(arg)) || before.some((arg) => inlineCodeAttached.test(arg));
}

/** The first word that makes it more than a question; undefined: it is one, or the program is none of ours. */
function whatIsTold(name: string, args: readonly string[]): string | undefined {
  const program = ownProgram.exec(name)?.[1];
  if (program === undefined) return undefined;
  let at = 0;
  while (ownFlags.test(args[at]?.split("=")[0] ?? "")) at += args[at]?.includes("=") ? 1 : 2;
  const [word = "no command", ...more] = args.slice(at);
  if (!Object.hasOwn(ownQuestions, program) || !ownQuestions[program]?.has(word)) return word.split("=")[0];
  // `playbooks run` is the one order below a question.
  return word === "playbooks" && more.includes("run") ? "playbooks run" : undefined;
}

/** A reload is a hook; whether a unit runs is the agent's machines' to say, and what guards is never ended. */
function judgeService(name: string, args: readonly string[]): Judgement {
  const words = args.slice(args.findIndex((arg) => !serviceFlags.test(arg)));
  const verb = name === "service" ? words[1] : words[0];
  const reload = verb === "reload" || verb === "try-reload-or-restart" || verb === "is-active";
  if (reload && !words.some((word) => word.includes("blueflame"))) return yes;
  return no("governance", `${name} may reload a unit, not ${verb ?? "this"}`);
}

/** `/dir/agent.key`, `--file=/dir/agent.key` and `@/dir/agent.key` name the same thing. */
function namesSecret(arg: string, policy: AuthorityPolicy): boolean {
  const at = arg.indexOf("/");
  if (at < 0) return false;
  const path = arg.slice(at);
  if (isWithin(path, policy.dataDir)) return !ownFolders.some((name) => isWithin(path, `${policy.dataDir}/${name}`));
  return policy.guarded.some((one) => isWithin(path, one));
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}

/** Paths that must never be called disposable: what is said is the reason. Undefined: it is fine. */
export function tooWide(path: string, policy: Pick<AuthorityPolicy, "dataDir" | "guarded">): string | undefined {
  if (dirname(path) === path) return "it is the whole file system";
  if (/^\/(bin|boot|dev|etc|home|lib|lib64|opt|proc|root|run|sbin|sys|usr|var|srv|mnt|media)$/.test(path))
    return "it is a folder of the system";
  if (isWithin(policy.dataDir, path)) return "the agent's data directory lies in it";
  if (policy.guarded.some((one) => isWithin(one, path))) return "what guards the node lies in it";
  return undefined;
}
