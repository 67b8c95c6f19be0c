import "reflect-metadata";
import { webcrypto } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import * as x509 from "@peculiar/x509";
import { type Identity, identityNameMeans, identityUri, isIdentityName } from "./identity.ts";
import { placeFile, replaceFile } from "./place-file.driver.ts";

/** PEM texts of one certificate, its private key, and the CA that signed it. */
export interface IssuedCertificate {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  /** Wall milliseconds. */
  readonly notAfterMs: number;
}

/** The hub's own certificate authority. Its key never leaves `<data>/trust/ca.pem`. */
export interface Authority {
  /** The CA certificate that agents and operators trust, PEM. */
  readonly ca: string;
  /** A new key and certificate; throws BAD_REQUEST for a name that cannot be one. */
  issue(identity: Identity): Promise<IssuedCertificate>;
  /** ECDSA P-256 with SHA-256 by the CA's key, r and s: under words that begin like no certificate does. */
  sign(words: Uint8Array): Promise<Uint8Array>;
  /** The hub's own certificate for these host names and addresses; kept until a third of its life is left. */
  serverCertificate(hosts: readonly string[]): Promise<IssuedCertificate>;
}

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const dayMs = 86_400_000;
const caLifeMs = 3650 * dayMs;
/** Agents and operators cannot renew by themselves yet, so theirs live long; the list of revoked ones ends them early. */
const clientLifeMs = 365 * dayMs;
const serverLifeMs = 90 * dayMs;
/** Certificates count from an hour ago: the clocks of edge machines are late more often than early. */
const backdateMs = 3_600_000;

/**
 * Opens the authority in `<dir>` (mode 0700), and makes it on the first run. Two processes that open it at once get the
 * same one; a crash at any moment leaves a whole one or none. Throws CERT_UNUSABLE when its files are damaged, too open,
 * or gone although the hub has already worked with them.
 */
export async function openAuthority(dir: string, wallMs: () => number): Promise<Authority> {
  x509.cryptoProvider.set(webcrypto);
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const path = join(dir, "ca.pem");
  if (!existsSync(path)) {
    if (existsSync(join(dir, "hub.pem"))) {
      throw new Fault("CERT_UNUSABLE", `'${path}' is gone, and agents trust no other; restore it from a backup`);
    }
    placeFile(path, await makeCa(wallMs()));
  }
  const { key, certificate } = await readPair(path);
  const ca = `${certificate.toString("pem")}\n`;
  const caPath = join(dir, "ca.crt");
  if (!existsSync(caPath) || readFileSync(caPath, "utf8") !== ca) replaceFile(caPath, ca, 0o644);

  const sign = async (request: Leaf) => signLeaf({ certificate, key, ca }, request, wallMs());
  return {
    ca,
    async issue(identity) {
      if (!isIdentityName(identity.name)) {
        throw new Fault("BAD_REQUEST", `'${identity.name}' cannot be a name: ${identityNameMeans}`);
      }
      return sign({
        commonName: identity.name,
        lifeMs: clientLifeMs,
        usage: x509.ExtendedKeyUsage.clientAuth,
        names: [{ type: "url", value: identityUri(identity) }],
      });
    },
    async sign(words) {
      return new Uint8Array(await webcrypto.subtle.sign(algorithm, key, Uint8Array.from(words)));
    },
    async serverCertificate(hosts) {
      const at = join(dir, "hub.pem");
      const kept = existsSync(at) ? await keptServerCertificate(at, ca, hosts, wallMs()) : undefined;
      if (kept) return kept;
      const issued = await sign({
        commonName: "blueflame-hub",
        lifeMs: serverLifeMs,
        usage: x509.ExtendedKeyUsage.serverAuth,
        names: hosts.map((host) => ({ type: isAddress(host) ? "ip" : "dns", value: host }) as const),
      });
      replaceFile(at, issued.key + issued.cert, 0o600);
      return issued;
    },
  };
}

interface Leaf {
  readonly commonName: string;
  readonly lifeMs: number;
  readonly usage: string;
  readonly names: x509.JsonGeneralNames;
}
interface Signer {
  readonly certificate: x509.X509Certificate;
  readonly key: webcrypto.CryptoKey;
  readonly ca: string;
}

async function makeCa(nowMs: number): Promise<string> {
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: "CN=Blue Flame hub CA",
    notBefore: new Date(nowMs - backdateMs),
    notAfter: new Date(nowMs + caLifeMs),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return `${await keyPem(keys.privateKey)}${certificate.toString("pem")}\n`;
}

