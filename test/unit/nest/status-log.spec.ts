import { expect, test } from '@jest/globals';
import type { TransportStatus } from '../../../lib/core/transport.js';
import type { LoggingReporter } from '../../../lib/nest/logging-reporter.js';
import { StatusLog } from '../../../lib/nest/status-log.js';
import { ConfigurationError } from '../../../lib/protocol/errors.js';

/** The log lines for these statuses. */
function linesOf(statuses: TransportStatus[], isStarted = true): string[] {
  const lines: string[] = [];
  const reporter = { state: (level: string, text: string) => lines.push(`${level} ${text}`) };
  const log = new StatusLog(reporter as unknown as LoggingReporter);
  const [first, ...rest] = statuses;
  log.next(first!);
  if (isStarted) log.started();
  for (const status of rest) log.next(status);
  if (!isStarted) log.started();
  return lines;
}

const LOST = 'until this ends, messages between this server and the others may be lost';

test('A problem that is new when Redis is back is a warning, and a problem that ended is reported again if it returns', () => {
  const [slow, odd] = [new Error('slow'), new Error('odd')];
  const statuses: TransportStatus[] = [
    { state: 'ready' },
    { state: 'waiting', error: new Error('It ended.') },
    { state: 'ready', error: slow },
    { state: 'ready', error: odd },
    { state: 'ready' },
    { state: 'ready', error: slow },
  ];
  expect(linesOf(statuses)).toEqual([
    `warn It ended; ${LOST}`,
    'warn Redis is back, but slow',
    'warn odd',
    'log Redis accepts messages again',
    'warn slow',
  ]);
});

test('A possible cause of a failed start is logged if the start succeeds', () => {
  const statuses: TransportStatus[] = [
    { state: 'connecting' },
    { state: 'waiting', error: new ConfigurationError('Wrong.') },
  ];
  expect(linesOf(statuses, false)).toEqual([`warn Wrong; ${LOST}`]);
});
