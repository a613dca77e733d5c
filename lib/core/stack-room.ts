// Passed as arguments, which take 8 bytes each on the stack at any optimisation level; nested calls would be inlined. 64 kB: with less
// than 40 kB, V8 refuses to compile a function that is called for the first time. The check takes 4 µs.
const ROOM: readonly undefined[] = Array.from({ length: 8_192 });

/** Whether enough stack is left for work that must not be interrupted. */
export function hasStackRoom(): boolean {
  try {
    take(...ROOM);
    return true;
  } catch {
    return false;
  }
}

function take(..._room: readonly undefined[]): void {}
