// The client's waits, and other numbers, in one file that imports nothing: bundlers then write each number where it is used.

/** How long a stream that is being opened may stay silent. */
export const OPEN_TIMEOUT_MS = 15_000;
/** How long the server may take to answer a change. */
export const ANSWER_TIMEOUT_MS = 30_000;
/** How long a wake-up leaves a stream alone that is being opened. */
export const PATIENCE_MS = 5_000;
/** A stream that was ready for this long, or has brought a message, was worth opening. */
export const LASTING_MS = 10_000;
/** A timer that goes off this late says nothing about the server. */
export const LATE_MS = 500;
/** How long a stream stays open of which nothing is wanted any more. */
export const IDLE_MS = 5_000;
/** The longest time for which a server may keep a client away. */
export const LONGEST_RETRY_AFTER_MS = 300_000;
/** The longest time that a timer can take: 31 bits of milliseconds. */
export const MAX_TIMEOUT_MS = 2_147_483_647;

/** The most characters that one event may have; without a bound a stream could fill the memory. */
export const MAX_EVENT_CHARACTERS = 16_777_216;

/** The longest wait after the first failure; it doubles with each further one. */
export const FIRST_MS = 500;
/** After this many failures, a minute or more, waits get longer: most outages are over by then. */
export const EAGER_FAILURES = 80;
export const LONGEST_EAGER_MS = 5_000;
/** The same if no server has answered: so a network that is back is found soon, and until then attempts disturb nobody. */
export const LONGEST_UNANSWERED_MS = 1_500;
export const LONGEST_MS = 30_000;
/**
 * How soon after a failure an attempt may come if somebody is in a hurry. Without it, an application that asks for one after
 * each failure would never pause.
 */
export const HURRIED_MS = 250;
