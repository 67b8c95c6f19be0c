import { catalogue } from "@blueflame/shared/errors/fault.ts";
import { expect, test } from "vitest";
import { allDead, dead, well } from "../../test/support/node-findings.ts";
import type { Findings, KeyFound, SecretFound } from "./findings.ts";
import { plan } from "./plan.ts";
import { outcomeOf } from "./report.ts";
import { type Done, type Step, wordsOf } from "./steps.ts";

const closed = (code: string, because = "there is no key for the store in '/d'") =>
  ({ ...well.store, is: "closed", code, because }) as const;
const keyed = (change: Partial<KeyFound>): KeyFound => ({ ...well.key, ...change });
const did = (step: Step, ok = true, because = "done"): Done => ({ step, ok, because });
const waited = did({ do: "awaitStore", forMs: 3000 }, false, "");
const planned = (change: Partial<Findings>, done: readonly Done[] = []) => plan({ ...well, ...change }, done);
const stepsOf = (change: Partial<Findings>, done: readonly Done[] = []) => planned(change, done).steps.map(wordsOf);
const outcome = (change: Partial<Findings>, done: readonly Done[] = []) =>
  outcomeOf({ ...planned(change, done), first: [], done, would: [] });
const loose: SecretFound = {
  path: "/d/store.key",
  is: "loose",
  because: "mode 640, owner 0",
  opens: "store",
  mode: 0o640,
  uid: 0,
};

test.each([
  ["is missing", "STORE_KEY_MISSING", "missing"],
  ["is empty", "STORE_KEY_UNREADABLE", "empty"],
  ["is cut", "STORE_KEY_UNREADABLE", "no-key"],
  ["is another store's", "STORE_KEY_WRONG", "another"],
] as const)(
  "SYN-5 a store whose key %s: the node is guarded, and a person is told the code and what to type",
  (_title, code, is) => {
    const found = { store: closed(code), key: keyed({ is }) };
    // All dead: they are started all the same, for an agent guards from memory.
    expect(stepsOf({ ...allDead, ...found })).toEqual(["startAll watchdog"]);
    // The key may have been put back in this second.
    expect(stepsOf(found)).toEqual(["awaitStore 3000"]);
    const { steps, troubles, verdicts } = planned(found, [waited]);
    expect([steps, outcome(found, [waited])]).toEqual([[], "broken"]);
    expect(troubles.map((trouble) => trouble.code)).toEqual([code]);
    expect(Object.keys(catalogue)).toContain(code);
    const [trouble] = troubles;
    const aside = is === "missing" ? [] : ["mv /d/store.key /d/store.key.aside"];
    expect(trouble?.commands.filter((line) => !line.startsWith("#"))).toEqual([
      ...aside,
      "/bin/bf emergency --data-dir /d",
    ]);
    expect(trouble?.commands).toContain("# install -m 600 -o 0 -g 0 COPY /d/store.key");
    expect(trouble?.commands).toContain("# /bin/bf store restore --empty --data-dir /d");
    expect(verdicts.find(({ part }) => part === "store")).toMatchObject({
      state: "broken",
      saw: expect.stringContaining("the agent (pid 2) guards the workloads from memory meanwhile"),
    });
  },
);

test("SYN-5 a store that its agent opened meanwhile is well again, and nobody is needed", () => {
  expect(outcome({}, [did({ do: "awaitStore", forMs: 3000 })])).toBe("mended");
});

test("SYN-5 whom the store is entrusted to may open it, and an earlier key what lies at the hub", () => {
  const store = closed("STORE_KEY_MISSING");
  const commands = (change: Partial<Findings>) =>
    planned({ store, ...change }, [waited]).troubles[0]?.commands.join("\n");
  const entrusted = keyed({ is: "missing", entrusted: "escrow:1a2b" });
  expect(commands({ key: entrusted })).toContain("(escrow:1a2b)");
  expect(commands({ key: entrusted })).toContain("# /bin/bf store open-with PRIVATE.pem --data-dir /d");
  expect(commands({ key: keyed({ is: "missing" }) })).not.toContain("PRIVATE.pem");
  // The wrapped keys beside the store are gone too: it may be.
  expect(commands({ key: keyed({ is: "missing", sealed: false }) })).toContain("PRIVATE.pem");
  const link: SecretFound = { path: "/k", is: "well", because: "", opens: "link" };
  expect(commands({ secrets: [link] })).toContain("--from-hub --config /etc/bf.yaml --open-with EARLIER.key");
  expect(commands({})).toContain("# /bin/bf store open-with EARLIER.key --data-dir /d");
  expect(commands({ store: { ...store, snapshots: 0 } })).not.toContain("EARLIER");
});

