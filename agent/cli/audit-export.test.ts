// An export is verified by somebody who has nothing of ours but shared/audit/README.md: see `stranger` below.
import { createHash, generateKeyPairSync, sign, verify } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { headText } from "@blueflame/shared/audit/chain.ts";
import { hubKeyPem } from "@blueflame/shared/audit/signature.driver.ts";
import { AuditOutcome, AuditRecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { create } from "@bufbuild/protobuf";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { openAgentStore } from "../store/agent-store.ts";
import { mendStore } from "../store/mend.ts";
import { auditExport } from "./audit.ts";

type Head = { generation: string; number: number; hash: string; signedAtMs: number; signature: string };
type Header = { nodeId: string; chains: { generation: string; head: Head }[]; signed: Head[]; hubKey: string };

const names = "id at actor action target because outcome took incidentId decisionId beforeJson afterJson nodeId".split(
  " ",
);
const fields = [...names, "number", "previous", "generation"];
const outcomes = ["UNSPECIFIED", "SUCCESS", "FAILURE", "REFUSED"].map((name) => `AUDIT_OUTCOME_${name}`);
const sha256 = (bytes: Uint8Array | string) => createHash("sha256").update(bytes).digest("hex");
const varint = (n: bigint): number[] => (n > 127n ? [Number(n & 127n) | 128, ...varint(n >> 7n)] : [Number(n)]);
const number = (field: number, n: bigint) =>
  n === 0n ? [] : [...varint(BigInt(field << 3)), ...varint(BigInt.asUintN(64, n))];
const block = (field: number, bytes: Iterable<number>) => {
  const all = [...bytes];
  return [...varint(BigInt((field << 3) | 2)), ...varint(BigInt(all.length)), ...all];
};
function time(text: string): number[] {
  const [, whole = "", fraction = ""] = /^(.+?)(?:\.(\d+))?(?:s|Z)$/.exec(text) ?? [];
  const seconds = whole.includes("T") ? Date.parse(`${whole}Z`) / 1000 : Number(whole);
  return [...number(1, BigInt(seconds)), ...number(2, BigInt(fraction.padEnd(9, "0")))];
}
function encoded(name: string, field: number, text: string): number[] {
  if (name === "at" || name === "took") return block(field, time(text));
  if (name === "outcome") return number(field, BigInt(outcomes.indexOf(text)));
  if (name === "number") return number(field, BigInt(text));
  return block(field, Buffer.from(text, name === "previous" ? "base64" : "utf8"));
}
/** What is wrong with a node's whole export, in words; empty when nothing is. */
function stranger(lines: readonly string[]): string[] {
  const [header, ...records] = lines.map((line) => JSON.parse(line)) as [Header, ...Record<string, string>[]];
  const wrong: string[] = [];
  const heads = new Map<string, string>();
  let before = "";
  for (const record of records) {
    const at = `record ${record.number}`;
    const bytes = fields.flatMap((name, n) => (record[name] === undefined ? [] : encoded(name, n + 1, record[name])));
    if (record.number === "1") {
      const { owner, generation } = JSON.parse(record.afterJson ?? "");
      if (JSON.parse(record.beforeJson ?? "").hash !== before) wrong.push(`${at}: another life before`);
      before = sha256(`blueflame audit chain 1\n${owner}\n${generation}\n`);
    }
    if (Buffer.from(record.previous ?? "", "base64").toString("hex") !== before)
      wrong.push(`${at}: another one before`);
    before = sha256(Uint8Array.from(bytes));
    heads.set(`${record.generation} ${record.number}`, before);
  }
  for (const { generation, head } of header.chains)
    if (heads.get(`${generation} ${head.number}`) !== head.hash) wrong.push(`the end of ${generation}`);
  for (const { generation, number: n, hash, signedAtMs, signature } of header.signed) {
    const text = `blueflame audit head 1\n${header.nodeId}\n${generation}\n${n}\n${hash}\n${signedAtMs}\n`;
    const key = { key: header.hubKey, dsaEncoding: "ieee-p1363" } as const;
    if (!verify("sha256", Buffer.from(text), key, Buffer.from(signature, "base64")))
      wrong.push(`the signature of ${n}`);
    if (heads.get(`${generation} ${n}`) !== hash) wrong.push(`record ${n} is not what was signed`);
  }
  return wrong;
}

let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "bf-stranger-"));
});
afterEach(async () => {
  vi.restoreAllMocks();
  await rm(dir, { recursive: true, force: true });
});

/** Two lives of records with all that a record may carry, the first countersigned. */
async function exported(): Promise<string[]> {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const around = { clock: new VirtualClock(), random: Math.random, defaultNodeId: "n1", bootId: "b" };
  for (const generation of [1, 2]) {
    const store = await openAgentStore(dir, { ...around, nodeId: "n1" });
    for (let n = 0; n < 6; n++) {
      const fact = create(AuditRecordSchema, {
        id: `r${generation}-${n}`,
        at: timestampFromMs(n === 0 ? -1_500 : 1_800_000_000_000 + n * 7),
        actor: "person:zoë",
        action: "test.act",
        because: n % 2 ? "a reason of more than a hundred and twenty-seven bytes: ".repeat(3) : "",
        outcome: [AuditOutcome.UNSPECIFIED, AuditOutcome.FAILURE, AuditOutcome.REFUSED][n % 3] ?? AuditOutcome.SUCCESS,
        took: durationFromMs([0, 20, 61_007][n % 3] ?? 0),
        incidentId: n % 2 ? "i" : "",
        beforeJson: '{"phase":"running"}',
      });
      await store.appendAudit([fact]);
    }
    const link = store.auditHead();
    if (!link) throw new Error("there are records");
    const key = { key: privateKey, dsaEncoding: "ieee-p1363" } as const;
    const signature = sign("sha256", headText("n1", link, 5), key).toString("base64");
    await store.countersigned({ ...link, signedAtMs: 5, signature }, hubKeyPem(publicKey));
    await store.close();
    if (generation === 1) await mendStore(dir, { ...around, actor: "test", isAtRest: () => false }, { is: "newLife" });
  }
  let printed = "";
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    printed += String(text);
    return true;
  });
  await auditExport({ dataDir: dir, headers: true });
  vi.restoreAllMocks();
  return printed.trim().split("\n");
}

test("PHX-11 whoever has an export and its documented format finds every change of it, with node:crypto and nothing of ours", async () => {
  const lines = await exported();
  expect(lines).toHaveLength(16);
  expect(stranger(lines)).toEqual([]);
  for (const n of lines.keys()) {
    if (n === 0) continue;
    const edited = lines.with(n, (lines[n] ?? "").replace(/"id":"(.)/, '"id":"x$1'));
    expect(stranger(edited), `edit of line ${n}`).not.toEqual([]);
    expect(stranger(lines.toSpliced(n, 1)), `cut of line ${n}`).not.toEqual([]);
  }
  const [header = ""] = lines;
  const forged = header.replace('"signedAtMs":5', '"signedAtMs":6');
  expect(stranger(lines.with(0, forged))).toEqual([expect.stringContaining("the signature")]);
});
