import { seeded } from "@blueflame/shared/random/random.ts";
import { type Columns, featureNames, features, notKnown, quantile, type Row, type Usual, usualOf } from "./features.ts";
import { buildTree, expectedPath, type Grid, levels, meanPath } from "./tree.ts";

/**
 * An isolation forest: F. T. Liu, K. M. Ting, Z.-H. Zhou, "Isolation Forest" (ICDM 2008). What is unusual is cut off from the
 * rest by few random cuts, so its path from the root is short; the score is 2^(−mean path / c(ψ)), near 1 for what is
 * unusual, under 0.5 for what is not. Two additions, because the memory of a healthy workload is narrow:
 *
 * - A feature that never moved has no place for a cut, and its first move would be invisible. So the training values are
 *   shaken by a tenth of what would matter at least (`leastAway`).
 * - A value beyond all training values falls into the same leaf as the largest of them. So a sample's path is the path that
 *   it is expected to have if it had been there: see `expectedPath` in `tree.ts`.
 */
export interface Forest {
  /** 100 trees as text, see `tree.ts`: 30 to 50 KB together. */
  readonly trees: readonly string[];
  /** How the training values become the integers of the trees; null for a feature that was not known. */
  readonly grid: readonly (Grid | null)[];
  /** How each feature usually is, for the explanation. */
  readonly usual: readonly (Usual | null)[];
  /** So many rows each tree was made of (ψ). */
  readonly subsample: number;
  /** So many rows it was trained on. */
  readonly trainedOn: number;
  /** A tenth of the training rows (contamination 0.1) scores above this. */
  readonly threshold: number;
}

export const treesMax = 100;
const subsampleMax = 256;
/** Fewer rows than this say nothing about what is usual. */
export const trainedLeast = 64;
const contamination = 0.1;
/** Training values are shaken by this part of what matters at least. */
const shake = 0.1;

/** A forest that grows. Lives in memory only: one that was lost begins again. */
export interface Training {
  readonly seed: number;
  readonly rows: readonly Uint16Array[];
  readonly grid: readonly (Grid | null)[];
  readonly usual: readonly (Usual | null)[];
  readonly subsample: number;
  readonly trees: readonly string[];
  /** Sum over the trees of each row's path, for the threshold. */
  readonly paths: Float64Array;
}

/**
 * Begins to train on these rows (at most a few thousand; 1024 take about 3 ms). Undefined when they are fewer than 64, or
 * when no feature is known in half of them. The same rows and seed make the same forest, in slices of any size.
 */
export function beginTraining(columns: Columns, seed: number): Training | undefined {
  const usual = usualOf(columns);
  const count = Math.max(0, ...columns.map((column) => column?.length ?? 0));
  if (count < trainedLeast || usual.every((one) => one === null)) return undefined;
  const random = seeded(seed);
  const grid = usual.map((one, feature) => (one === null ? null : gridOf(one, jitter(feature))));
  const rows = Array.from({ length: count }, (_, index) => {
    const row = columns.map((column) => column?.[index] ?? notKnown);
    const shaken = row.map((value, feature) => (random() - 0.5) * jitter(feature) + value);
    return placesOf(
      shaken.map((value, feature) => (row[feature] === notKnown ? notKnown : value)),
      grid,
      usual,
    );
  });
  const subsample = Math.min(subsampleMax, count);
  return { seed, rows, grid, usual, subsample, trees: [], paths: new Float64Array(count) };
}

/** Grows at most `count` more trees; two take about 1 ms on a small core. Done when {@link forestOf} answers. */
export function trainSome(training: Training, count: number): Training {
  const trees = [...training.trees];
  const paths = training.paths.slice();
  const until = Math.min(treesMax, trees.length + count);
  while (trees.length < until) {
    // A stream of its own for each tree: slices of any size make the same forest.
    const random = seeded(Math.imul(training.seed ^ (trees.length + 1), 0x9e3779b1));
    const tree = buildTree(subsampleOf(training, random), random);
    trees.push(tree);
    training.rows.forEach((row, index) => {
      paths[index] = (paths[index] ?? 0) + expectedPath(tree, row);
    });
  }
  return { ...training, trees, paths };
}

/** The forest, once all its trees have grown. */
export function forestOf(training: Training): Forest | undefined {
  if (training.trees.length < treesMax) return undefined;
  const { trees, grid, usual, subsample } = training;
  const scores = training.paths.map((sum) => scoreOf(sum / treesMax, subsample)).sort();
  const threshold = quantile(scores, 1 - contamination);
  return { trees, grid, usual, subsample, trainedOn: training.rows.length, threshold };
}

/** How unusual a row is: 0 to 1. Unknown values count as usual. Takes about 0.03 ms. */
export function score(forest: Forest, row: Row): number {
  const places = placesOf(row, forest.grid, forest.usual);
  const beyond = row.map((value, index) => beyondBy(value, forest.grid[index] ?? null));
  let sum = 0;
  for (const tree of forest.trees) sum += expectedPath(tree, places, beyond);
  return scoreOf(sum / forest.trees.length, forest.subsample);
}

function scoreOf(path: number, subsample: number): number {
  return 2 ** (-path / meanPath(subsample));
}

/** What may be shaken of a feature without anybody minding. */
function jitter(index: number): number {
  const name = featureNames[index];
  return name === undefined ? 0 : features[name].leastAway * shake;
}

function gridOf(usual: Usual, widthLeast: number): Grid {
  const low = usual.least - widthLeast / 2;
  return { low, step: (usual.most + widthLeast / 2 - low) / (levels - 1) };
}

function placesOf(row: Row, grid: readonly (Grid | null)[], usual: readonly (Usual | null)[]): Uint16Array {
  const places = new Uint16Array(row.length);
  for (let index = 0; index < row.length; index += 1) {
    const one = grid[index];
    if (!one) continue;
    const value = row[index] ?? notKnown;
    const place = Math.floor(((value === notKnown ? (usual[index]?.median ?? 0) : value) - one.low) / one.step);
    places[index] = Math.min(levels - 1, Math.max(0, place));
  }
  return places;
}

/** By how many levels a value lies beyond all that was trained on: above 0 over the top, below 0 under the bottom. */
function beyondBy(value: number, grid: Grid | null): number {
  if (value === notKnown || grid === null) return 0;
  const place = (value - grid.low) / grid.step;
  if (place < 0) return place;
  return Math.max(0, place - levels);
}

/** ψ rows without repetition: the first steps of a Fisher–Yates shuffle. */
function subsampleOf({ rows, subsample }: Training, random: () => number): Uint16Array[] {
  const order = Uint16Array.from(rows, (_, index) => index);
  const chosen: Uint16Array[] = [];
  for (let at = 0; at < subsample; at += 1) {
    const other = at + Math.floor(random() * (order.length - at));
    const picked = order[other] ?? 0;
    order[other] = order[at] ?? 0;
    const row = rows[picked];
    if (row) chosen.push(row);
  }
  return chosen;
}
