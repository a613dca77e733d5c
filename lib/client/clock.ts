import { MAX_TIMEOUT_MS } from './times.js';

/** Time and chance. */
export interface Clock {
  /** Milliseconds since 1970. Somebody may set this clock, also back. */
  now(): number;
  /** Milliseconds since some moment, which only grow. They may stand still while the machine sleeps. */
  uptime(): number;
  /** From 0 to less than 1. */
  random(): number;
  setTimeout(run: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
}

/** The option of a client that gives it another clock, for tests. A symbol, so that no error lists it. */
export const CLOCK: unique symbol = Symbol.for('nestjs-messaging:clock');

/** The ones of the platform. */
export const realClock: Clock = {
  now: () => Date.now(),
  uptime: () => performance.now(),
  random: () => Math.random(),
  setTimeout: (run, ms) => setTimeout(run, Math.min(ms, MAX_TIMEOUT_MS)),
  clearTimeout: (timer) => clearTimeout(timer as number),
};

/**
 * Measures from now on. The clock that has gone on further counts: the time of day may be set back, and
 * in most browsers `performance.now()` stands still while the machine sleeps. A time of day that is set forward makes it
 * too long.
 *
 * @returns says how long ago that was, in milliseconds
 */
export function stopwatch(clock: Clock): () => number {
  const startedAt = clock.now();
  const uptime = clock.uptime();
  return () => Math.max(clock.now() - startedAt, clock.uptime() - uptime);
}
