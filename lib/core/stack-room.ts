// As arguments, which take 8 bytes each on the stack however far the engine optimises; calls of calls would be inlined.
// 64 kB: below 40 kB, V8 refuses to compile a function that is called for the first time. It takes 4 µs.
const ROOM: readonly undefined[] = Array.from({ length: 8_192 });

/** Whether the end of the stack is far enough for work that must not break off in the middle. */
export function hasStackRoom(): boolean {
  try {
    take(...ROOM);
    return true;
  } catch {
    return false;
  }
}

function take(..._room: readonly undefined[]): void {}
