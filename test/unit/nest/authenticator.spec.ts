import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { Authenticator } from '../../../lib/nest/authenticator.js';
import { LoggingReporter } from '../../../lib/nest/logging-reporter.js';
import { resolveOptions } from '../../../lib/nest/validate-options.js';
import type { MessagingOptions } from '../../../lib/nest/messaging-options.js';

const authenticator = (authenticate?: MessagingOptions['authenticate']) =>
  new Authenticator(new LoggingReporter(), resolveOptions(authenticate === undefined ? {} : { authenticate }));
const broken = () => {
  throw new Error('broken');
};

describe('The authenticator', () => {
  const warnings: string[] = [];
  beforeEach(() => {
    warnings.length = 0;
    Logger.overrideLogger({
      log: () => {},
      error: (message: string) => void warnings.push(message),
      warn: (message: string) => void warnings.push(message),
    });
  });
  afterEach(() => {
    Logger.overrideLogger(false);
    jest.useRealTimers();
  });

  test('reads the user that a guard has left with the request', () => {
    const user = { sub: 'ada', scope: 'read write' };
    expect(authenticator().ask({ user })).toEqual({ userId: 'ada', scopes: ['read', 'write'] });
    expect(user).toEqual({ sub: 'ada', scope: 'read write' });
  });

  test.each([undefined, null, false])('reads a user %s as nobody, without a warning', (user) => {
    expect(authenticator().ask({ user })).toBeNull();
    expect(warnings).toEqual([]);
  });

  test('warns once of a user that it cannot read, and names the way to map it', () => {
    const asked = authenticator();
    for (let i = 0; i < 20; i++) expect(asked.ask({ user: { name: 'ada' } })).toBeNull();
    expect(warnings).toEqual([
      "A request's user was taken as nobody: it has no userId, sub or id; tell who it is with the option " +
        '"authenticate" of MessagingModule: authenticate: ({ user }) => user && { userId: String(user.…) }',
    ]);
  });

  test('returns null or undefined for values that throw when they are read', () => {
    const asked = authenticator();
    expect(asked.ask({ user: Object.defineProperty({}, 'userId', { get: broken }) })).toBeNull();
    expect(asked.ask({ user: new Proxy({}, { get: broken }) })).toBeUndefined();
    expect(asked.ask(Object.defineProperty({}, 'user', { get: broken }))).toBeUndefined();
    expect(authenticator(broken).ask({})).toBeUndefined();
    expect(warnings.every((line) => line.includes('broken'))).toBe(true);
    expect(warnings).toHaveLength(4);
  });

  test('waits for a slow answer', async () => {
    const asked = authenticator(async (request: { token: string }) => Promise.resolve({ userId: request.token }));
    await expect(asked.ask({ token: 'ada' })).resolves.toEqual({ userId: 'ada' });
  });

  test('returns nothing for a rejection', async () => {
    const asked = authenticator(() => Promise.reject(new Error('no database')));
    await expect(asked.ask({})).resolves.toBeUndefined();
    expect(warnings).toEqual(['Option "authenticate" failed; taken as nobody: no database']);
  });

  test('does not wait longer than 10 s', async () => {
    jest.useFakeTimers();
    let answer: ((auth: { userId: string }) => void) | undefined;
    const asked = authenticator(() => new Promise((resolve) => (answer = resolve)));
    const result = asked.ask({});
    await jest.advanceTimersByTimeAsync(10_000);
    await expect(result).resolves.toBeUndefined();
    answer?.({ userId: 'late' });
    expect(warnings).toEqual(['Option "authenticate" failed; taken as nobody: it did not answer within 10000 ms']);
    expect(jest.getTimerCount()).toBe(1); // the log's
  });
});
