import { headText, type Link } from "@blueflame/shared/audit/chain.ts";
import type { SignedHead } from "@blueflame/shared/audit/check.ts";
import { type AuditHead, AuditHeadSchema } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { Chain } from "./store/chains.ts";

/** What it takes to countersign what a node has recorded. */
export interface Countersigner {
  /** By the key of the hub's CA. */
  readonly sign: (words: Uint8Array) => Promise<Uint8Array>;
  readonly wallMs: () => number;
}

/** The hub's word that it has this record of the node durably. */
export async function countersigned(by: Countersigner, nodeId: string, link: Link): Promise<SignedHead> {
  const { generation, number, hash } = link;
  const signedAtMs = Math.floor(by.wallMs());
  const signature = await by.sign(headText(nodeId, link, signedAtMs));
  return { generation, number, hash, signedAtMs, signature: Buffer.from(signature).toString("base64") };
}

/** Chains whose heads a node should have, of those that hang together: at first also of the life before. */
export function worthSigning(chains: readonly Chain[], generation: string, first: boolean, signedTo: number): Chain[] {
  const whole = chains.filter(({ broken }) => broken === undefined);
  const own = whole.find((chain) => chain.generation === generation);
  const other = whole.findLast((chain) => chain.generation !== generation);
  return [...(first && other ? [other] : []), ...(own && own.number > signedTo ? [own] : [])];
}

/**
 * What one session of a node is given: at first also the head of the life before. `first` says that it asks for the first time.
 * What could not be signed is owed at the next time; the node hears nothing of it before. Rejects as the signer does.
 */
export function headSigner(by: Countersigner, session: { readonly nodeId: string; readonly generation: string }) {
  const { nodeId, generation } = session;
  let signedTo = 0;
  let owesOther = false;
  return async (chains: readonly Chain[], first: boolean): Promise<AuditHead[]> => {
    owesOther ||= first;
    const worth = worthSigning(chains, generation, owesOther, signedTo);
    const heads = await Promise.all(worth.map((chain) => countersigned(by, nodeId, chain)));
    owesOther = false;
    for (const head of heads) if (head.generation === generation) signedTo = Math.max(signedTo, head.number);
    return heads.map(headMessage);
  };
}

function headMessage({ generation, number, hash, signedAtMs, signature }: SignedHead): AuditHead {
  return create(AuditHeadSchema, {
    generation,
    number: BigInt(number),
    hash: Buffer.from(hash, "hex"),
    signedAt: timestampFromMs(signedAtMs),
    signature: Buffer.from(signature, "base64"),
  });
}

/** A node's own word about its head, as far as it can be one. */
export function linkOf(head: AuditHead | undefined): Link | undefined {
  if (!head || head.number > BigInt(Number.MAX_SAFE_INTEGER)) return undefined;
  const { generation, number, hash } = head;
  return { generation, number: Number(number), hash: Buffer.from(hash).toString("hex") };
}
