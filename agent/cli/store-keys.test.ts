// The keys of a store, as a person types it: nothing is made where there was nothing, and no private key is taken.
import { generateKeyPairSync } from "node:crypto";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { openAgentStore } from "../store/agent-store.ts";
import { entrust, openWith, rotateKey } from "./store-keys.ts";

let dir = "";
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-store-keys-"));
  vi.spyOn(process.stdout, "write").mockReturnValue(true);
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(dir, { recursive: true, force: true });
});

test("PHX-9 store entrust took a private key without a word: the key of the whole fleet lay on the node", async () => {
  const store = await openAgentStore(dir, { clock: realClock(), random: Math.random, nodeId: "n1", bootId: "b" });
  await store.close();
  const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const options = { dataDir: dir, headers: true, nobody: false };
  const file = join(dir, "escrow.pem");
  for (const secret of [
    privateKey.export({ type: "pkcs8", format: "pem" }),
    privateKey.export({ type: "pkcs1", format: "pem" }),
    `${publicKey.export({ type: "spki", format: "pem" })}${privateKey.export({ type: "pkcs8", format: "pem" })}`,
  ]) {
    writeFileSync(file, secret);
    const refused: unknown = await entrust(file, options).catch((error: unknown) => error);
    expect(String(refused)).toMatch(/\[BAD_REQUEST\].*private key.*openssl pkey -in .*escrow\.pem' -pubout/);
  }
  expect(existsSync(join(dir, "store.escrow.pem"))).toBe(false);
  writeFileSync(file, publicKey.export({ type: "spki", format: "pem" }));
  await entrust(file, options);
  expect(existsSync(join(dir, "store.escrow.pem"))).toBe(true);
});

test("a change of the key made a directory that never was, and said that its store is gone", async () => {
  const dataDir = join(dir, "never");
  const key = join(dir, "key");
  writeFileSync(key, Buffer.alloc(32, 1));
  for (const command of [
    () => rotateKey({ dataDir, headers: true, kek: false }),
    () => openWith(key, { dataDir, headers: true }),
  ]) {
    const refused: unknown = await command().catch((error: unknown) => error);
    expect(String(refused)).toMatch(/\[DATA_DIR_UNUSABLE\].*--data-dir/);
  }
  expect(existsSync(dataDir)).toBe(false);
});
