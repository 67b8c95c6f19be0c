import { generateKeyPairSync, sign } from "node:crypto";
import {
  AuditOutcome,
  type AuditRecord,
  AuditRecordSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { create, fromBinary } from "@bufbuild/protobuf";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { beginAction, canonical, genesis, hashOf, headText, type Link, placed, running } from "./chain.ts";
import { ChainCheck, type ChainHeader, type ChainStand, type Finding, type SignedHead } from "./check.ts";
import { headerLine, readHeader, readRecord, recordLine } from "./lines.ts";
import { ChainOrder } from "./order.ts";
import { hubKeyPem, wrongSignatures } from "./signature.driver.ts";

const node = "edge-1";
const owner = "owner-1";

interface History {
  readonly header: ChainHeader;
  readonly records: readonly AuditRecord[];
}

/** What happened before the chain, then one life after the other; records carry all that a record may. */
function history(lives: Readonly<Record<string, number>>, chainless = 0): History {
  const records: AuditRecord[] = [];
  const chains: ChainStand[] = [];
  let hash = "";
  let last: Link = { generation: "", number: 0, hash: "" };
  const fact = (action: string, more: { beforeJson?: string; afterJson?: string } = {}) =>
    create(AuditRecordSchema, {
      id: `id-${records.length}`,
      at: timestampFromMs(1_800_000_000_000 + records.length * 1000),
      actor: "agent",
      action,
      target: "workload/web",
      because: `because ${records.length}`,
      outcome: AuditOutcome.SUCCESS,
      took: durationFromMs(records.length),
      incidentId: "i",
      decisionId: "d",
      beforeJson: '{"phase":"running"}',
      afterJson: '{"phase":"stopped"}',
      nodeId: node,
      ...more,
    });
  for (let n = 0; n < chainless; n++) {
    const record = fact("old");
    hash = running(hash, record);
    records.push(record);
  }
  for (const [generation, count] of Object.entries(lives)) {
    const beforeJson = JSON.stringify({ ...last, hash });
    let previous = genesis(owner, generation);
    for (let number = 1; number <= count; number++) {
      const begin = { beforeJson, afterJson: JSON.stringify({ owner, generation }) };
      const bytes = canonical(number === 1 ? fact(beginAction, begin) : fact("workload.spawn"));
      const record = fromBinary(AuditRecordSchema, placed(bytes, number, previous, generation));
      records.push(record);
      previous = running("", record);
    }
    last = { generation, number: count, hash: previous };
    hash = previous;
    chains.push({ generation, head: last });
  }
  const old = chainless > 0 ? { chainless: { hash: "", records: chainless } } : {};
  return { header: { nodeId: node, source: "node", owner, chains, ...old, keep: 1000, signed: [] }, records };
}

function findings({ header, records }: History): readonly Finding[] {
  const check = new ChainCheck(header);
  for (const record of records) check.take(record);
  return check.end().findings;
}

const whole = history({ g1: 5, g2: 7 }, 3);
const size = whole.records.length;
const at = (n: number) => whole.records[n] as AuditRecord;
const placeOf = (record: AuditRecord) => `${record.generation || "chainless"} ${record.number}`;
const changed = (records: readonly AuditRecord[]): History => ({ ...whole, records });
/** The places that are named, with what stands around them: what a record hangs on may be the one that was touched. */
const named = (found: readonly Finding[]) =>
  found.map(({ number, generation }) => `${generation || "chainless"} ${number}`);

test("a history that nobody touched is whole, over lives, and after records without a chain", () => {
  for (const one of [whole, history({ g1: 1 }), history({ g1: 40 }), history({ a: 1, b: 1, c: 1 }), history({}, 4)]) {
    expect(findings(one)).toEqual([]);
  }
});

const edits: Readonly<Record<string, (record: AuditRecord) => Partial<AuditRecord>>> = {
  id: ({ id }) => ({ id: `${id}x` }),
  "time, by a millisecond": ({ at: when }) => ({ at: timestampFromMs(Number(when?.seconds) * 1000 + 1) }),
  "time, away": () => ({ at: undefined as never }),
  actor: () => ({ actor: "person:eve" }),
  action: () => ({ action: "workload.kill" }),
  target: () => ({ target: "workload/db" }),
  because: ({ because }) => ({ because: `${because}.` }),
  outcome: () => ({ outcome: AuditOutcome.FAILURE }),
  took: () => ({ took: durationFromMs(77_777) }),
  incident: () => ({ incidentId: "" }),
  decision: () => ({ decisionId: "e" }),
  before: () => ({ beforeJson: "{}" }),
  after: () => ({ afterJson: "{}" }),
  node: () => ({ nodeId: "edge-2" }),
  number: ({ number }) => ({ number: number + 1n }),
  "number, away": () => ({ number: 0n }),
  previous: () => ({ previous: Buffer.alloc(32, 7) }),
  "previous, away": () => ({ previous: new Uint8Array() }),
  generation: () => ({ generation: "g9" }),
};

describe("PHX-11 every single change of a chain is found, and its place is named", () => {
  test.each(Object.entries(edits))("an edit of each record's %s", (name, edit) => {
    for (let n = 0; n < size; n++) {
      const record = { ...at(n), ...edit(at(n)) };
      if (hashOf(canonical(record)) === hashOf(canonical(at(n)))) continue;
      const found = findings(changed(whole.records.with(n, record)));
      expect(found, `${name} of ${placeOf(at(n))}`).not.toEqual([]);
      if (at(n).number === 0n) continue; // without a chain only that the whole is another one can be known
      const near = [at(n), whole.records[n - 1], whole.records[n + 1]].flatMap((one) => (one ? [placeOf(one)] : []));
      expect(
        named(found).some((place) => near.includes(place) || place === placeOf(record)),
        JSON.stringify(found),
      ).toBe(true);
    }
  });

  test("a cut of any length at any place: the beginning, the middle, the end", () => {
    for (let from = 0; from < size; from++) {
      for (let to = from + 1; to <= size; to++) {
        const found = findings(changed(whole.records.toSpliced(from, to - from)));
        expect(found, `${from} to ${to}`).not.toEqual([]);
        const first = at(from);
        if (first.number > 1n) expect(named(found), JSON.stringify(found)).toContain(placeOf(first));
      }
    }
  });

  test("two records that change places, and one that is moved anywhere", () => {
    for (let a = 0; a < size; a++) {
      for (let b = 0; b < size; b++) {
        if (a === b) continue;
        expect(findings(changed(whole.records.with(a, at(b)).with(b, at(a)))), `swap ${a} ${b}`).not.toEqual([]);
        const moved = whole.records.toSpliced(a, 1).toSpliced(b, 0, at(a));
        expect(findings(changed(moved)), `move ${a} to ${b}`).not.toEqual([]);
      }
    }
  });

  test("a record that comes twice, one that was never there, and one of another node", () => {
    const foreign = { ...at(6), nodeId: "edge-2" };
    const forged = create(AuditRecordSchema, { action: "forged", nodeId: node });
    for (let n = 0; n <= size; n++) {
      for (const one of [at(0), at(5), at(size - 1), foreign, forged]) {
        expect(findings(changed(whole.records.toSpliced(n, 0, one))), `${one.action} at ${n}`).not.toEqual([]);
      }
    }
  });

  test("what was swapped in is a record with the right number and another body", () => {
    for (let n = 4; n < size; n++) {
      const { number, previous, generation } = at(n);
      const other = { ...at(n === 5 ? 6 : 5), number, previous, generation };
      expect(findings(changed(whole.records.with(n, other))), placeOf(at(n))).not.toEqual([]);
    }
  });
});

test("any change of any byte of an export is found, or the line is refused, or it says the same as before", () => {
  const lines = whole.records.map(recordLine);
  fc.assert(
    fc.property(fc.nat(size - 1), fc.nat(2000), fc.integer({ min: 32, max: 126 }), (n, place, code) => {
      const line = lines[n] ?? "";
      const position = place % line.length;
      const other = line.slice(0, position) + String.fromCharCode(code) + line.slice(position + 1);
      let record: AuditRecord;
      try {
        record = readRecord(other, n + 2);
      } catch {
        return;
      }
      if (hashOf(canonical(record)) === hashOf(canonical(at(n)))) return;
      expect(findings(changed(whole.records.with(n, record)))).not.toEqual([]);
    }),
    { numRuns: 400 },
  );
});

test("an export says the same when it is read back", () => {
  const header = readHeader(headerLine(whole.header));
  const records = whole.records.map((record, n) => readRecord(recordLine(record), n + 2));
  expect(findings({ header, records })).toEqual([]);
  expect(() => readHeader("{}")).toThrow("BAD_REQUEST");
  expect(() => readHeader("")).toThrow("BAD_REQUEST");
  expect(() => readHeader(headerLine(whole.header).replace('"blueflameAudit":1', '"blueflameAudit":2'))).toThrow(
    "STORE_NEWER",
  );
  expect(() => readRecord('{"id":"a","colour":"red"}', 2)).toThrow("STORE_NEWER");
  expect(() => readRecord("[]", 2)).toThrow("BAD_REQUEST");
});

test("what retention took away is missed by nobody, and what was taken beyond it is", () => {
  const { header, records } = whole;
  const anchorAt = (n: number): ChainHeader => {
    const chains = header.chains.map((chain, place) => {
      const ofG1 = at(n).generation === "g1";
      if (place > (ofG1 ? 0 : 1)) return chain;
      const anchored =
        place < (ofG1 ? 0 : 1)
          ? chain.head
          : { generation: at(n).generation, number: Number(at(n).number), hash: running("", at(n)) };
      return { ...chain, ...(anchored && { anchor: anchored }) };
    });
    const { chainless, ...rest } = header;
    return { ...rest, chains, keep: size - n - 1 };
  };
  for (let n = 3; n < size - 1; n++) {
    expect(findings({ header: anchorAt(n), records: records.slice(n + 1) }), placeOf(at(n))).toEqual([]);
    expect(findings({ header: anchorAt(n), records: records.slice(n + 2) }), placeOf(at(n))).not.toEqual([]);
    // The anchor moved as well, as whoever can write the store can do: retention would have kept more.
    expect(
      findings({
        header: { ...anchorAt(n + 1 < size - 1 ? n + 1 : n), keep: size - n - 1 },
        records: records.slice(n + 2),
      }),
    ).not.toEqual([]);
  }
});

describe("a head that the hub has countersigned", () => {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const signed = (n: number): SignedHead => {
    const link = { generation: at(n).generation, number: Number(at(n).number), hash: running("", at(n)) };
    const key = { key: privateKey, dsaEncoding: "ieee-p1363" } as const;
    return { ...link, signedAtMs: 5, signature: sign("sha256", headText(node, link, 5), key).toString("base64") };
  };
  const header = (n: number): ChainHeader => ({ ...whole.header, signed: [signed(n)], hubKey: hubKeyPem(publicKey) });

  test("finds an end that was cut off and a head that was set back with it", () => {
    const end = at(size - 3);
    const head = { generation: "g2", number: Number(end.number), hash: running("", end) };
    const chains = whole.header.chains.with(1, { generation: "g2", head });
    const records = whole.records.slice(0, size - 2);
    expect(findings({ header: { ...whole.header, chains }, records })).toEqual([]); // a chain alone cannot see it
    const found = findings({ header: { ...header(size - 1), chains }, records });
    expect(found.map(({ is, number, generation }) => [is, number, generation])).toEqual([["cut", 6, "g2"]]);
    expect(found[0]?.expected).toContain("countersigned");
  });

  test("finds an end that was written anew, consistently", () => {
    const forged = history({ g1: 5, g2: 7 }, 3);
    const last = { ...(forged.records[size - 1] as AuditRecord), because: "it was somebody else" };
    const head = { generation: "g2", number: 7, hash: running("", last) };
    const chains = whole.header.chains.with(1, { generation: "g2", head });
    const found = findings({ header: { ...header(size - 1), chains }, records: whole.records.with(size - 1, last) });
    expect(found.map(({ is, number }) => [is, number])).toEqual([["signature", 7]]);
  });

  test("is believed only when it is the hub's own hand", () => {
    const own = hubKeyPem(publicKey);
    expect(wrongSignatures(header(9), own)).toEqual([]);
    expect(wrongSignatures(header(9), undefined)).toBeUndefined(); // not: none is wrong
    const other = hubKeyPem(generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey);
    expect(wrongSignatures(header(9), other)).toHaveLength(1);
    for (const change of [
      { number: 4 },
      { hash: "00" },
      { generation: "g1" },
      { signedAtMs: 6 },
      { signature: "AAAA" },
    ]) {
      const bent = { ...header(9), signed: [{ ...signed(9), ...change }] };
      expect(wrongSignatures(bent, own), JSON.stringify(change)).toHaveLength(1);
    }
    expect(wrongSignatures({ ...header(9), nodeId: "edge-2" }, own)).toHaveLength(1);
    expect(() => wrongSignatures(header(9), "no key")).toThrow("CERT_UNUSABLE");
  });
});

test("what a hub has by its time is brought into the order of its chains; a gap that it knew is said to be one", () => {
  const records = whole.records.filter(({ number }) => number > 0n);
  const header: ChainHeader = { ...whole.header, source: "hub", signed: [] };
  const { chainless, keep, ...plain } = header;
  const inOrder = (all: readonly AuditRecord[]) => {
    const order = new ChainOrder(plain);
    return [...all.flatMap((record) => [...order.take(record)]), ...order.rest()];
  };
  fc.assert(
    fc.property(fc.shuffledSubarray([...records], { minLength: records.length }), (shuffled) => {
      expect(findings({ header: plain, records: inOrder(shuffled) })).toEqual([]);
    }),
    { numRuns: 50 },
  );
  const gapped = {
    ...plain,
    chains: plain.chains.with(1, { ...(plain.chains[1] as ChainStand), gaps: [{ from: 3, to: 4 }] }),
  };
  const without = records.filter(({ generation, number }) => !(generation === "g2" && number >= 3n && number <= 4n));
  const check = (all: readonly AuditRecord[]) => {
    const checked = new ChainCheck(gapped);
    for (const record of inOrder(all)) checked.take(record);
    return checked.end();
  };
  // A gap that everybody knew of made the whole audit broken.
  expect(check(without.toReversed())).toMatchObject({
    findings: [],
    knownGaps: [{ generation: "g2", from: 3, to: 4 }],
  });
  const more = without.filter(({ generation, number }) => !(generation === "g2" && number === 5n));
  expect(check(more).findings.map(({ is, number }) => [is, number])).toEqual([["gap", 3]]);
});

test("what a node said of its own end is a finding of what the hub has, with the place from which they differ", () => {
  const records = whole.records.filter(({ generation }) => generation === "g2");
  const heardAs = (heard: { number: number; here: number }) => ({
    ...whole.header,
    source: "hub" as const,
    chains: [
      {
        ...(whole.header.chains[1] as ChainStand),
        heard: { generation: "g2", hash: "0".repeat(64), atMs: 5, ...heard },
      },
    ],
    keep: 0,
    signed: [],
  });
  const { chainless, ...header } = heardAs({ number: 4, here: 7 });
  expect(findings({ header, records }).map(({ is, number }) => [is, number])).toEqual([["cut", 5]]);
  const { chainless: _, ...other } = heardAs({ number: 6, here: 6 });
  expect(findings({ header: other, records }).map(({ is, number }) => [is, number])).toEqual([["edited", 6]]);
});
