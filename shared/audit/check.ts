import type { AuditRecord } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { type Before, type Begun, beginAction, genesis, jsonOf, type Link, previousOf, running } from "./chain.ts";

/** A head under which the hub has set its signature. */
export interface SignedHead extends Link {
  readonly signedAtMs: number;
  /** Base64. */
  readonly signature: string;
}

/** How the chain of one generation is said to stand by whoever has its records. */
export interface ChainStand {
  readonly generation: string;
  /** The newest record. */
  readonly head?: Link;
  /** The last record that is not here any more, by retention; absent: all are here from the first one on. */
  readonly anchor?: Link;
  /** Numbers that were missing already when the records came here: the node had dropped them before it could send them. */
  readonly gaps?: readonly { readonly from: number; readonly to: number }[];
  /** Of a hub: what the node said of its own end that did not agree with what was here then. */
  readonly heard?: Heard;
}

/** A node's own word about its newest record, and the number of the newest one that was here at that time. */
export interface Heard extends Link {
  readonly here: number;
  readonly atMs: number;
}

/** Records that are not here, as was known before. */
export interface KnownGap {
  readonly generation: string;
  readonly from: number;
  readonly to: number;
}

/** What goes with the records: everything that is claimed of them. */
export interface ChainHeader {
  readonly nodeId: string;
  /** `node`: rows of a store, one generation after the other. `hub`: what arrived, the generations side by side. */
  readonly source: "node" | "hub";
  /** Undefined: what the first records say. */
  readonly owner?: string;
  readonly chains: readonly ChainStand[];
  /** Of a node: so many lives before the first that is listed with a head are not listed. Each next first record says how one ended. */
  readonly forgotten?: number;
  /** Of a node whose oldest records are without a chain: the running hash before the first one, and how many are left. */
  readonly chainless?: { readonly hash: string; readonly records: number };
  /** So many records of a node are kept at least. */
  readonly keep?: number;
  readonly signed: readonly SignedHead[];
  /** The public key of the hub's CA, PEM; absent when no head was ever signed. */
  readonly hubKey?: string;
}

/** One thing that is wrong. */
export interface Finding {
  readonly is: "edited" | "gap" | "cut" | "order" | "stray" | "signature";
  /** The record it is about; 0 for what is in no chain. */
  readonly number: number;
  readonly generation: string;
  /** When that record says that it was made; undefined when it is not there. */
  readonly atMs: number | undefined;
  readonly expected: string;
  readonly saw: string;
}

export interface Verdict {
  readonly records: number;
  readonly findings: readonly Finding[];
  /** More findings than these were made. */
  readonly more: number;
  /** Not here, and no damage: the first hundred. */
  readonly knownGaps: readonly KnownGap[];
  /** What a person may want to know and is no damage. */
  readonly notes: readonly string[];
}

const findingsMax = 100;
const knownGapsMax = 100;

interface Stand {
  readonly number: number;
  readonly hash: string;
  readonly atMs: number | undefined;
}

/** Checks a history record by record, in the order in which it stands; its memory does not grow with it. */
export class ChainCheck {
  readonly #header: ChainHeader;
  readonly #chains = new Map<string, Stand>();
  readonly #stands: ReadonlyMap<string, ChainStand>;
  readonly #findings: Finding[] = [];
  readonly #knownGaps: KnownGap[] = [];
  /** Lives that are not listed, and the records of which were here. */
  readonly #forgotten = new Set<string>();
  readonly #notes: string[] = [];
  /** The running hash over all that came, for what a first record says of what stands before it. */
  #running: string;
  #current = "";
  #records = 0;
  #chainless = 0;
  #more = 0;

  constructor(header: ChainHeader) {
    this.#header = header;
    this.#stands = new Map(header.chains.map((chain) => [chain.generation, chain]));
    this.#running = header.chainless?.hash ?? "";
    for (const { generation, anchor } of header.chains) {
      if (!anchor) continue;
      this.#chains.set(generation, { number: anchor.number, hash: anchor.hash, atMs: undefined });
      this.#signedAt(anchor, undefined);
      if (header.source === "node") this.#running = anchor.hash;
    }
  }

