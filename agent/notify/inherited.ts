/** What systemd tells the process that it starts, and nobody below it: sd_notify(3), sd_listen_fds(3), systemd.exec(5). */
const ofOurServiceManager = [
  "NOTIFY_SOCKET",
  "WATCHDOG_USEC",
  "WATCHDOG_PID",
  "LISTEN_PID",
  "LISTEN_FDS",
  "LISTEN_FDNAMES",
  "MAINPID",
  "MANAGERPID",
  "INVOCATION_ID",
  "JOURNAL_STREAM",
  "SYSTEMD_EXEC_PID",
  "FDSTORE",
  "CREDENTIALS_DIRECTORY",
] as const;

/**
 * The agent's own environment, as a workload may inherit it. One that took our service manager for its own would say READY=1 or
 * STOPPING=1 in the agent's name, or would look for a watchdog that is not meant for it; and the key of the store is nobody else's.
 */
export function withoutServiceManager(
  env: Readonly<Record<string, string | undefined>>,
): Readonly<Record<string, string | undefined>> {
  const left = { ...env };
  for (const name of ofOurServiceManager) delete left[name];
  return left;
}
