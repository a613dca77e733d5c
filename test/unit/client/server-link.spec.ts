import { expect, test } from '@jest/globals';
import { ServerLink } from '../../../lib/client/server-link.js';
import type { ChannelAnswer } from '../../../lib/protocol/gateway.js';
import { Queue } from '../../support/queue.js';
import { ScriptedGateway } from '../../support/scripted-gateway.js';

test('answers each time a channel is wanted, and no longer requests a refused channel', async () => {
  await using gateway = await ScriptedGateway.start();
  const answers = new Queue<ChannelAnswer>();
  const link = new ServerLink(
    { url: gateway.url },
    { status: () => {}, answer: answers.push, message: () => {}, replayed: () => {}, gap: () => {} },
  );
  for (const channel of ['a', 'secret', 'a']) link.want(channel);
  await gateway.ready({ denied: { secret: 'CHANNEL_DENIED' } });
  expect(await answers.take(2)).toEqual([{ channel: 'a' }, { channel: 'secret', error: 'CHANNEL_DENIED' }]);
  link.want('a');
  expect(answers.pending).toEqual([]);
  expect(await answers.next()).toEqual({ channel: 'a' });
  link.want('b');
  expect((await gateway.answered()).request.body).toEqual({ subscribe: [{ channel: 'b' }], unsubscribe: [] });
  expect(await answers.next()).toEqual({ channel: 'b' });
  link.close();
});

test('answers nothing about a channel that was left before the server answered, and keeps no position for it', async () => {
  await using gateway = await ScriptedGateway.start();
  const answers = new Queue<ChannelAnswer>();
  const link = new ServerLink(
    { url: gateway.url },
    { status: () => {}, answer: answers.push, message: () => {}, replayed: () => {}, gap: () => {} },
  );
  using _ = { [Symbol.dispose]: () => link.close() };
  link.want('a');
  const stream = await gateway.ready();
  link.want('b');
  const change = await gateway.changes.next();
  stream.event('messaging:position', { channels: [{ channel: 'b', position: { epoch: 'e', offset: 0 } }] });
  expect(await answers.take(2)).toEqual([{ channel: 'a' }, { channel: 'b' }]);
  link.drop('b');
  change.answer();
  expect((await gateway.answered()).request.body).toEqual({ subscribe: [], unsubscribe: ['b'] });
  expect(answers.pending).toEqual([]);
  expect([...link.positions.keys()]).toEqual(['a']);
});
