import { X509Certificate } from "node:crypto";
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openAuthority, writeIssued } from "./authority.driver.ts";
import { identityOf } from "./identity.ts";
import { openRevokedList } from "./revoked.driver.ts";

let dir: string;
let nowMs = Date.UTC(2026, 5, 1);
const wallMs = () => nowMs;
beforeEach(() => {
  nowMs = Date.UTC(2026, 5, 1);
  dir = join(mkdtempSync(join(tmpdir(), "bf-trust-")), "trust");
});
afterEach(() => rmSync(join(dir, ".."), { recursive: true }));

const codeOf = (error: unknown) => (isFault(error) ? error.code : String(error));

test("the first start makes a CA that every later start and every other process uses", async () => {
  const [one, other] = await Promise.all([openAuthority(dir, wallMs), openAuthority(dir, wallMs)]);
  const later = await openAuthority(dir, wallMs);
  expect(other.ca).toBe(one.ca);
  expect(later.ca).toBe(one.ca);
  expect(readFileSync(join(dir, "ca.crt"), "utf8")).toBe(one.ca);
  expect(statSync(join(dir, "ca.pem")).mode & 0o777).toBe(0o600);
  expect(statSync(dir).mode & 0o777).toBe(0o700);
});

test("a node's certificate carries its identity, is signed by the CA and is for clients only", async () => {
  const authority = await openAuthority(dir, wallMs);
  const issued = await authority.issue({ role: "node", name: "edge-7" });
  const certificate = new X509Certificate(issued.cert);
  expect(identityOf({ subjectaltname: certificate.subjectAltName })).toEqual({ role: "node", name: "edge-7" });
  expect(certificate.verify(new X509Certificate(authority.ca).publicKey)).toBe(true);
  expect(certificate.ca).toBe(false);
  expect(certificate.keyUsage).toEqual(["1.3.6.1.5.5.7.3.2"]);
  const paths = writeIssued(join(dir, "..", "out"), "node", issued);
  expect(statSync(paths.key).mode & 0o777).toBe(0o600);
});

test("a name that could hide a second identity is refused when it is issued and when it is read", async () => {
  const authority = await openAuthority(dir, wallMs);
  for (const name of ["", "Edge", "a/b", "a, URI:spiffe://blueflame/node/b", "-a", "x".repeat(64)]) {
    expect(codeOf(await authority.issue({ role: "node", name }).catch((error) => error))).toBe("BAD_REQUEST");
  }
  for (const subjectaltname of [
    undefined,
    "",
    "DNS:edge-7",
    "URI:spiffe://other/node/edge-7",
    "URI:spiffe://blueflame/hub/edge-7",
    "URI:spiffe://blueflame/node/edge-7, URI:spiffe://blueflame/node/edge-8",
    'URI:"spiffe://blueflame/node/edge-7"',
  ]) {
    expect(identityOf({ subjectaltname })).toBeUndefined();
  }
});

test("the server certificate is kept until a third of its life is left or a host name is missing", async () => {
  const authority = await openAuthority(dir, wallMs);
  const first = await authority.serverCertificate(["localhost", "127.0.0.1"]);
  expect((await authority.serverCertificate(["127.0.0.1"])).cert).toBe(first.cert);
  const wider = await authority.serverCertificate(["localhost", "127.0.0.1", "hub.example"]);
  expect(wider.cert).not.toBe(first.cert);
  expect(new X509Certificate(wider.cert).subjectAltName).toBe("DNS:localhost, IP Address:127.0.0.1, DNS:hub.example");
  const v6 = await authority.serverCertificate(["localhost", "127.0.0.1", "::1", "fd00::a:b"]);
  expect((await authority.serverCertificate(["::1", "fd00::a:b"])).cert).toBe(v6.cert);
  nowMs += 59 * 86_400_000;
  expect((await authority.serverCertificate(["localhost"])).cert).toBe(v6.cert);
  nowMs += 2 * 86_400_000;
  expect((await authority.serverCertificate(["localhost"])).cert).not.toBe(v6.cert);
});

test("a CA key that others can read, that is damaged or that has gone is refused, never replaced in silence", async () => {
  const authority = await openAuthority(dir, wallMs);
  await authority.serverCertificate(["localhost"]);
  const path = join(dir, "ca.pem");
  const whole = readFileSync(path);
  chmodSync(path, 0o644);
  expect(codeOf(await openAuthority(dir, wallMs).catch((error) => error))).toBe("CERT_UNUSABLE");
  chmodSync(path, 0o600);
  writeFileSync(path, whole.subarray(0, 90));
  expect(codeOf(await openAuthority(dir, wallMs).catch((error) => error))).toBe("CERT_UNUSABLE");
  unlinkSync(path);
  expect(codeOf(await openAuthority(dir, wallMs).catch((error) => error))).toBe("CERT_UNUSABLE");
});

test("an identity or a fingerprint in revoked.txt counts from the next look on, and until it is taken out", async () => {
  const authority = await openAuthority(dir, wallMs);
  const list = openRevokedList(dir);
  const certificate = new X509Certificate((await authority.issue({ role: "node", name: "edge-1" })).cert);
  const has = () => list.has({ role: "node", name: "edge-1" }, certificate.fingerprint256);
  expect(has()).toBe(false);
  const before = list.version();
  writeFileSync(join(dir, "revoked.txt"), "# stolen\nnode/edge-1 # the one in the lobby\n");
  expect(has()).toBe(false);
  list.refresh();
  expect(has()).toBe(true);
  expect(list.version()).toBeGreaterThan(before);
  expect(list.has({ role: "node", name: "edge-2" }, "AA:BB")).toBe(false);
  writeFileSync(join(dir, "revoked.txt"), `${certificate.fingerprint256}\n`);
  list.refresh();
  expect(has()).toBe(true);
  unlinkSync(join(dir, "revoked.txt"));
  list.refresh();
  expect(has()).toBe(false);
});
