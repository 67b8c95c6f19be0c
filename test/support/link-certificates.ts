import "reflect-metadata";
import { webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";

/** A certificate with its key, and the CA that its holder trusts. PEM texts. */
export interface Papers {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** A throw-away CA, with the freedom to issue what a real one must not: certificates of yesterday and of tomorrow. */
export interface TestAuthority {
  readonly ca: string;
  hub(life?: Life, address?: string): Promise<Papers>;
  node(id: string, life?: Life): Promise<Papers>;
}

/** From and to, in milliseconds from now. */
export interface Life {
  readonly fromMs: number;
  readonly toMs: number;
}

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const hour = 3_600_000;

export async function testAuthority(name = "test CA"): Promise<TestAuthority> {
  x509.cryptoProvider.set(webcrypto);
  const now = Date.now();
  const keys = await newKeys();
  const own = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: "01",
    name: `CN=${name}`,
    notBefore: new Date(now - 1000 * hour),
    notAfter: new Date(now + 1000 * hour),
    signingAlgorithm: algorithm,
    keys,
    extensions: [new x509.BasicConstraintsExtension(true, 0, true)],
  });
  const ca = own.toString("pem");
  let serial = 1;
  const leaf = async (names: x509.JsonGeneralNames, usage: string, life: Life): Promise<Papers> => {
    serial += 1;
    const pair = await newKeys();
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: serial.toString(16).padStart(4, "0"),
      subject: "CN=leaf",
      issuer: own.subject,
      notBefore: new Date(now + life.fromMs),
      notAfter: new Date(now + life.toMs),
      signingAlgorithm: algorithm,
      publicKey: pair.publicKey,
      signingKey: keys.privateKey,
      extensions: [
        new x509.ExtendedKeyUsageExtension([usage]),
        new x509.SubjectAlternativeNameExtension(names),
        await x509.AuthorityKeyIdentifierExtension.create(keys.publicKey),
      ],
    });
    const key = await webcrypto.subtle.exportKey("pkcs8", pair.privateKey);
    return { ca, cert: certificate.toString("pem"), key: x509.PemConverter.encode(key, "PRIVATE KEY") };
  };
  const good = { fromMs: -hour, toMs: hour };
  return {
    ca,
    hub: (life = good, address = "127.0.0.1") =>
      leaf([{ type: "ip", value: address }], x509.ExtendedKeyUsage.serverAuth, life),
    node: (id, life = good) =>
      leaf([{ type: "url", value: `spiffe://blueflame/node/${id}` }], x509.ExtendedKeyUsage.clientAuth, life),
  };
}

async function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]) as Promise<webcrypto.CryptoKeyPair>;
}
