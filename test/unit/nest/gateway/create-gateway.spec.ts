import { expect, test } from '@jest/globals';
import { leaveMsFor } from '../../../../lib/nest/gateway/create-gateway.js';

test.each([
  ['8 s by default', {}, 8_000],
  ['8 s if another program uses that variable', { kill_timeout: '100' }, 8_000],
  ['as long as PM2 allows by default, less half a second for the end of connections', { pm_id: '0' }, 1_100],
  ['as long as the configuration of PM2 allows, less half a second', { pm_id: '0', kill_timeout: '3000' }, 2_500],
  ['for half of the time that PM2 allows, if that is short', { pm_id: '0', kill_timeout: '501' }, 251],
  ['no longer than by default, however long PM2 allows', { pm_id: '0', kill_timeout: '60000' }, 8_000],
])('a server that shuts down stays for its clients %s', (_title, environment, leaveMs) => {
  expect(leaveMsFor(environment)).toBe(leaveMs);
});
