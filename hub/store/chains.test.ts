import { beginAction, canonical, genesis, hashOf, placed } from "@blueflame/shared/audit/chain.ts";
import { type AuditRecord, AuditRecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { create, fromBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { worthSigning } from "../audit-heads.ts";
import { type Chain, compared, followed } from "./chains.ts";

function records(count: number, generation = "g1", because = ""): AuditRecord[] {
  const made: AuditRecord[] = [];
  let hash = genesis("owner", generation);
  for (let number = 1; number <= count; number++) {
    const begin =
      number === 1 ? { action: beginAction, afterJson: JSON.stringify({ owner: "owner", generation }) } : {};
    const fact = create(AuditRecordSchema, { id: `${number}`, because, at: timestampFromMs(number), ...begin });
    const bytes = placed(canonical(fact), number, hash, generation);
    hash = hashOf(bytes);
    made.push(fromBinary(AuditRecordSchema, bytes));
  }
  return made;
}
/** As they come in an outbox: each with a seq of its own. */
const follow = (all: readonly AuditRecord[], from?: Chain, seq = 1) =>
  all.reduce<Chain | undefined>((chain, record, n) => followed(chain, record, BigInt(seq + n), 5), from);

test("PHX-11 a chain that comes record by record is followed, over what comes twice and over what the node dropped", () => {
  const all = records(10);
  const chain = follow(all);
  expect(chain).toMatchObject({ number: 10, gaps: [] });
  expect(chain?.broken).toBeUndefined();
  expect(follow(all.slice(3, 10), chain, 4)).toEqual(chain); // after a death between logs and rows
  const gapped = follow([...all.slice(0, 3), ...all.slice(6)]);
  expect(gapped).toMatchObject({ number: 10, gaps: [{ from: 4, to: 6 }] });
  expect(gapped?.broken).toBeUndefined();
});

test("a chain that was written anew, or does not begin at its beginning, is broken, and the hub sets its name under none of it", () => {
  const known = follow(records(5));
  const anew = follow(records(8, "g1", "another story").slice(5), known, 6);
  expect(anew?.broken).toContain("record 6 was written upon another record 5");
  expect(follow(records(7, "g1").slice(6), anew, 9)?.broken).toBe(anew?.broken);
  expect(follow(records(3), known, 20)?.broken).toContain("record 1 came after record 5");
  const [first] = records(1);
  expect(follow([{ ...(first as AuditRecord), previous: new Uint8Array(32) }])?.broken).toContain("not the beginning");
  expect(worthSigning([anew as Chain], "g1", true, 0)).toEqual([]);
});

test("a hub that did not know the node yet hangs what comes on what it was not there for", () => {
  expect(follow(records(9).slice(4))).toMatchObject({ number: 9, first: { number: 4 }, gaps: [] });
});

test("a node whose own end is before ours has lost it or cut it off, one with another last record was changed", () => {
  const chain = follow(records(9));
  const own = (number: number, hash = chain?.hash ?? "") => ({ generation: "g1", number, hash });
  expect(compared(chain, own(9))).toBeUndefined();
  expect(compared(chain, own(12))).toBeUndefined(); // more than has come here
  expect(compared(chain, own(6))).toContain("its last 3 records were cut off");
  expect(compared(chain, own(9, "00"))).toContain("another one");
  expect(compared(chain, { ...own(6), generation: "g2" })).toBeUndefined();
  expect(compared(undefined, own(6))).toBeUndefined();
});

test("a node gets the head of its own chain when it grew, and at first that of the life before", () => {
  const before = { ...(follow(records(3, "g0")) as Chain), atMs: 1 };
  const own = { ...(follow(records(5)) as Chain), atMs: 2 };
  const numbers = (first: boolean, to: number) =>
    worthSigning([before, own], "g1", first, to).map(({ generation, number }) => `${generation} ${number}`);
  expect(numbers(true, 0)).toEqual(["g0 3", "g1 5"]);
  expect(numbers(false, 3)).toEqual(["g1 5"]);
  expect(numbers(false, 5)).toEqual([]);
});
