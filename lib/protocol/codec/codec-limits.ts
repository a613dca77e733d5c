/**
 * How deep a message may be nested, counted in the JSON that carries it. It keeps recursion, here and in whatever
 * reads the message next, far from the end of the stack.
 */
export const MAX_DEPTH = 256;

/** The most digits of one bigint. Parsing them takes time that grows with the square of their number. */
export const MAX_BIGINT_DIGITS = 10_000;

/**
 * The most characters of all regular expressions of one message together. Some engines need 15 µs for each character
 * of a pattern with the flags `vi`, so a pattern of a megabyte would stop a node for a quarter of a minute.
 */
export const MAX_REGEXP_CHARACTERS = 10_000;

/** The most holes of one sparse array: each of them is written out, however little memory it takes in the array. */
export const MAX_HOLES = 10_000;

/**
 * The most numbers that are members of Sets or keys of Maps in one message. Engines hash numbers without a secret, so
 * somebody can choose them to collide, and 10,000 of those already take a tenth of a second, 100,000 ten seconds.
 */
export const MAX_NUMERIC_KEYS = 10_000;
