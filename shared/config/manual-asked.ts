/** Whether the words of a command line ask for the manual of the config, which is loaded only then: `--help config` or `help config`, and nothing else. */
export function asksForConfigManual([asked, topic, ...more]: readonly string[]): boolean {
  return (asked === "--help" || asked === "help") && topic === "config" && more.length === 0;
}
