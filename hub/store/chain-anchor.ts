import { canonical, hashOf, type Link } from "@blueflame/shared/audit/chain.ts";
import { AuditRecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import type { Log } from "@blueflame/shared/store/log.ts";
import type { Op } from "@blueflame/shared/store/state.ts";
import { fromBinary } from "@bufbuild/protobuf";
import { type Chains, linkBytes } from "./chains.ts";
import type { Commits } from "./commits.ts";
import { anchorKey, chainKey, heardKey, streams } from "./keys.ts";

const pageSize = 1_000;

/**
 * Before retention takes audit records away that are older than `beforeMs`: notes for each chain the last of them, so that
 * what is left still hangs on something. A crash in between leaves records that are older than their anchor: they are passed over.
 */
export async function anchorChains(log: Log, commits: Commits, chains: Chains, beforeMs: number): Promise<void> {
  const newest = new Map<string, { readonly nodeId: string; readonly link: Link }>();
  for (let after: string | undefined; ; ) {
    const items = await log.range(streams.audit, {
      to: beforeMs,
      limit: pageSize,
      ...(after !== undefined && { after }),
    });
    for (const { id, data } of items) {
      const nodeId = id.slice(0, id.indexOf("/"));
      const record = fromBinary(AuditRecordSchema, data);
      const number = Number(record.number);
      const key = anchorKey(nodeId, record.generation);
      if (number === 0 || (newest.get(key)?.link.number ?? 0) >= number) continue;
      newest.set(key, { nodeId, link: { generation: record.generation, number, hash: hashOf(canonical(record)) } });
    }
    after = items.at(-1)?.id;
    if (items.length < pageSize) break;
  }
  const moved = [...newest.values()].filter(
    ({ nodeId, link }) => (chains.anchor(nodeId, link.generation)?.number ?? 0) < link.number,
  );
  if (moved.length === 0) return;
  await commits.write(
    moved.map(({ nodeId, link }): Op => ({ put: anchorKey(nodeId, link.generation), value: linkBytes(link) })),
  );
  // Only now: one that is not on the disk would count as written at the next try, and the records would go without it.
  for (const { nodeId, link } of moved) chains.setAnchor(nodeId, link);
}

/**
 * Forgets how far the chains are of which retention has taken the last record away: of lives that are over, and of nodes that are gone.
 * A node that comes back after all begins its chain anew at the record that it sends.
 */
export async function forgetChains(
  commits: Commits,
  chains: Chains,
  isGone: (nodeId: string) => boolean,
): Promise<void> {
  for (const nodeId of chains.nodes()) {
    const all = chains.of(nodeId);
    const newest = all.at(-1);
    const over = all.filter((chain) => {
      const nothingLeft = (chains.anchor(nodeId, chain.generation)?.number ?? 0) >= chain.number;
      return nothingLeft && (chain !== newest || isGone(nodeId));
    });
    if (over.length === 0) continue;
    await commits.write(
      over.flatMap(({ generation }): Op[] => [
        { del: chainKey(nodeId, generation) },
        { del: anchorKey(nodeId, generation) },
        { del: heardKey(nodeId, generation) },
      ]),
    );
    for (const { generation } of over) chains.forget(nodeId, generation);
  }
}
