import { seeded } from "@blueflame/shared/random/random.ts";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { type Columns, notKnown, type Row } from "./features.ts";
import {
  beginTraining,
  type Forest,
  forestOf,
  score,
  type Training,
  trainedLeast,
  trainSome,
  treesMax,
} from "./forest.ts";
import { buildTree, expectedPath, levels, meanPath } from "./tree.ts";

/** Normal noise by Box and Muller. */
function noise(seed: number): () => number {
  const random = seeded(seed);
  return () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Rows of a calm workload: latencies move together, the rest by itself. */
function calm(count: number, seed: number): Row[] {
  const g = noise(seed);
  return Array.from({ length: count }, () => {
    const load = Math.exp(0.3 * g());
    return [
      40 * load,
      90 * load,
      150 * load * Math.exp(0.2 * g()),
      0,
      100 + 10 * g(),
      0.3 + 0.05 * g(),
      400 + 10 * g(),
    ];
  });
}

function columnsOf(rows: readonly Row[]): Columns {
  return [0, 1, 2, 3, 4, 5, 6].map((feature) => rows.map((row) => row[feature] ?? notKnown));
}

function grown(rows: readonly Row[], seed: number, slice = treesMax): Forest {
  let training: Training | undefined = beginTraining(columnsOf(rows), seed);
  for (let n = 0; n < treesMax; n += slice) training = training && trainSome(training, slice);
  const forest = training && forestOf(training);
  if (!forest) throw new Error("not grown");
  return forest;
}

/** The chance that an outlier scores above a calm row: the area under the ROC curve. */
function auc(high: readonly number[], low: readonly number[]): number {
  const wins = high.flatMap((a) => low.map((b) => (a > b ? 1 : a === b ? 0.5 : 0)));
  return wins.reduce((sum: number, one) => sum + one, 0) / wins.length;
}

test.each([1, 2, 3])("PRA-8 the forest tells a row with one feature out from calm ones, seed %i", (seed) => {
  const forest = grown(calm(1024, seed), seed);
  const others = calm(300, seed + 100);
  const usual = others.map((row) => score(forest, row));
  for (const [feature, value] of [
    [0, 400],
    [3, 0.1],
    [4, 5],
    [5, 0.95],
    [6, 600],
  ] as const) {
    const out = others.map((row) => score(forest, row.with(feature, value)));
    expect(auc(out, usual), `feature ${feature}`).toBeGreaterThan(0.98);
    expect(out.filter((one) => one > forest.threshold).length).toBeGreaterThanOrEqual(297);
  }
});

test.each([1, 2, 3])(
  "PRA-8 contamination 0.1: a tenth of the training rows lies above the threshold, seed %i",
  (seed) => {
    const rows = calm(1000, seed);
    const forest = grown(rows, seed);
    const above = rows.filter((row) => score(forest, row) > forest.threshold).length;
    expect(above).toBeGreaterThan(60);
    expect(above).toBeLessThan(140);
  },
);

test("PRA-8 fewer than 64 rows, or rows that know nothing, train no forest", () => {
  expect(beginTraining(columnsOf(calm(trainedLeast - 1, 1)), 1)).toBeUndefined();
  expect(beginTraining(columnsOf(calm(trainedLeast, 1)), 1)).toBeDefined();
  expect(beginTraining(columnsOf(calm(200, 1).map((row) => row.map(() => notKnown))), 1)).toBeUndefined();
  expect(
    beginTraining(
      columnsOf([]).map(() => null),
      1,
    ),
  ).toBeUndefined();
});

test("PRA-8 the same seed grows the same forest in slices of any size, and another seed another one", () => {
  const rows = calm(300, 4);
  const at = grown(rows, 9);
  expect(grown(rows, 9, 1)).toEqual(at);
  expect(grown(rows, 9, 25)).toEqual(at);
  expect(grown(rows, 10).trees).not.toEqual(at.trees);
  const training = beginTraining(columnsOf(rows), 9);
  if (!training) throw new Error("not begun");
  const before = structuredClone(training);
  trainSome(training, 3);
  expect(training).toEqual(before); // a slice leaves what it was given alone: it may be tried again
});

test("PRA-8 a forest is a few tens of KB of JSON, and scores the same after it was read back", () => {
  for (const rows of [calm(1024, 5), calm(1024, 5).map((): Row => [-1, -1, -1, 0, -1, 0.01, 55])]) {
    const forest = grown(rows, 5);
    const text = JSON.stringify(forest);
    expect(text.length).toBeLessThan(60_000);
    const back = JSON.parse(text) as Forest;
    for (const row of rows.slice(0, 50)) expect(score(back, row)).toBe(score(forest, row));
  }
});

test("PRA-8 the farther out, the higher the score; nothing is hidden behind the largest value ever seen", () => {
  const forest = grown(calm(1024, 6), 6);
  const row = calm(1, 60)[0] ?? [];
  const scores = [0, 0.05, 0.5, 5].map((errors) => score(forest, row.with(3, errors)));
  expect(scores).toEqual([...scores].sort((a, b) => a - b));
  expect(new Set(scores).size).toBe(scores.length);
});

test("PRA-8 scores and threshold lie between 0 and 1 whatever the figures are", () => {
  const value = fc.oneof(fc.double({ noNaN: true, min: 0, max: 1e12 }), fc.constantFrom(notKnown, 0, 1e-9));
  const row = fc.array(value, { minLength: 7, maxLength: 7 });
  fc.assert(
    fc.property(fc.array(row, { minLength: 64, maxLength: 90 }), row, fc.integer(), (rows, other, seed) => {
      const training = beginTraining(columnsOf(rows), seed);
      const forest = training && forestOf(trainSome(training, treesMax));
      if (!forest) return;
      for (const one of [score(forest, other), forest.threshold]) {
        expect(one).toBeGreaterThanOrEqual(0);
        expect(one).toBeLessThanOrEqual(1);
      }
    }),
    { seed: 8, numRuns: 30 },
  );
});

test("a tree as text is the tree: walked letter by letter as told in its description, each row has the same path", () => {
  const row = fc.array(fc.nat(levels - 1), { minLength: 3, maxLength: 3 }).map((places) => Uint16Array.from(places));
  fc.assert(
    fc.property(fc.array(row, { minLength: 1, maxLength: 256 }), fc.integer(), (rows, seed) => {
      const tree = buildTree(rows, seeded(seed));
      const { root, rest } = unpacked(tree, (tree.length - 1) / 5);
      expect(rest).toBe("");
      for (const one of rows) expect(expectedPath(tree, one)).toBeCloseTo(pathIn(root, one), 9);
    }),
    { seed: 8, numRuns: 100 },
  );
});

test("c(n) is the mean path of the paper", () => {
  expect([1, 2].map(meanPath)).toEqual([0, 1]);
  expect(meanPath(256)).toBeCloseTo(10.2448, 3);
});

type Node = { leaf: number } | { feature: number; cut: number; left: Node; right: Node };

/** Reads a tree by its description alone, another way than the product does. */
function unpacked(tree: string, inner: number): { root: Node; rest: string } {
  const bits = (letter = "A") => "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".indexOf(letter);
  const words = (tree.slice(0, 4 * inner).match(/.{4}/g) ?? []).map((four) =>
    [...four].reduce((word, letter) => word * 64 + bits(letter), 0),
  );
  let leaves = tree.slice(4 * inner);
  const read = (own: readonly number[]): Node => {
    const [word, ...rest] = own;
    if (word === undefined) {
      const leaf = (bits(leaves[0]) * meanPath(256)) / 63;
      leaves = leaves.slice(1);
      return { leaf };
    }
    const left = Math.floor(word / 2 ** 17);
    const feature = Math.floor(word / 2 ** 14) % 8;
    return { feature, cut: word % 2 ** 14, left: read(rest.slice(0, left)), right: read(rest.slice(left)) };
  };
  return { root: read(words), rest: leaves };
}

function pathIn(node: Node, row: Uint16Array): number {
  if ("leaf" in node) return node.leaf;
  return 1 + pathIn((row[node.feature] ?? 0) < node.cut ? node.left : node.right, row);
}
