// Imports the rows of a file in batches and never takes one twice: how far it has come and what it found are written at the agent
// in one commit per batch. Killed at any moment it goes on behind the last batch that was written.
import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { connect } from "@blueflame/agent/client/client.driver.ts";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import { cursorKey, type Progress, readProgress, take } from "./batch.ts";

const file = process.argv[2] ?? "";
const batchRows = Number(process.env.IMPORTER_BATCH ?? 100);
const pauseMs = Number(process.env.IMPORTER_PAUSE_MS ?? 500);

const rows = readFileSync(file, "utf8").trim().split("\n").slice(1);
const agent = connect();
let kept = await agent.get(cursorKey);
let progress: Progress = readProgress(kept?.value);
console.log(`${rows.length} rows, ${progress.next} of them imported`);

while (progress.next < rows.length) {
  const { next, summary } = take(rows, progress, batchRows);
  const value = Buffer.from(JSON.stringify(next));
  try {
    const { results } = await agent.commit(
      [
        { put: { key: cursorKey, value, expectedRevision: kept?.revision ?? 0n } },
        { append: { log: "batches", entries: [Buffer.from(JSON.stringify(summary))] } },
      ],
      // Under its own name: should this process die before it hears the answer, the next one does not do it again.
      { requestId: `rows-${progress.next}` },
    );
    kept = { value, revision: results[0]?.revision ?? 0n };
    progress = next;
    console.log(`imported rows ${summary.from} to ${summary.to}`);
  } catch (error) {
    // Another instance was faster: what is kept decides.
    if (!isFault(error, "STATE_CONFLICT")) throw error;
    kept = await agent.get(cursorKey);
    progress = readProgress(kept?.value);
  }
  await agent.beat(`${progress.next} of ${rows.length} rows`).catch(() => undefined);
  await pause(pauseMs);
}
console.log(`all ${rows.length} rows are imported: ${JSON.stringify(progress)}`);
agent.close();