test("SYN-5 a key that the service manager has is no lost key: by hand nobody sees it, and the start by init opens the store", () => {
  const start = { by: "init", unit: "blueflame-agent.service", user: false } as const;
  const credential = "/etc/credstore.encrypted/blueflame-store-key";
  const key = keyed({ is: "missing", credential });
  const resting = { ...allDead, start, key, store: closed("STORE_KEY_MISSING") };
  expect(stepsOf(resting)).toEqual(["startAll init"]);
  expect(planned({ ...resting, word: "down" }).troubles).toEqual([]);
  // Its agent could not open it: then it is the wrong one.
  const [trouble] = planned({ start, key, store: closed("STORE_KEY_WRONG") }, [waited]).troubles;
  expect(trouble?.code).toBe("STORE_KEY_WRONG");
  expect(trouble?.commands.filter((line) => !line.startsWith("#"))).toEqual([
    "systemctl restart blueflame-agent.service",
    "/bin/bf emergency --data-dir /d",
  ]);
  expect(planned({ key }).troubles).toEqual([]);
  // A file that is no key is in the way of a good credential.
  const empty = { start, key: keyed({ is: "empty", credential }), store: closed("STORE_KEY_UNREADABLE") };
  expect(planned(empty, [waited]).troubles[0]?.commands).toContain("mv /d/store.key /d/store.key.aside");
});

test("SYN-5 a damaged store that cannot be mended without its key asks for the key, not for an empty store", () => {
  const store = { ...well.store, is: "damaged", code: "STORE_DAMAGED", because: "a table is cut" } as const;
  const found = { ...allDead, store, key: keyed({ is: "missing" }) };
  const failed = did({ do: "mendStore" }, false, "[STORE_KEY_MISSING] there is no key in '/d'. Put `store.key` back");
  expect(stepsOf(found, [failed])).toEqual(["startAll watchdog"]);
  const [trouble] = planned({ ...found, word: "down" }, [failed]).troubles;
  expect(trouble).toMatchObject({ code: "STORE_KEY_MISSING", because: "a table is cut; there is no key in '/d'" });
  expect(trouble?.commands).not.toContain("/bin/bf store restore --empty --data-dir /d");
});

test("SYN-5 a store key that others may read is closed, whoever has the store, and that it was open is said", () => {
  const found = { secrets: [loose], store: closed("STORE_KEY_LOOSE") };
  expect(stepsOf(found)).toEqual(["setMode /d/store.key 600"]);
  expect(stepsOf({ secrets: [loose] })).toEqual(["setMode /d/store.key 600"]);
  const done = [did({ do: "setMode", path: "/d/store.key", mode: 0o600, from: 0o640 })];
  const secrets = [{ ...loose, is: "well" as const }];
  expect(outcome({ secrets }, done)).toBe("mended");
  expect(planned({ secrets }, done).verdicts.find(({ part }) => part === "secrets")?.saw).toContain(
    "store rotate-key --kek",
  );
  // Where nobody could close it, that is told once.
  const refused = [did({ do: "setMode", path: "/d/store.key", mode: 0o600, from: 0o640 }, false, "EPERM"), waited];
  const { troubles } = planned(found, refused);
  expect(troubles.map(({ code }) => code)).toEqual(["STORE_KEY_LOOSE"]);
  expect(troubles[0]?.commands).toContain("sudo chmod 600 /d/store.key");
});

test("SYN-5 an empty store key is never taken for the link's: nobody is told to write a certificate's key over it", () => {
  for (const is of ["empty", "missing"] as const) {
    const { troubles, steps } = planned({ secrets: [{ ...loose, is }] });
    expect([troubles, steps]).toEqual([[], []]);
  }
});

test("SYN-5 a key that is gone under an agent that lives is told while that agent can still give the store another one", () => {
  for (const [is, code] of [
    ["missing", "STORE_KEY_MISSING"],
    ["empty", "STORE_KEY_UNREADABLE"],
    ["another", "STORE_KEY_WRONG"],
  ] as const) {
    const { troubles, verdicts } = planned({ key: keyed({ is }) });
    expect(troubles.map((trouble) => trouble.code)).toEqual([code]);
    expect(troubles[0]?.commands).toContain("/bin/bf store rotate-key --kek --data-dir /d");
    expect(verdicts.find(({ part }) => part === "store")?.state).toBe("broken");
  }
  // A store of before it was sealed has none.
  expect(planned({ key: keyed({ is: "missing", sealed: false }) }).troubles).toEqual([]);
});

test("an agent that does not start without its memory leaves both troubles to a person", () => {
  const found = { ...allDead, agent: dead, store: closed("STORE_KEY_MISSING"), key: keyed({ is: "missing" }) };
  const done = [did({ do: "startAll", by: "watchdog" }, false, "none has answered"), did({ do: "startAgent" }, false)];
  expect(planned(found, done).troubles.map(({ code }) => code)).toEqual(["STORE_KEY_MISSING", "AGENT_UNREACHABLE"]);
});
