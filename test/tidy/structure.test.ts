import { readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { root } from "../../deploy/root.ts";
import { ourCode, ourFiles, textOf } from "./sources.ts";

test("CARD-1 TypeScript; package.json, buf.yaml, proto, agent, hub, shared, test and README.md stand at the top", () => {
  const top = readdirSync(root);
  const wanted = ["package.json", "buf.yaml", "proto", "agent", "hub", "shared", "test", "README.md"];
  expect(wanted.filter((name) => !top.includes(name))).toEqual([]);
  // What is not TypeScript must run before anything is built or installed, or is somebody else's format.
  const plain = ourFiles.filter((path) => /\.(m|c)?jsx?$/.test(path) && !ourCode.includes(path));
  const launchers =
    /(^|\/)bin(\.mjs|\/[a-z-]+\.mjs)$|^shared\/cli\/launch\.mjs$|^test\/bench\/floors\/|^deploy\/pm2\/ecosystem\.config\.cjs$|^\.dependency-cruiser\.mjs$/;
  expect(plain.filter((path) => !launchers.test(path))).toEqual([]);
});

/** Each dependency of the row, what shows that it does its work, and where the only hands on it may be. */
const used: Readonly<Record<string, { readonly sign: RegExp; readonly where: RegExp }>> = {
  "@grpc/grpc-js": { sign: /from "@grpc\/grpc-js"/, where: /^(agent|hub|shared)\/.*\.ts$/ },
  "@bufbuild/protobuf": { sign: /from "@bufbuild\/protobuf"/, where: /^(agent|hub|shared)\/.*\.ts$/ },
  "@bufbuild/buf": { sign: /buf (generate|lint|breaking)/, where: /^package\.json$/ },
  level: { sign: /from "level"/, where: /^shared\/store\/level\/.*\.ts$/ },
  systeminformation: { sign: /import\("systeminformation"\)/, where: /^agent\/sensors\/.*\.driver\.ts$/ },
  vitest: { sign: /from "vitest"/, where: /\.(test|contract)\.ts$/ },
};

const manifests = ourFiles.filter((path) => /(^|\/)package\.json$/.test(path));
const declared = manifests.flatMap((path) => {
  const { dependencies, devDependencies } = JSON.parse(textOf(path)) as Partial<Record<string, Record<string, string>>>;
  return Object.keys({ ...dependencies, ...devDependencies });
});

test.each(Object.entries(used))(
  "CARD-2 %s is a dependency, and does the work it is there for",
  (name, { sign, where }) => {
    expect(declared).toContain(name);
    expect(ourFiles.filter((path) => where.test(path) && sign.test(textOf(path))).length).toBeGreaterThan(0);
  },
);

test.each(["level", "systeminformation"])("CARD-2 %s is opened in one place only", (name) => {
  const rule = used[name];
  const product = ourCode.filter((path) => /^(agent|hub|shared|examples)\//.test(path) && !path.endsWith(".test.ts"));
  expect(product.filter((path) => rule?.sign.test(textOf(path)) && !rule.where.test(path))).toEqual([]);
});