async function signLeaf(signer: Signer, leaf: Leaf, nowMs: number): Promise<IssuedCertificate> {
  const keys = await newKeys();
  // Never beyond the CA's own end: a chain that outlives its root fails with a confusing message.
  const notAfterMs = Math.min(nowMs + leaf.lifeMs, signer.certificate.notAfter.getTime());
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: `CN=${leaf.commonName}`,
    issuer: signer.certificate.subject,
    notBefore: new Date(nowMs - backdateMs),
    notAfter: new Date(notAfterMs),
    signingAlgorithm: algorithm,
    publicKey: keys.publicKey,
    signingKey: signer.key,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([leaf.usage]),
      new x509.SubjectAlternativeNameExtension(leaf.names),
      await x509.AuthorityKeyIdentifierExtension.create(signer.certificate.publicKey),
    ],
  });
  return {
    ca: signer.ca,
    cert: `${certificate.toString("pem")}\n`,
    key: await keyPem(keys.privateKey),
    notAfterMs,
  };
}

/** The certificate on disk while it still fits: signed by this CA, for all these hosts, with more than a third of its life left. */
async function keptServerCertificate(
  path: string,
  ca: string,
  hosts: readonly string[],
  nowMs: number,
): Promise<IssuedCertificate | undefined> {
  const { pem, certificate } = await readPair(path);
  const names = certificate.getExtension(x509.SubjectAlternativeNameExtension)?.names.toJSON() ?? [];
  const notAfterMs = certificate.notAfter.getTime();
  const fits =
    hosts.every((host) => names.some((name) => name.value === host)) &&
    nowMs > certificate.notBefore.getTime() &&
    notAfterMs - nowMs > serverLifeMs / 3 &&
    (await certificate.verify({ publicKey: new x509.X509Certificate(ca).publicKey, signatureOnly: true }));
  if (!fits) return undefined;
  const end = pem.indexOf("-----BEGIN CERTIFICATE-----");
  return { ca, key: pem.slice(0, end), cert: pem.slice(end), notAfterMs };
}

async function readPair(path: string) {
  try {
    const mode = statSync(path).mode & 0o777;
    // A key that others could read is not repaired in silence: whoever opened it up has to know that it may be out.
    if ((mode & 0o077) !== 0) throw new Error(`mode is 0${mode.toString(8)} instead of 0600`);
    const pem = readFileSync(path, "utf8");
    const [der] = x509.PemConverter.decode(pem.slice(0, pem.indexOf("-----BEGIN CERTIFICATE-----")));
    if (!der) throw new Error("no private key in it");
    const key = await webcrypto.subtle.importKey("pkcs8", der, algorithm, false, ["sign"]);
    return { pem, key, certificate: new x509.X509Certificate(pem.slice(pem.indexOf("-----BEGIN CERTIFICATE-----"))) };
  } catch (cause) {
    const said = cause instanceof Error ? cause.message : String(cause);
    throw new Fault("CERT_UNUSABLE", `cannot use '${path}': ${said}`, { cause });
  }
}

async function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign", "verify"]);
}

async function keyPem(key: webcrypto.CryptoKey): Promise<string> {
  return `${x509.PemConverter.encode(await webcrypto.subtle.exportKey("pkcs8", key), "PRIVATE KEY")}\n`;
}

/** 127 bits of chance: positive, and unique without a register. */
function serial(): string {
  const bytes = webcrypto.getRandomValues(new Uint8Array(16));
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x01;
  return Buffer.from(bytes).toString("hex");
}

function isAddress(host: string): boolean {
  return /^[0-9.]+$/.test(host) || host.includes(":");
}

/** Writes what an agent or a person needs into `dir`: ca.crt, ROLE.crt, and ROLE.key with mode 0600. Returns the paths. */
export function writeIssued(dir: string, role: Identity["role"], issued: IssuedCertificate) {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const paths = { ca: join(dir, "ca.crt"), cert: join(dir, `${role}.crt`), key: join(dir, `${role}.key`) };
  // The key first: a certificate without its key looks complete and is not.
  replaceFile(paths.key, issued.key, 0o600);
  chmodSync(paths.key, 0o600);
  replaceFile(paths.cert, issued.cert, 0o644);
  replaceFile(paths.ca, issued.ca, 0o644);
  return paths;
}
