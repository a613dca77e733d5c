// What user code may throw, and how. All of it is legal JavaScript.

class RenderingFails extends Error {
  override get message(): string {
    throw new Error('the message of an error threw');
  }

  override get stack(): string {
    throw new Error('the stack of an error threw');
  }

  override toString(): string {
    throw new Error('the text of an error threw');
  }
}

const everythingThrows = new Proxy(
  {},
  Object.fromEntries(
    Object.getOwnPropertyNames(Reflect).map((trap) => [
      trap,
      () => {
        throw new Error(`the trap ${trap} threw`);
      },
    ]),
  ),
);

function revokedProxy(): unknown {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

function ownCause(): Error {
  const error = new Error('is its own cause');
  error.cause = error;
  return error;
}

/** Thrown in turn. */
const THROWN: readonly (() => unknown)[] = [
  () => new Error('an error'),
  () => 'a text',
  () => undefined,
  () => null,
  () => Symbol('a symbol'),
  () => 7n,
  () => Number.NaN,
  () => Object.create(null) as unknown,
  () => ({ toString: fail, [Symbol.toPrimitive]: fail, toJSON: fail }),
  () => new RenderingFails(),
  () => everythingThrows,
  revokedProxy,
  () => new Error('two\nlines, an escape \u001b[31m and a null \0'),
  () => new Error('x'.repeat(100_000)),
  ownCause,
  () => new AggregateError([new Error('one'), everythingThrows], 'several'),
  () => Object.assign(new Error('with a status'), { status: 999, getStatus: fail, getResponse: fail }),
  () => Object.freeze(new Error('frozen')),
  () => thenableThatThrows(),
];

let turn = 0;
/** Where something was thrown last, because not every thrown value shows it. */
const origins = new Map<unknown, string>();

/** Throws something different each time. */
export function fail(): never {
  const thrown = THROWN[turn++ % THROWN.length]!();
  const { stack = '' } = new Error();
  if (origins.size > 100) origins.clear();
  origins.set(thrown, stack.split('\n').slice(2, 9).join('\n'));
  throw thrown;
}

/** Where a value was thrown, if {@link fail} has thrown it. */
export function originOf(thrown: unknown): string | undefined {
  return origins.get(thrown);
}

/** `then` throws when called. */
export function thenableThatThrows(): PromiseLike<never> {
  // oxlint-disable-next-line unicorn/no-thenable -- that is what it is for
  return { then: fail };
}

/** `then` throws when read. */
export function thenGetterThatThrows(): PromiseLike<never> {
  // oxlint-disable-next-line unicorn/no-thenable
  return Object.defineProperty({}, 'then', { get: fail }) as PromiseLike<never>;
}

/** Settles twice, then throws. */
function thenableOfTwoMinds(): PromiseLike<never> {
  return {
    // oxlint-disable-next-line unicorn/no-thenable
    then: ((resolve: (value: unknown) => void, reject: (error: unknown) => void) => {
      resolve(true);
      reject(new Error('too late'));
      fail();
    }) as PromiseLike<never>['then'],
  };
}

export function never(): Promise<never> {
  return new Promise<never>(() => {});
}

/** Functions that fail in every way in which a function can. */
export const FAILURES: readonly (() => unknown)[] = [
  fail,
  async () => fail(),
  async () => {
    await Promise.resolve();
    fail();
  },
  thenableThatThrows,
  thenGetterThatThrows,
  thenableOfTwoMinds,
  never,
];

/** Values that are not messages, or not valid ones. */
export function hostileMessage(index: number, body: unknown): unknown {
  const makers: readonly (() => unknown)[] = [
    () => Object.defineProperty({}, 'secret', { get: fail, enumerable: true }),
    () => ({ toJSON: fail }),
    () => ({ list: [1, { toJSON: fail }] }),
    () => ({ deep: nested(20_000) }),
    () => ownCause(),
    () => everythingThrows,
    () => revokedProxy(),
    () => fail,
    () => Symbol('no message'),
    () => new Map([[everythingThrows, 1]]),
    () => [new Date(Number.NaN), 10n ** 400n, -0, Number.NaN, /x/u],
    () => thenableThatThrows(),
    () => new WeakMap(),
    () => new Uint8Array(1_100_000),
    () => 'y'.repeat(1_100_000),
    () => Object.create(null) as unknown,
    () => JSON.parse('{"__proto__":{"x":1},"constructor":{"prototype":1}}') as unknown,
    () => '\ud800\u2028\0',
    () => Array.from({ length: 5_000 }, (_, n) => ({ n })),
    () => Object.assign(Array(10_000), { 9_999: 1 }),
    () => body,
  ];
  return makers[index % makers.length]!();
}

function nested(depth: number): unknown {
  let value: unknown = 1;
  for (let level = 0; level < depth; level++) value = [value];
  return value;
}
