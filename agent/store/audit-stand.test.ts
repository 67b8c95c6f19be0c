import { beginAction, canonical, genesis, hashOf, type Link, placed } from "@blueflame/shared/audit/chain.ts";
import { ChainCheck } from "@blueflame/shared/audit/check.ts";
import { type AuditRecord, AuditRecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { create, fromBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { type AuditStand, endedBy, headerOf } from "./audit-stand.ts";

const perLife = 3;
const nothing = { row: 0, generation: "", number: 0, hash: "" };

/** So many lives of three records each, and how the store says that they stand. */
function lived(lives: number): { stand: AuditStand; records: AuditRecord[] } {
  let stand: AuditStand = {
    ...nothing,
    owner: "o",
    generation: "g0",
    anchor: nothing,
    chainlessTo: 0,
    earlier: [],
  };
  const records: AuditRecord[] = [];
  for (let life = 0; life < lives; life++) {
    const generation = `g${life}`;
    if (life > 0) stand = endedBy(stand, generation);
    const before = stand.earlier.at(-1) ?? { generation: "", number: 0, hash: "" };
    for (let number = 1; number <= perLife; number++) {
      const jsons = { beforeJson: JSON.stringify(before), afterJson: JSON.stringify({ owner: "o", generation }) };
      const fact = create(AuditRecordSchema, { nodeId: "n1", ...(number === 1 && { action: beginAction, ...jsons }) });
      const previous = number === 1 ? genesis("o", generation) : stand.hash;
      const bytes = placed(canonical(fact), number, previous, generation);
      records.push(fromBinary(AuditRecordSchema, bytes));
      stand = { ...stand, number, hash: hashOf(bytes), row: stand.row + 1 };
    }
  }
  return { stand, records };
}
function findings(stand: AuditStand, records: readonly AuditRecord[]) {
  const check = new ChainCheck(headerOf("n1", stand, { heads: [], told: {} }, 10));
  for (const record of records) check.take(record);
  return check.end().findings;
}
const linkOf = (record: AuditRecord): Link => ({
  generation: record.generation,
  number: Number(record.number),
  hash: hashOf(canonical(record)),
});

test("after a hundred lives the records of the oldest were called strays", () => {
  const { stand, records } = lived(130);
  expect(stand.earlier).toHaveLength(100);
  expect(stand.forgotten).toBe(29);
  expect(findings(stand, records)).toEqual([]);
});

test("what retention leaves of a life that is not listed is checked, whatever it has taken", () => {
  const { stand, records } = lived(110); // the first nine are not listed
  for (const taken of [1, 2, 3, 4, 26, 27, 28, 31]) {
    const anchor = { ...linkOf(records[taken - 1] as AuditRecord), row: taken };
    expect(findings({ ...stand, anchor }, records.slice(taken)), `${taken} taken`).toEqual([]);
    expect(findings({ ...stand, anchor }, records.slice(taken + 1)), `one more than ${taken}`).not.toEqual([]);
  }
});

test("no life that is not listed can be edited, left out or made up", () => {
  const { stand, records } = lived(105);
  for (const n of [0, 1, 2, 3, 8, 11, 12]) {
    const edited = { ...(records[n] as AuditRecord), because: "another story" };
    expect(findings(stand, records.with(n, edited)), `edit of ${n}`).not.toEqual([]);
    expect(findings(stand, records.toSpliced(n, 1)), `cut of ${n}`).not.toEqual([]);
  }
  expect(findings(stand, records.toSpliced(0, perLife))).not.toEqual([]); // a whole life
  expect(findings(stand, records.toSpliced(6, perLife))).not.toEqual([]);
  const foreign = lived(1).records.map((record) => ({ ...record, generation: "made-up" }));
  expect(findings(stand, [...foreign, ...records])).not.toEqual([]);
  expect(findings(stand, [...records, ...foreign])).not.toEqual([]);
  expect(findings(stand, lived(106).records)).not.toEqual([]); // one that fits behind the last
});
