import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeHandle } from "@blueflame/shared/store/level/opening.ts";
import { expect, test } from "vitest";
import { Codec } from "./codec.ts";
import { sealedForm } from "./form.ts";
import { unreadableIn } from "./inspect.ts";
import { kekOf } from "./keys/key-file.ts";
import { Ring } from "./keys/ring.ts";

test("a store of which nothing opens is not searched through once for each of its records: a start would take hours", async () => {
  const dir = mkdtempSync(join(tmpdir(), "bf-inspect-"));
  const handle = await makeHandle(dir);
  try {
    const form = sealedForm(new Codec(Ring.make("o", kekOf(Buffer.alloc(32, 1), "test", "file"), undefined, 0)));
    const keys = Array.from({ length: 12 }, (_, at) => `memory/${String(at).padStart(2, "0")}`);
    for (const [at, key] of keys.entries()) {
      const put = form.put(keys[(at + 1) % keys.length] ?? "", Buffer.from("{}"));
      if (put.type === "put") await handle.put(key, put.value);
    }
    const problems = await unreadableIn(handle, form);
    expect(problems.map(({ key }) => key)).toEqual(keys);
    expect(problems.map(({ saw }) => /STORE_RECORD_SWAPPED/.test(saw))).toEqual(keys.map((_, at) => at < 5));
    expect(problems.every(({ saw }) => /STORE_RECORD_(SWAPPED|CHANGED)/.test(saw))).toBe(true);
  } finally {
    await handle.close();
    rmSync(dir, { recursive: true });
  }
});