  take(record: AuditRecord): void {
    this.#records += 1;
    if (record.number === 0n) this.#takeChainless(record);
    else this.#takeChained(record, Number(record.number));
    this.#running = running(this.#running, record);
  }

  end(): Verdict {
    const header = this.#header;
    if (header.chainless && this.#chainless !== header.chainless.records) {
      const expected = `${header.chainless.records} records from before the chain`;
      this.#find("cut", 0, "", undefined, expected, `${this.#chainless}`);
    }
    for (const stand of header.chains) this.#endOf(stand);
    for (const { generation, number } of header.signed) {
      if (this.#stands.has(generation)) continue;
      this.#notes.push(`the hub countersigned record ${number} of generation ${generation}, of which nothing is here`);
    }
    const least = Math.min(header.keep ?? 0, this.#toldRecords());
    if (this.#records < least) {
      const expected = `at least the newest ${least} records, which retention keeps`;
      this.#find("cut", 0, this.#current, undefined, expected, `${this.#records}`);
    }
    const [findings, knownGaps, notes] = [this.#findings, this.#knownGaps, this.#notes];
    return { records: this.#records, findings, more: this.#more, knownGaps, notes };
  }

  #takeChainless(record: AuditRecord): void {
    this.#chainless += 1;
    if (this.#current === "") return;
    this.#find("stray", 0, "", atOf(record), "a record with its place in the chain", `${record.action} without one`);
  }

  #takeChained(record: AuditRecord, number: number): void {
    const { generation } = record;
    const atMs = atOf(record);
    if (!this.#stands.has(generation) && !this.#isForgotten(generation)) {
      this.#find("stray", number, generation, atMs, "a record of this node's store", `generation '${generation}'`);
      return;
    }
    if (record.nodeId !== this.#header.nodeId) {
      this.#find("stray", number, generation, atMs, `a record of ${this.#header.nodeId}`, `one of '${record.nodeId}'`);
    }
    const stand = this.#chains.get(generation);
    const lastNumber = stand?.number ?? 0;
    // A hub keeps by time: what a clock that went back has made may outlive its anchor.
    if (this.#header.source === "hub" && number <= (this.#stands.get(generation)?.anchor?.number ?? 0)) return;
    if (number <= lastNumber) {
      this.#find(
        "order",
        number,
        generation,
        atMs,
        `record ${lastNumber + 1}`,
        `record ${number} behind ${lastNumber}`,
      );
      return;
    }
    if (number > lastNumber + 1) this.#gap(generation, lastNumber + 1, number - 1, atMs);
    else if (number === 1) this.#begins(record, atMs);
    else this.#hangsOn(stand, record, number, atMs);
    const hash = running("", record);
    this.#current = generation;
    this.#chains.set(generation, { number, hash, atMs });
    this.#signedAt({ generation, number, hash }, atMs);
  }

  /** They stand in front of all that are listed, but for one of which only the end is left. */
  #isForgotten(generation: string): boolean {
    if (this.#forgotten.has(generation)) return true;
    if (this.#stands.get(this.#current)?.head || this.#forgotten.size >= (this.#header.forgotten ?? 0)) return false;
    this.#forgotten.add(generation);
    return true;
  }

  #hangsOn(stand: Stand | undefined, record: AuditRecord, number: number, atMs: number | undefined): void {
    const { generation } = record;
    const previous = previousOf(record);
    if (stand === undefined || stand.hash === previous) return;
    // Which of the two was changed a chain cannot tell where the later one is the last; what hangs on that one tells.
    const saw = `record ${number} was written upon ${short(previous)}, but record ${number - 1} is ${short(stand.hash)}`;
    this.#find(
      "edited",
      number - 1,
      generation,
      stand.atMs ?? atMs,
      `record ${number - 1} as record ${number} knows it`,
      saw,
    );
  }

  /** The first record of a generation: whose it says it is, and what it says of what stands before it. */
  #begins(record: AuditRecord, atMs: number | undefined): void {
    const { generation } = record;
    const begun = jsonOf<Begun>(record.afterJson);
    const owner = this.#header.owner ?? begun?.owner ?? "";
    if (record.action !== beginAction || begun?.generation !== generation) {
      this.#find("edited", 1, generation, atMs, `${beginAction} of this generation`, record.action);
    }
    const expected = genesis(owner, generation);
    if (previousOf(record) !== expected) {
      const saw = `it was written upon ${short(previousOf(record))}`;
      this.#find("edited", 1, generation, atMs, `the first record of owner ${owner} (${short(expected)})`, saw);
    }
    if (this.#header.source !== "node") return;
    const before = jsonOf<Before>(record.beforeJson);
    if (before?.hash === this.#running) return;
    const what = before?.generation ? `record ${before.number} of ${before.generation}` : "what stood before it";
    const saw = this.#running === "" ? "nothing" : `a history that ends with ${short(this.#running)}`;
    this.#find(
      "edited",
      before?.number ?? 0,
      before?.generation ?? "",
      atMs,
      `${what} (${short(before?.hash ?? "")})`,
      saw,
    );
  }

  #gap(generation: string, from: number, to: number, atMs: number | undefined): void {
    const known = this.#stands.get(generation)?.gaps?.some((gap) => gap.from <= from && gap.to >= to) ?? false;
    if (known) {
      if (this.#knownGaps.length < knownGapsMax) this.#knownGaps.push({ generation, from, to });
      return;
    }
    const expected = from === to ? `record ${from}` : `records ${from} to ${to}`;
    this.#find("gap", from, generation, atMs, expected, "they are not there");
  }

  #endOf({ generation, head, heard }: ChainStand): void {
    if (heard) this.#heard(heard);
    const stand = this.#chains.get(generation);
    const last = stand?.number ?? 0;
    const signed = this.#header.signed.find((one) => one.generation === generation && one.number > last);
    const end = Math.max(head?.number ?? 0, signed?.number ?? 0);
    if (end > last) {
      const expected = `records up to ${end}${signed ? ", which the hub has countersigned" : ""}`;
      this.#find("cut", last + 1, generation, stand?.atMs, expected, last === 0 ? "none" : `the last one is ${last}`);
    } else if (head && stand && head.number === last && head.hash !== stand.hash) {
      const saw = `it is ${short(stand.hash)}`;
      this.#find("edited", last, generation, stand.atMs, `the last record as ${short(head.hash)}`, saw);
    } else if (head && last > head.number) {
      this.#find("stray", last, generation, stand?.atMs, `record ${head.number} as the last one`, `record ${last}`);
    }
  }

  /** What is here may be whole, and the node's own may not. */
  #heard({ generation, number, here, hash, atMs }: Heard): void {
    const said = `the node itself said at ${new Date(atMs).toISOString()} that its last record is ${number}, ${short(hash)}`;
    if (number < here) {
      this.#find("cut", number + 1, generation, atMs, `records up to ${here}, which had come here`, said);
    } else {
      this.#find("edited", number, generation, atMs, `record ${number} as it came here`, said);
    }
  }

  #signedAt({ generation, number, hash }: Link, atMs: number | undefined): void {
    for (const signed of this.#header.signed) {
      if (signed.generation !== generation || signed.number !== number || signed.hash === hash) continue;
      const expected = `record ${number} as the hub countersigned it (${short(signed.hash)})`;
      this.#find("signature", number, generation, atMs, expected, `it is ${short(hash)}`);
    }
  }

  /** How many records there are to be by what is said of the chains. */
  #toldRecords(): number {
    const chained = this.#header.chains.reduce((sum, one) => sum + (one.head?.number ?? 0), 0);
    return chained + (this.#header.chainless?.records ?? 0);
  }

  #find(
    is: Finding["is"],
    number: number,
    generation: string,
    atMs: number | undefined,
    expected: string,
    saw: string,
  ): void {
    if (this.#findings.length >= findingsMax) this.#more += 1;
    else this.#findings.push({ is, number, generation, atMs, expected, saw });
  }
}

function atOf(record: AuditRecord): number | undefined {
  return record.at && timestampMs(record.at);
}
function short(hash: string): string {
  return hash === "" ? "nothing" : `${hash.slice(0, 12)}…`;
}
