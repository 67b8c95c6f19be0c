import { expect, test } from "vitest";
import { choose, type StoreFindings } from "./mend-choice.ts";

const sound: StoreFindings = {
  files: "sound",
  parts: [],
  existed: true,
  opens: true,
  keys: "there",
  unreadable: 0,
  behind: false,
  snapshots: 2,
  copies: 0,
};
const none = { snapshots: 0 };
const damaged = (...parts: StoreFindings["parts"]) => ({ files: "damaged", parts }) as const;

test.each<[string, Partial<StoreFindings>, string]>([
  ["a sound store is left alone", {}, "leave sound"],
  [
    "a first run is left alone: the agent makes its store itself",
    { files: "absent", existed: false, ...none },
    "leave first-run",
  ],
  ["a store that is gone comes back from its snapshot", { files: "absent" }, "restore"],
  ["a store that is gone without a snapshot is never made anew", { files: "absent", ...none }, "refuse STORE_MISSING"],
  ["a broken index costs no record: it is made again", damaged("index"), "repair restore"],
  ["broken newest records are left out, the rest is newer than any snapshot", damaged("log"), "reopen restore repair"],
  ["a broken table would bring older values back: the snapshot is better", damaged("table"), "restore repair"],
  ["a broken table without a snapshot: what is left is kept", { ...damaged("table"), ...none }, "repair"],
  ["index and log: LevelDB's repair takes wrong bytes for right ones", damaged("index", "log"), "restore repair"],
  ["sound files that do not open are repaired", { opens: false }, "repair restore"],
  ["values that nobody can read come back from the snapshot", { unreadable: 3 }, "restore reopen"],
  ["a store that forgot its last opening goes on as another life", { behind: true }, "reopen restore"],
  ["copies do not fill the disk", { ...damaged("index"), copies: 3 }, "refuse STORE_DAMAGED"],
  ["a store that is gone needs no copy", { files: "absent", copies: 3 }, "restore"],
])("SYN-5 SYN-9 %s", (_title, change, expected) => {
  const choice = choose({ ...sound, ...change });
  const said =
    choice.is === "mend"
      ? choice.ways.join(" ")
      : `${choice.is} ${choice.is === "refuse" ? choice.code : choice.because}`;
  expect(said).toBe(expected);
});

test("SYN-5 whatever is found, no way ends in an empty store, and the same findings give the same ways", () => {
  for (const files of ["absent", "sound", "damaged"] as const)
    for (const parts of [[], ["index"], ["log"], ["table"], ["index", "log", "table"]] as const)
      for (const snapshots of [0, 1])
        for (const existed of [true, false])
          for (const copies of [0, 3]) {
            const found = { ...sound, files, parts, snapshots, existed, copies };
            const choice = choose(found);
            expect(choose(found)).toEqual(choice);
            if (choice.is === "mend") expect(choice.ways.length).toBeGreaterThan(0);
            if (choice.is === "leave" && choice.because === "first-run") expect(existed).toBe(false);
          }
});
