import { homedir } from "node:os";
import { formatFlag, type OutputOptions, printRows } from "@blueflame/shared/cli/print.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import type { Command } from "commander";
import type { Done } from "../install/install.driver.ts";
import { type Layout, layoutOf } from "../install/plan.ts";

interface InstallOptions extends OutputOptions {
  readonly dataDir: string;
  readonly user: boolean;
  readonly config?: string;
  readonly hub: readonly string[];
}

/** Adds `install` and `uninstall`. */
export function addInstall(program: Command): void {
  const desk = () => import("../install/install.driver.ts");
  formatFlag(
    program.command("install").description("install this program so that it comes back by itself, also after a reboot"),
  )
    .option("--config <file>", "what to guard; it is checked and copied, with absolute paths")
    .option("--hub <host:port>", "a hub's address; may be given again", (one, before: string[]) => [...before, one], [])
    .option("--user", "for this user only, below the home directory", false)
    .action(async (_options, command: Command) => {
      const options = command.optsWithGlobals<InstallOptions>();
      for (const address of options.hub) checkAddress(address);
      const layout = layoutFor(options);
      const { install } = await desk();
      show(install(layout, { config: options.config, hub: options.hub }), options);
    });
  formatFlag(
    program.command("uninstall").description("remove what `install` made, except config and data; workloads go on"),
  )
    .option("--user", "what was installed with --user", false)
    .action(async (_options, command: Command) => {
      const options = command.optsWithGlobals<InstallOptions>();
      const { uninstall } = await desk();
      show(uninstall(layoutFor(options)), options);
    });
}

function layoutFor({ user, dataDir }: InstallOptions): Layout {
  if (!user && process.getuid?.() !== 0)
    throw new Fault("INSTALL_FAILED", "only root installs for the whole machine; for this user alone there is --user");
  return layoutOf(user, process.env, homedir(), dataDir);
}

function checkAddress(address: string): void {
  if (!/^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$/.test(address))
    throw new Fault("USAGE", `--hub '${address}' is no HOST:PORT`);
}

function show(done: readonly Done[], options: OutputOptions): void {
  const columns = [
    { title: "WHAT", value: (row: Done) => row.what },
    { title: "WHERE", value: (row: Done) => row.where },
  ];
  printRows(done, columns, { ...options, json: (row) => row });
}
