import { renameSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { type OutputOptions, printRows } from "@blueflame/shared/cli/print.ts";
import type { Column } from "@blueflame/shared/cli/table.ts";
import { clean } from "@blueflame/shared/cli/text.ts";
import { readConfigFile } from "@blueflame/shared/config/machine.driver.ts";
import { type ConfigVersion, ConfigVersionSchema } from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { syncFolder } from "@blueflame/shared/store/folder.ts";
import { toJson } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { agentConfigAt } from "../config/config.driver.ts";
import { stamped } from "../config/stamp.ts";
import { ask } from "./ask.driver.ts";

interface VersionsOptions extends OutputOptions {
  readonly dataDir: string;
}

/** So much of a version tells it from the others. */
const shortDigits = 12;

const columns: readonly Column<ConfigVersion>[] = [
  { title: "VERSION", value: ({ version }) => version.slice(0, shortDigits) },
  { title: "RECEIVED", value: ({ receivedAt }) => (receivedAt ? timestampDate(receivedAt).toISOString() : "-") },
  { title: "ORIGIN", value: ({ origin }) => origin },
  { title: "VERDICT", value: ({ verdict, lastHealthy }) => (lastHealthy ? "healthy (last)" : verdict) },
  { title: "IN USE", value: ({ inUse }) => (inUse ? "yes" : "") },
  { title: "FROM", value: ({ from }) => clean(from) },
  { title: "BECAUSE", value: ({ because }) => clean(because) },
];

/** Prints every config that the node was given. Rejects with AGENT_UNREACHABLE. */
export async function configVersions(options: VersionsOptions): Promise<void> {
  const { versions } = await ask(options.dataDir, (desk) => desk.listConfigVersions({}));
  printRows(versions, columns, { ...options, json: (row) => toJson(ConfigVersionSchema, row) });
}

/** Prints what one version held, as it was received. Rejects with NOT_FOUND, AGENT_UNREACHABLE. */
export async function showConfig(version: string, { dataDir }: VersionsOptions): Promise<void> {
  const { text } = await ask(dataDir, (desk) => desk.getConfigVersion({ version }));
  process.stdout.write(text);
}

/** Replaces the file by the same with its checksum as last line, whole or not at all. Throws CONFIG_INVALID, CONFIG_NOT_FOUND. */
export function stampConfig(file: string): void {
  const text = readConfigFile(file);
  agentConfigAt(file, text, process.env);
  const { mode } = statSync(file);
  writeFileSync(`${file}.new`, stamped(text), { mode, flush: true });
  renameSync(`${file}.new`, file);
  syncFolder(dirname(file));
}
