import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { beginChange, credentialName, endChange, findKeks, keyFileOf, makeKeyFile } from "./key-file.ts";

let dataDir: string;
let credentials: string;
beforeEach(() => {
  const dir = mkdtempSync(join(tmpdir(), "bf-key-"));
  dataDir = join(dir, "data");
  credentials = join(dir, "credentials");
  mkdirSync(dataDir);
  mkdirSync(credentials);
});
afterEach(() => rmSync(join(dataDir, ".."), { recursive: true, force: true }));

const find = (more: object = {}) => findKeks({ dataDir, credentials: undefined, ...more });
const code = (run: () => unknown) => {
  try {
    run();
    return "no fault";
  } catch (error) {
    return isFault(error) ? error.code : String(error);
  }
};

test("the file is made for its owner alone and found again; there is none before", () => {
  expect(find()).toEqual([]);
  const made = makeKeyFile(dataDir);
  expect(statSync(keyFileOf(dataDir)).mode & 0o777).toBe(0o600);
  expect(readFileSync(keyFileOf(dataDir), "utf8")).toMatch(/^[0-9a-f]{64}\n$/);
  expect(find()).toEqual([made]);
  expect(code(() => makeKeyFile(dataDir))).toBe("STORE_WRITE_FAILED"); // one that is there is never replaced
});

test.each([0o640, 0o604, 0o660, 0o666, 0o610])("SYN-5 a key file with mode %o is refused by name", (mode) => {
  makeKeyFile(dataDir);
  chmodSync(keyFileOf(dataDir), mode);
  expect(code(find)).toBe("STORE_KEY_LOOSE");
});

test.skipIf(process.getuid?.() !== 0)(
  "a key file of somebody else is refused, that of the folder's owner is not (needs root)",
  () => {
    makeKeyFile(dataDir);
    chownSync(keyFileOf(dataDir), 4242, 4242);
    expect(code(find)).toBe("STORE_KEY_LOOSE");
    chownSync(dataDir, 4242, 4242);
    expect(find()).toHaveLength(1);
    expect(code(() => find({ uid: 4343 }))).toBe("STORE_KEY_LOOSE");
  },
);

test.each(["", "0123", `${"g".repeat(64)}\n`, "x".repeat(33)])(
  "a file that holds no key (%j) is refused by name",
  (text) => {
    writeFileSync(keyFileOf(dataDir), text, { mode: 0o600 });
    expect(code(find)).toBe("STORE_KEY_UNREADABLE");
  },
);

test("a folder in the place of the key is named", () => {
  mkdirSync(keyFileOf(dataDir), { mode: 0o600 });
  expect(code(find)).toBe("STORE_KEY_UNREADABLE");
});

test("the service manager's key comes first, as digits or as bytes; its previous one and the file open too", () => {
  const file = makeKeyFile(dataDir);
  const put = (name: string, bytes: string | Buffer) => writeFileSync(join(credentials, name), bytes, { mode: 0o400 });
  put(credentialName, Buffer.alloc(32, 7));
  put(`${credentialName}-previous`, `${"ab".repeat(32)}\n`);
  const found = find({ credentials });
  expect(found.map(({ is }) => is)).toEqual(["credential", "credential", "file"]);
  expect(found[0]?.bytes).toEqual(new Uint8Array(32).fill(7));
  expect(found[2]?.id).toBe(file.id);
  chmodSync(join(credentials, credentialName), 0o440); // the mask of systemd's access list
  expect(find({ credentials })).toHaveLength(3);
  chmodSync(join(credentials, credentialName), 0o444);
  expect(code(() => find({ credentials }))).toBe("STORE_KEY_LOOSE");
});

test("a change of the file leaves both until it ends, whenever it is cut short", () => {
  const old = makeKeyFile(dataDir);
  const next = beginChange(dataDir);
  expect(find().map(({ id }) => id)).toEqual([old.id, next.id]);
  const again = beginChange(dataDir); // the one before died here
  expect(find().map(({ id }) => id)).toEqual([old.id, again.id]);
  endChange(dataDir);
  expect(find().map(({ id }) => id)).toEqual([again.id]);
  expect(existsSync(`${keyFileOf(dataDir)}.new`)).toBe(false);
  endChange(dataDir);
});

test("the environment is no place for a key", () => {
  process.env.BLUEFLAME_STORE_KEY = "ab".repeat(32);
  try {
    expect(find()).toEqual([]);
  } finally {
    delete process.env.BLUEFLAME_STORE_KEY;
  }
});
