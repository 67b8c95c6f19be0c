/** What `install` puts where, and the unit by which systemd guards the watchdog. Pure. */
import { join } from "node:path";

/** Where an installation lies. */
export interface Layout {
  readonly user: boolean;
  /** The program's files. */
  readonly library: string;
  /** What a person types, on the PATH. */
  readonly command: string;
  readonly config: string;
  /** Where `blueflame-hub cert` puts the node's certificate, if nothing else is said. */
  readonly certificates: string;
  readonly unit: string;
  readonly dataDir: string;
}

export const unitName = "blueflame-agent.service";

/** For the whole machine, or below one user's home, by the XDG base directories. `dataDir` is the one that the agent uses. */
export function layoutOf(user: boolean, env: NodeJS.ProcessEnv, home: string, dataDir: string): Layout {
  if (!user) {
    return {
      user,
      library: "/usr/local/lib/blueflame",
      command: "/usr/local/bin/blueflame-agent",
      config: "/etc/blueflame/agent.yaml",
      certificates: "/etc/blueflame/certificates",
      unit: `/etc/systemd/system/${unitName}`,
      dataDir,
    };
  }
  const absolute = (path: string | undefined, otherwise: string) => (path?.startsWith("/") ? path : otherwise);
  const configs = absolute(env.XDG_CONFIG_HOME, join(home, ".config"));
  return {
    user,
    library: join(home, ".local", "lib", "blueflame"),
    command: join(home, ".local", "bin", "blueflame-agent"),
    config: join(configs, "blueflame", "agent.yaml"),
    certificates: join(configs, "blueflame", "certificates"),
    unit: join(configs, "systemd", "user", unitName),
    dataDir,
  };
}

/** One file of the program: where it is now, and its name in the library and in the good copy. */
export interface ProgramFile {
  readonly source: string;
  /** In the library. */
  readonly name: string;
  /** In the good copy (bootstrap/good-copy.ts). */
  readonly kept: string;
}

/** The files of a packaged program: one; else the bundles, what they load, and the Node that runs them. */
export function programFiles(
  from: { readonly packaged: true; readonly executable: string } | Unpacked,
): readonly ProgramFile[] {
  if (from.packaged) return [{ source: from.executable, name: "blueflame-agent", kept: "binary" }];
  const beside = (name: string): ProgramFile => ({ source: join(from.folder, name), name, kept: name });
  return [
    { source: from.executable, name: "node", kept: "node" },
    ...["blueflame-agent.cjs", "blueflame-watchdog.cjs", "blueflame-emergency.cjs"].map(beside),
    ...from.addons.map((name) => beside(join("native", name))),
  ];
}

/** A program that runs on a Node of its own. */
export interface Unpacked {
  readonly packaged: false;
  readonly executable: string;
  /** Of the bundles. */
  readonly folder: string;
  /** File names in its folder `native`. */
  readonly addons: readonly string[];
}

/** How the installed program is run. */
export function installedCommand(layout: Layout, packaged: boolean): readonly string[] {
  const at = (name: string) => join(layout.library, name);
  return packaged ? [at("blueflame-agent")] : [at("node"), at("blueflame-agent.cjs")];
}

/** How the installed watchdog is run; its own bundle, so that it is small from its first moment. */
export function watchdogCommand(layout: Layout, packaged: boolean, hasConfig: boolean): readonly string[] {
  const at = (name: string) => join(layout.library, name);
  const program = packaged ? [at("blueflame-agent")] : [at("node"), at("blueflame-watchdog.cjs")];
  const up = ["up", ...(hasConfig ? ["--config", layout.config] : []), "--data-dir", layout.dataDir];
  return [...program, "watchdog", "--init", "--data-dir", layout.dataDir, "--", ...up];
}

/** The unit file. systemd guards the watchdog; the watchdog guards the agent; a stop or a restart of the unit leaves the workloads alone. */
export function unitText(layout: Layout, watchdog: readonly string[]): string {
  // A folder of systemd's own making is right for the default place only.
  const state = layout.dataDir === "/var/lib/blueflame" ? ["StateDirectory=blueflame", "StateDirectoryMode=0700"] : [];
  return `${[
    "[Unit]",
    "Description=Blue Flame: heals the workloads of this node",
    "After=network.target",
    "# A data directory whose disk is not there yet would be a new node, without its stops and its kill switch.",
    `RequiresMountsFor=${settingWord(layout.dataDir)}`,
    "# Never give up: the watchdog has its own budget.",
    "StartLimitIntervalSec=0",
    "",
    "[Service]",
    "Type=notify",
    "# The watchdog speaks through systemd-notify, and its agent may say that it is ready.",
    "NotifyAccess=all",
    `ExecStart=${watchdog.map(unitWord).join(" ")}`,
    "# A person takes `down` back: the agent is started.",
    "ExecReload=/bin/kill -HUP $MAINPID",
    "Restart=always",
    "RestartSec=100ms",
    "WatchdogSec=15s",
    "TimeoutStartSec=60s",
    "TimeoutStopSec=45s",
    "# Workloads outlive agent and watchdog, and the end of one of them by the kernel is not the end of all.",
    "KillMode=process",
    "OOMPolicy=continue",
    "OOMScoreAdjust=-900",
    "Delegate=yes",
    "TasksMax=infinity",
    "LimitNOFILE=65536",
    ...state,
    "# The key of the sealed store, where the machine has one for it: agent/store/keys/README.md. Else it lies in the data directory.",
    "ImportCredential=blueflame-store-key*",
    `Environment=${settingWord(`PKG_NATIVE_CACHE_PATH=${join(layout.dataDir, "native")}`)}`,
    "",
    "[Install]",
    `WantedBy=${layout.user ? "default.target" : "multi-user.target"}`,
  ].join("\n")}\n`;
}

/** A word of a setting that is no command line: a dollar sign is itself there. */
function settingWord(word: string): string {
  return unitWord(word).replaceAll("$$", "$");
}

/** A word of a command line as systemd reads it (systemd.service(5), "Command lines"). */
function unitWord(word: string): string {
  const plain = word.replaceAll("%", "%%").replaceAll("$", "$$$$");
  return /^[\w@%+=:,./$-]+$/.test(plain) ? plain : `"${plain.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}

/** A word of a command as a shell reads it. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** The node's certificate and its hub's, as `blueflame-hub cert` names them. */
export function certificatesAt(layout: Layout): { readonly ca: string; readonly cert: string; readonly key: string } {
  const at = (name: string) => join(layout.certificates, name);
  return { ca: at("ca.crt"), cert: at("node.crt"), key: at("node.key") };
}

/** The config of a node that was given a hub and nothing else; JSON is YAML. */
export function hubConfig(layout: Layout, addresses: readonly string[]): string {
  const hub = { addresses, ...certificatesAt(layout) };
  return `# Written by \`blueflame-agent install --hub\`; yours to change. Every key: blueflame-agent --help config\n${JSON.stringify({ hub }, null, 2)}\n`;
}

/** What else a person has to do where no systemd runs, as lines. */
export function otherwise(watchdog: readonly string[]): readonly string[] {
  const command = watchdog.map(shellWord).join(" ");
  return [
    "No systemd runs here. Let the init of this machine start this at boot, and again whenever it ends:",
    `  ${command}`,
    "with PM2: deploy/pm2/ecosystem.config.cjs; with cron, without a restart by init: @reboot and this command.",
  ];
}
