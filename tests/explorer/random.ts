// Random numbers that are the same in each run.

/** Return a function that returns a whole number from 0 to below its argument. */
export function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    // The constants of Numerical Recipes; the high bits are the random ones.
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
