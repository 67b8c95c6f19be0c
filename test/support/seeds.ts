/** The seeds of a test that tries many: 1 to `usual` in the suite, to `NODE_SEEDS` where somebody wants a longer look. */
export function seedsOr(usual: number): number[] {
  return Array.from({ length: Number(process.env.NODE_SEEDS ?? usual) }, (_, index) => index + 1);
}
