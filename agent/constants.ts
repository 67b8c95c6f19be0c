/**
 * What the agent, its watchdog and the emergency bootstrap must agree on. Nothing is imported here, and the watchdog and the
 * bootstrap import nothing else of ours: this must hold when everything else is damaged.
 */

/** Below the data directory. */
export const places = {
  /** Who a person told to stay down, and for how long that holds; written before it is obeyed, removed by a person's `up`. */
  intent: "intent.json",
  /** The kill switch is on exactly while this file exists. */
  killSwitch: "kill-switch.json",
  /** How the watchdog starts the workloads marked critical while no agent can be had. */
  critical: "critical.json",
  /** Which of them it has started itself: they may have written over the marker by which the next agent knows its own. */
  criticalLives: "critical-lives.json",
  /** By what agent and watchdog know each other. */
  guardKey: "guard.key",
  /** Whose the processes are where the directory was copied from that of a living agent; else the store says it. */
  copyOwner: "copy-owner",
  /** The second, checksummed copy of the installation. */
  good: "good",
  watchdogLog: "logs/watchdog.log",
  /** How the agent was started last: what brings it back when nobody lives who knows. */
  start: "start.json",
  /** The config in use, checked and with every default. */
  lastGood: "last-good-config.json",
  /** Whose the node is and what rests; readable when the store is not. */
  mirror: "stopped.json",
  store: "store",
  /** What opens the sealed store, unless the service manager has it. */
  storeKey: "store.key",
  /** The wrapped data keys: the copy beside the store. */
  storeRing: "store.keys",
  socket: "agent.sock",
  alerts: "alerts",
  emergencyLog: "logs/emergency.log",
} as const;

/** The variable in the environment of every process of a workload: OWNER:WORKLOAD:INSTANCE. */
export const markVariable = "BLUEFLAME_MARK";
/** Exit code of an emergency that has run by itself within the hour and has done nothing now (EX_TEMPFAIL of sysexits.h). */
export const laterCode = 75;
/** Set for an agent that the watchdog starts: it obeys the intent instead of clearing it, and leaves quietly when another one runs. */
export const revivedVariable = "BLUEFLAME_REVIVED";
/** Flags of `watchdog` for the one that an agent starts. */
export const flagsVariable = "BLUEFLAME_WATCHDOG_FLAGS";

/** The agent says a line to its watchdog this often, which answers each. */
export const beatEveryMs = 1000;
/** Silent for longer while its process exists, one is hung; with a beat each second it is noticed within 3 s. */
export const silentMs = 2500;

/** Names of what systemd tells the process that it starts, and nobody below it: sd_notify(3), sd_listen_fds(3), systemd.exec(5). */
export const fromServiceManager =
  /^(NOTIFY_SOCKET|WATCHDOG_(USEC|PID)|LISTEN_\w+|MAINPID|MANAGERPID|INVOCATION_ID|JOURNAL_STREAM|SYSTEMD_EXEC_PID|FDSTORE|CREDENTIALS_DIRECTORY)$/;
