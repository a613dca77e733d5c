import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { ERROR_CODES, type ErrorCode } from '../../../lib/protocol/error-codes.js';
import * as errors from '../../../lib/protocol/errors.js';
import { VARIES, textsOfFile, type CallOfText } from '../../support/texts-of-code.js';

const { MessagingError } = errors;
const documentation = readFileSync(path.resolve(import.meta.dirname, '../../../docs/errors.md'), 'utf8');

/** The rows of the table in docs/errors.md. */
const rows = [...documentation.matchAll(/^\| `(\w+)`\s*\| `(\w+)`\s*\| (yes|no)\s*\| (.+?)\s*\|$/gm)].map(
  ([, code, className, retryable, meaning]) => ({ code, className, retryable: retryable === 'yes', meaning }),
);

/** One error of each class that a caller can distinguish. */
const instances = [
  new errors.ConfigurationError('x'),
  new errors.RedisNotEnabledError(),
  new errors.InvalidChannelError('x'),
  new errors.UnserializableError('message.a', 'x'),
  new errors.InvalidMessageError('x'),
  new errors.LimitExceededError('x'),
  new errors.SessionClosedError('addListener'),
  new errors.TransportUnavailableError('x'),
  new errors.ChannelDeniedError('x'),
  new errors.ConnectionClosedError('x'),
  new errors.ConnectionLostError('x'),
];

describe('the errors', () => {
  test('are documented exactly, each code in one row', () => {
    const codes = Object.entries(ERROR_CODES).map(([code, { retryable, meaning }]) => ({ code, retryable, meaning }));
    expect(rows.map(({ code, retryable, meaning }) => ({ code, retryable, meaning }))).toEqual(codes);
  });

  test('report whether the same call may succeed later, as the table of codes does', () => {
    for (const [code, { retryable }] of Object.entries(ERROR_CODES)) {
      const error = instances.find((instance) => instance.code === code) ?? new MessagingError(code as ErrorCode, 'x');
      expect([code, error.retryable]).toEqual([code, retryable]);
    }
  });

  test('are documented with the class that carries the code', () => {
    const classes = new Map<string, string>(instances.map((error) => [error.code, error.name]));
    for (const { code, className } of rows) expect(className).toBe(classes.get(code!) ?? 'MessagingError');
    const exported = Object.values(errors).filter((value) => typeof value === 'function' && value !== MessagingError);
    expect(exported).toHaveLength(instances.length);
  });

  test('carry name, code, cause and whether another try may help', () => {
    const cause = new Error('cause');
    const error = new errors.TransportUnavailableError('gone', { cause });
    expect(error).toBeInstanceOf(MessagingError);
    expect(error).toMatchObject({
      name: 'TransportUnavailableError',
      code: 'TRANSPORT_UNAVAILABLE',
      retryable: true,
      cause,
    });
    expect(new errors.ConfigurationError('x').retryable).toBe(false);
  });

  test('of a session that ended with its sign-in are answered 401 by the exception filter of Nest, and others are not', () => {
    for (const reason of ['expired', 'revoked']) {
      expect(new errors.SessionClosedError('addListener', reason)).toMatchObject({ statusCode: 401, expose: true });
    }
    expect(new errors.SessionClosedError('addListener', 'ended')).not.toHaveProperty('statusCode');
  });

  test('of a value that cannot be sent name the path', () => {
    expect(new errors.UnserializableError('message.order', 'a function cannot be sent')).toMatchObject({
      path: 'message.order',
      message: 'message.order: a function cannot be sent',
    });
  });
});

describe('the lines of the log', () => {
  const lib = path.resolve(import.meta.dirname, '../../../lib');
  const files = readdirSync(lib, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => ({ file, ...textsOfFile(path.join(lib, file)) }));
  const [, tables = ''] = documentation.split('## What each line means');
  const lines = [...tables.matchAll(/^\| `([^`]+)`/gm)].map(([, line]) => line!);

  const patterns = lines.map(
    (line) => new RegExp(line === `${VARIES} failed` ? `^${VARIES} failed$` : patternOf(line)),
  );

  test('are all documented, each in a row', () => {
    const texts = files.flatMap(({ file, calls }) =>
      calls
        .flatMap((call) => linesOf(file, call))
        .filter((text) => /[a-z]+ [a-z]+/.test(text) && !patterns.some((pattern) => pattern.test(text)))
        .map((text) => `${file}: ${text}`),
    );
    expect(texts).toEqual([]);
  });

  test('are documented with their real texts', () => {
    expect(lines.length).toBeGreaterThan(40);
    const texts = files.flatMap((file) => file.texts);
    const unknown = lines.filter((line) => {
      const known = new RegExp(patternOf(line.replace(/^…\s?|\s?…$/g, '')));
      return !texts.some((text) => known.test(text));
    });
    expect(unknown).toEqual([]);
  });
});

/** A regular expression for texts that contain a line of the documentation. */
function patternOf(line: string): string {
  return line.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replaceAll(VARIES, '.*');
}

/** The text of a call that writes a line: through the reporter, or as the reason of an unreachable or refusing Redis. */
function linesOf(file: string, { callee, args: [first = [], second = []] }: CallOfText): readonly string[] {
  if (/\breporter\.(warn|state)$/.test(callee)) return second;
  if (file === 'nest/logging-reporter.ts' && /^this\.(warn|failed)$/.test(callee)) return second;
  const isReason = file.startsWith('transport/redis-') && callee === 'TransportUnavailableError';
  if (isReason || /\blogger\.warn$|\bemitWarning$/.test(callee)) return first;
  return file === 'nest/authenticator.ts' && callee === 'this.tellOnce' ? first : [];
}
